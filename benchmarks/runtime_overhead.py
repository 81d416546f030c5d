"""What measuring costs: CPU time and peak memory over those of the plain step, interleaved in one run.

Usage: ``python benchmarks/runtime_overhead.py [--rounds 7] [--only resnet] [--device cuda]``. For each network:

- ``probed``: forward, loss and backward as every batch of a probe but the first (which also reads source lines);
- ``watched``: a training loop of 250 steps at the default sampling, the start and the end of the watch included;
- ``idle``: the same loop with no step inspected, and ``every``: with every step inspected;
- ``traintools``, ``torchdiag``: these checkers at every step, in their documented use (blank where not installed);
- ``memory``: the peak of a process that probes over that of one that runs plain steps.

A figure is a ratio of lower quintiles of CPU time, which a noisy machine disturbs least; ``itself`` is that of the
plain step over itself, and tells how far the others can be trusted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import relucheck
from relucheck.tape.batches import Batch
from relucheck.tape.names import Names
from relucheck.tape.passes import run_pass
from relucheck.tape.session import Session

LOOP = 250  # steps of a watched loop, of which the default sampling inspects a few
SAMPLE = 0.1  # seconds that one sample of a step takes at least
WATCHES: Mapping[str, tuple[dict[str, Any], int]] = {
    "watched": ({}, LOOP),
    "idle": ({"every": 10**9, "first": 0}, LOOP // 5),
    "every": ({"every": 1}, LOOP // 10),
}
"""The options of a watch, and the steps to run."""


# -- networks -----------------------------------------------------------------------------------


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


def mlp(*widths: int) -> nn.Module:
    """Linear layers of these widths with ReLU between them."""
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Encoder(nn.Module):
    """Tokens or patches of width 3*16*16 through a transformer encoder with GELU, to 10 classes."""

    def __init__(self, stem: nn.Module, width: int, heads: int, depth: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, batch_first=True, activation="gelu", norm_first=True
        )
        self.stem = stem
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (N, 10)."""
        return self.head(self.norm(self.body(self.stem(x))).mean(1))


@dataclass(frozen=True, slots=True)
class Case:
    """A network with one batch for it, and labels of 10 classes."""

    name: str
    model: nn.Module
    x: Tensor

    @property
    def y(self) -> Tensor:
        return torch.arange(len(self.x), device=self.x.device) % 10

    def loss(self) -> Tensor:
        return functional.cross_entropy(self.model(self.x), self.y)


BUILDERS: Mapping[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "mlp 784-256-128-10, batch 64": lambda: (mlp(784, 256, 128, 10), torch.randn(64, 784)),
    "mlp 784-1024-1024-10, batch 128": lambda: (mlp(784, 1024, 1024, 10), torch.randn(128, 784)),
    "resnet-18, 8x3x224x224": lambda: (resnet(64), torch.randn(8, 3, 224, 224)),
    "vit-tiny, 8x196 patches": lambda: (Encoder(nn.Linear(768, 192), 192, 3, 12), torch.randn(8, 196, 768)),
    "bert-tiny, 8x128 tokens": lambda: (
        Encoder(nn.Embedding(1000, 128), 128, 2, 2),
        torch.randint(0, 1000, (8, 128)),
    ),
}


def case(name: str, device: str) -> Case:
    """The network of a name, with the same weights each time."""
    torch.manual_seed(0)
    model, x = BUILDERS[name]()
    return Case(name, model.to(device), x.to(device))


# -- what is timed ------------------------------------------------------------------------------


def plain(case: Case) -> Callable[[], None]:
    """Forward, loss and backward."""
    parameters = list(case.model.parameters())
    return lambda: torch.autograd.grad(case.loss(), parameters) and None


def probed(case: Case) -> Callable[[], None]:
    """The same as a probe does it."""
    session = Session.of(case.model, Names.of(case.model), functional.cross_entropy, has_loss=True)
    batch = Batch((case.x,), {}, case.y)
    run_pass(session, batch)
    return lambda: run_pass(session, batch)


def torchdiag(case: Case) -> Callable[[], None]:
    """Its two checks beside a plain step."""
    from torchdiag import check_dead_neurons, check_gradients

    def step() -> None:
        case.loss().backward()
        check_gradients(case.model)
        check_dead_neurons(case.model, case.x)
        case.model.zero_grad()

    return step


def traintools(case: Case) -> Callable[[], None]:
    """Its hooks and its gradient monitor at every step."""
    from traintools import GradientHealthMonitor, PlasticityProbe

    probe, monitor = PlasticityProbe(case.model), GradientHealthMonitor()

    def step() -> None:
        case.loss().backward()
        probe.measure()
        monitor.inspect(case.model)
        case.model.zero_grad()

    return step


def train(case: Case, steps: int) -> None:
    """Plain SGD."""
    optimiser = torch.optim.SGD(case.model.parameters(), 1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        case.loss().backward()
        optimiser.step()


def watched(case: Case, options: Mapping[str, Any], steps: int) -> None:
    """The same, watched."""
    with relucheck.watch(**options):
        train(case, steps)


# -- ratios -------------------------------------------------------------------------------------


def seconds(run: Callable[[], object], cuda: bool) -> float:
    """CPU time; on a CUDA device the time until it has finished."""
    if cuda:
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    run()
    return time.process_time() - start


def ratio(base: Callable[[], object], other: Callable[[], object], rounds: int, cuda: bool) -> float:
    """The lower quintile of the one over that of the other; both run in turns, in random order."""
    base(), other()
    repeats = max(1, int(SAMPLE / max(seconds(base, cuda), 1e-6)))
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for which in random.sample((False, True), 2):
            run = other if which else base
            times[which].append(seconds(lambda run=run: [run() for _ in range(repeats)], cuda))  # type: ignore[misc]
    low = {which: statistics.quantiles(found, n=5)[0] for which, found in times.items()}
    return low[True] / low[False]


def ratios(case: Case, rounds: int) -> Iterator[tuple[str, float | None]]:
    """Name and ratio of everything that is compared."""
    cuda = case.x.is_cuda
    step = plain(case)
    yield "itself", ratio(step, plain(case), 2 * rounds, cuda)
    yield "probed", ratio(step, probed(case), 2 * rounds, cuda)
    shorter = 1 if seconds(step, cuda) < 0.1 else 5
    for name, (options, steps) in WATCHES.items():
        count = steps // shorter
        loop = lambda n=count: train(case, n)  # noqa: E731
        seen = lambda o=options, n=count: watched(case, o, n)  # noqa: E731
        yield name, ratio(loop, seen, max(2, rounds // shorter), cuda)
    for peer in (traintools, torchdiag):
        name = peer.__name__
        yield name, ratio(step, quiet(peer(case)), rounds, cuda) if find_spec(name) else None


def quiet(run: Callable[[], None]) -> Callable[[], None]:
    """A run whose printing is not shown."""

    def silenced() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run()

    return silenced


def peak(name: str, device: str, prepare: Callable[[Case], Callable[[], None]]) -> float:
    """The peak of memory in MB of a process of its own that runs five steps."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (name, device, prepare))


def _peak(name: str, device: str, prepare: Callable[[Case], Callable[[], None]]) -> float:
    torch.set_num_threads(1)
    one = case(name, device)
    step = prepare(one)
    for _ in range(5):
        step()
    if one.x.is_cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text()  # getrusage's figure is inherited from the parent
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def main() -> None:
    """Prints one row a network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in (name for name in BUILDERS if given.only in name):
        one = case(name, given.device)
        print(f"{name:<32} plain step {1e3 * seconds(plain(one), one.x.is_cuda):7.1f} ms", end="", flush=True)
        for way, figure in ratios(one, given.rounds):
            print(f"  {way} {'-' if figure is None else f'{figure:.3f}'}", end="", flush=True)
        memory = peak(name, given.device, probed) / peak(name, given.device, plain)
        print(f"  memory {memory:.3f}", flush=True)


if __name__ == "__main__":
    main()
