"""What watching a training costs: CPU time of a watched loop over that of the plain one, interleaved.

Usage: ``python benchmarks/watch_overhead.py [--rounds 5]``. For each network three ratios of medians: the
default sampling over 250 steps, no step inspected at all, and every step inspected.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from probe_overhead import resnet
from torch import Tensor, nn
from torch.nn import functional

import relucheck

WAYS: tuple[tuple[str, dict[str, Any] | None, float], ...] = (
    ("plain", None, 1.0),
    ("default", {}, 1.0),
    ("none", {"every": 10**9, "first": 0}, 1.0),
    ("all", {"every": 1}, 0.1),
)
"""Name, options of the watch (None: no watch), and the share of the steps to run."""


def mlp() -> nn.Module:
    """784-256-128-10 with ReLU."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def train(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> None:
    """Plain SGD."""
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimiser.step()


def seconds(model: nn.Module, x: Tensor, steps: int, options: dict[str, Any] | None) -> float:
    """CPU time of one step, the start and the end of the watch included."""
    y = torch.arange(len(x)) % 10
    start = time.process_time()
    if options is None:
        train(model, x, y, steps)
    else:
        with relucheck.watch(**options):
            train(model, x, y, steps)
    return (time.process_time() - start) / steps


def main() -> None:
    """Prints one row a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=250)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'network':<34}{'plain ms':>9}{'default':>9}{'none':>9}{'all':>9}")
    for name, model, x in (
        ("mlp 784-256-128-10, batch 64", mlp(), torch.randn(64, 784)),
        ("resnet18/2, 8x3x64x64", resnet(32), torch.randn(8, 3, 64, 64)),
    ):
        seconds(model, x, 5, None)
        times: dict[str, list[float]] = {way: [] for way, _, _ in WAYS}
        for _ in range(given.rounds):
            for way, options, share in WAYS:
                times[way].append(seconds(model, x, max(1, int(share * given.steps)), options))
        middle = {way: statistics.median(values) for way, values in times.items()}
        ratios = "".join(f"{middle[way] / middle['plain']:>9.3f}" for way in ("default", "none", "all"))
        print(f"{name:<34}{1e3 * middle['plain']:>9.2f}{ratios}")


if __name__ == "__main__":
    main()
