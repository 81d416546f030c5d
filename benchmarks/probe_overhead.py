"""What measuring costs: the time of a probed training step over that of a plain one, interleaved.

Usage: ``python benchmarks/probe_overhead.py [--steps 30] [--threads 1]``. Prints one row a model with the
ratio of the medians. A plain step is forward, loss and backward; a probed step is the same under the
recorder, with units counted and gradients kept, as every batch of a probe but the first (which also
reads source lines). The constant costs of a probe (one copy of the state, the rules) are left out.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from relucheck.tape.batches import Batch
from relucheck.tape.names import Names
from relucheck.tape.passes import run_pass
from relucheck.tape.session import Session


class Block(nn.Module):
    """A basic residual block with in-place ReLU."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.short = nn.Conv2d(width, out, 1, stride) if stride > 1 or width != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + self.short(x))


def resnet(width: int) -> nn.Module:
    """A ResNet-18 whose first layers have that many channels."""
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    blocks = [
        block
        for i, (a, b) in enumerate(pairwise(widths))
        for block in (Block(a, b, 2 if i else 1), Block(b, b, 1))
    ]
    stem = (
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
        nn.MaxPool2d(3, 2, 1),
    )
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 10))


def mlp() -> nn.Module:
    """784-1024-1024-10 with ReLU."""
    return nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)
    )


def transformer() -> nn.Module:
    """Four encoder layers of width 128 with GELU."""
    layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


def steps(model: nn.Module, batch: Batch, loss: Callable[..., Tensor]) -> tuple[Callable[[], None], ...]:
    """The plain and the probed step."""

    def plain() -> None:
        value = loss(model(*batch.args), batch.targets)
        torch.autograd.grad(value, list(model.parameters()))

    session = Session(model, Names.of(model), loss, 0)
    run_pass(session, batch)

    def probed() -> None:
        run_pass(session, batch)

    return plain, probed


def cases() -> Iterator[tuple[str, nn.Module, Batch, Callable[..., Tensor]]]:
    """The models, with a batch of ordinary size each."""
    labels = torch.randint(0, 10, (128,))
    yield (
        "mlp 784-1024-1024-10, batch 128",
        mlp(),
        Batch((torch.randn(128, 784),), {}, labels),
        functional.cross_entropy,
    )
    images = torch.randn(8, 3, 128, 128)
    yield "resnet18, 8x3x128x128", resnet(64), Batch((images,), {}, labels[:8]), functional.cross_entropy
    small = torch.randn(32, 3, 64, 64)
    yield "resnet18/4, 32x3x64x64", resnet(16), Batch((small,), {}, labels[:32]), functional.cross_entropy
    words = torch.randn(16, 64, 128)
    yield "transformer 4x128, 16x64x128", transformer(), Batch((words,), {}, words), functional.mse_loss


def timed(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(plain: Callable[[], None], probed: Callable[[], None], count: int) -> tuple[float, float, float]:
    """The medians of both, in random order, and the median of the ratios of neighbours."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(count):
        for which in random.sample((False, True), 2):
            times[which].append(timed(probed if which else plain))
    low = {which: statistics.quantiles(values, n=5)[0] for which, values in times.items()}
    return low[False], low[True], low[True] / low[False]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{'model':34}{'plain ms':>10}{'probed ms':>11}{'ratio':>8}")
    for name, model, batch, loss in cases():
        plain, probed, times = ratio(*steps(model, batch, loss), options.steps)
        print(f"{name:34}{plain * 1e3:10.1f}{probed * 1e3:11.1f}{times:8.2f}")


if __name__ == "__main__":
    main()
