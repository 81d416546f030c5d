"""How fast relucheck lints, beside ruff, flake8, TorchFix and libcst merely parsing, in one run.

    python benchmarks/lint_speed.py                     timm, else torchvision, else relucheck itself
    python benchmarks/lint_speed.py FOLDER --rounds 3 --peer-rounds 1 --without TorchFix

Each round runs all, one after the other, in processes of their own; CPU time is that of a process and
of its children, start-up included. Ratios are of medians of CPU time: the wall clock of a shared machine
says little. Cold is a run that remembers nothing, warm one over unchanged files with a cache, for the
tools that have one; all are given one process, and their reports are thrown away. Peers that are not
installed are left out. The figures of relucheck are compared with the budgets of the design.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("timm", "torchvision", "relucheck")
COLD_BUDGET = 0.35  # seconds, one model file in a cold process
WARM_BUDGET = 0.5  # seconds, an unchanged package
RATIO_BUDGET = 1.6  # times libcst's parsing, in CPU time

MODEL = '''\
import torch.nn.functional as F
from torch import nn


class LeNet(nn.Module):
    """A network of an ordinary size."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)
'''

PARSE = """\
import sys
import libcst
for path in sys.stdin.read().splitlines():
    with open(path, "rb") as file:
        libcst.parse_module(file.read())
"""


@dataclass(frozen=True)
class Run:
    """What one process cost: CPU and wall seconds, MiB at its largest, exit status."""

    cpu: float
    wall: float
    peak: float
    status: int


@dataclass(frozen=True)
class Tool:
    """A linter: its command over a path, without a cache and with one in a folder, and its good statuses."""

    name: str
    cold: Callable[[str], Sequence[str]]
    warm: Callable[[str, str], Sequence[str]] | None = None
    statuses: tuple[int, ...] = (0, 1)


def relucheck(path: str, *options: str) -> Sequence[str]:
    return [sys.executable, "-m", "relucheck", "lint", "--isolated", *options, path]


def tools(left_out: Sequence[str]) -> list[Tool]:
    """relucheck, and the peers that are installed beside this Python or on the path."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    ruff, flake8, torchfix = (shutil.which(name, path=places) for name in ("ruff", "flake8", "torchfix"))
    found = [
        Tool(
            "relucheck lint",
            lambda path: relucheck(path, "--no-cache"),
            lambda path, cache: relucheck(path, "--cache-dir", cache),
        )
    ]
    if ruff:
        common = [ruff, "check", "--isolated", "--quiet"]
        found.append(
            Tool(
                "ruff",
                lambda path: [*common, "--no-cache", path],
                lambda path, cache: [*common, "--cache-dir", cache, path],
            )
        )
    if flake8:
        found.append(Tool("flake8", lambda path: [flake8, "--isolated", "-j", "1", path]))
    if torchfix:
        found.append(Tool("TorchFix", lambda path: [torchfix, "--select", "ALL", "-j", "1", path]))
    return [tool for tool in found if tool.name not in left_out]


def run(command: Sequence[str], text: str = "") -> Run:
    """Run a command to its end, with its output thrown away."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as given:
        given.write(text)
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / unit, process.returncode)


def checked(command: Sequence[str], statuses: Sequence[int] = (0, 1), text: str = "") -> Run:
    """Run a command that must end well: a figure of a run that failed would mean nothing."""
    done = run(command, text)
    if done.status not in statuses:
        sys.exit(f"{' '.join(command[:4])} ... ended with status {done.status}")
    return done


def parse(files: Sequence[Path]) -> Run:
    """Parse the same files with libcst, which keeps none of the trees."""
    return checked([sys.executable, "-c", PARSE], (0,), "\n".join(map(str, files)))


def default_folder() -> Path:
    """The largest installed package of those that the budgets speak of."""
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0])
    sys.exit("no package to lint; give a folder")


def parseable(folder: Path) -> list[Path]:
    """The Python files that lint finds there."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def one_file(tool: Tool, rounds: int) -> Run:
    """One model file in a process that has imported nothing yet: the least of several runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.py")
        path.write_text(MODEL, encoding="utf-8")
        checked(tool.cold(str(path)), tool.statuses)  # compiles what Python has not compiled yet
        return min((checked(tool.cold(str(path)), tool.statuses) for _ in range(rounds)), key=lambda r: r.cpu)


def unchanged(tool: Tool, folder: Path, rounds: int) -> list[Run]:
    """Runs over files that the run before has seen; none for a tool that remembers nothing."""
    if tool.warm is None:
        return []
    with tempfile.TemporaryDirectory() as cache:
        command = tool.warm(str(folder), cache)
        checked(command, tool.statuses)
        return [checked(command, tool.statuses) for _ in range(rounds)]


def verdict(value: float, budget: float) -> str:
    return "within budget" if value <= budget else "OVER BUDGET"


def median(runs: Sequence[Run], what: str) -> float:
    return statistics.median(getattr(r, what) for r in runs)


@dataclass(frozen=True)
class Figures:
    """The runs of one tool."""

    name: str
    one: Run | None
    cold: list[Run]
    warm: list[Run]

    def row(self, cpu: float) -> str:
        """CPU and wall seconds of one file, cold and warm; cold CPU as a multiple of ``cpu``; MiB."""
        cells = [self.name.ljust(24), _seconds([self.one] if self.one else [])]
        cells += [_seconds(self.cold), f"{median(self.cold, 'cpu') / cpu:8.2f}", _seconds(self.warm)]
        return " ".join([*cells, f"{max(run.peak for run in [*self.cold, *self.warm]):8.0f}"])


def _seconds(runs: Sequence[Run]) -> str:
    if not runs:
        return f"{'-':>8}{'-':>8}"
    return f"{median(runs, 'cpu'):8.2f}{median(runs, 'wall'):8.2f}"


HEAD = (
    f"{'CPU and wall seconds':24} {'one file':>16} {'package, cold':>16} {'ratio':>8} "
    f"{'unchanged':>16} {'peak MiB':>8}"
)


def measured(options: argparse.Namespace, folder: Path, files: Sequence[Path]) -> list[Figures]:
    """Every tool over the folder and over one file; relucheck and libcst take turns."""
    own, *peers = tools(options.without)
    linted, parsed = [], []
    for _ in range(options.rounds):
        linted.append(checked(own.cold(str(folder)), own.statuses))
        parsed.append(parse(files))
    found = [
        Figures(own.name, one_file(own, 5), linted, unchanged(own, folder, options.rounds)),
        Figures("libcst parsing, no more", None, parsed, []),
    ]
    for tool in peers:
        cold = [checked(tool.cold(str(folder)), tool.statuses) for _ in range(options.peer_rounds)]
        found.append(
            Figures(tool.name, one_file(tool, 3), cold, unchanged(tool, folder, options.peer_rounds))
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="of relucheck and libcst")
    parser.add_argument("--peer-rounds", type=int, default=1, help="of ruff, flake8 and TorchFix")
    parser.add_argument("--without", action="append", default=[], metavar="TOOL", help="leave a peer out")
    options = parser.parse_args(arguments)
    folder = options.folder or default_folder()
    files = parseable(folder)
    lines = sum(path.read_bytes().count(b"\n") for path in files)
    figures = measured(options, folder, files)
    own, parsed = figures[:2]
    assert own.one is not None

    print(f"{folder.name}: {len(files)} files, {lines:,} lines, median of {options.rounds} rounds")
    print(f"({options.peer_rounds} of the peers); ratio: cold CPU as a multiple of relucheck's")
    print(HEAD)
    for one in figures:
        print(one.row(median(own.cold, "cpu")))
    ratio = median(own.cold, "cpu") / median(parsed.cold, "cpu")
    print()
    print(f"lint / libcst, CPU: {ratio:.2f} (budget {RATIO_BUDGET}): {verdict(ratio, RATIO_BUDGET)}")
    print(f"one file, CPU: {own.one.cpu:.2f} s (budget {COLD_BUDGET} s): {verdict(own.one.cpu, COLD_BUDGET)}")
    warm = median(own.warm, "cpu")
    print(f"unchanged, CPU: {warm:.2f} s (budget {WARM_BUDGET} s): {verdict(warm, WARM_BUDGET)}")


if __name__ == "__main__":
    main()
