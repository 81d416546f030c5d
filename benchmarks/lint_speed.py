"""How fast relucheck lints, against libcst merely parsing the same files, in one run.

    python benchmarks/lint_speed.py                     timm, else torchvision, else relucheck itself
    python benchmarks/lint_speed.py FOLDER --rounds 3

Each round runs both, one after the other, in processes of their own; CPU time is that of the whole
process, start-up included. The medians are compared with the budgets of the design.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("timm", "torchvision", "relucheck")
COLD_BUDGET = 0.35  # seconds, one model file in a cold process
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


def run(command: Sequence[str], text: str = "") -> Run:
    """Run a command to its end, with its output thrown away."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as given:
        given.write(text)
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / unit, process.returncode)


def lint(path: str | Path) -> Run:
    """Lint in a process of its own; status 2 means that some file could not be judged."""
    done = run([sys.executable, "-m", "relucheck", "lint", "--isolated", "--no-cache", str(path)])
    if done.status not in (0, 1):
        sys.exit(f"relucheck lint {path} ended with status {done.status}")
    return done


def parse(files: Sequence[Path]) -> Run:
    """Parse the same files with libcst, which keeps none of the trees."""
    done = run([sys.executable, "-c", PARSE], "\n".join(map(str, files)))
    if done.status != 0:
        sys.exit(f"libcst could not parse the files (status {done.status})")
    return done


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


def cold_start(rounds: int) -> Run:
    """One model file in a process that has imported nothing yet: the fastest of several runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.py")
        path.write_text(MODEL, encoding="utf-8")
        lint(path)  # compiles what Python has not compiled yet
        return min((lint(path) for _ in range(max(rounds, 5))), key=lambda r: r.wall)


def verdict(value: float, budget: float) -> str:
    return "within budget" if value <= budget else "OVER BUDGET"


def median(runs: Sequence[Run], what: str) -> float:
    return statistics.median(getattr(r, what) for r in runs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    folder = options.folder or default_folder()
    files = parseable(folder)
    lines = sum(path.read_bytes().count(b"\n") for path in files)

    linted, parsed = [], []
    for _ in range(options.rounds):
        linted.append(lint(folder))
        parsed.append(parse(files))
    cold = cold_start(options.rounds)
    idle = run([sys.executable, "-c", "pass"])

    ratio = median(linted, "cpu") / median(parsed, "cpu")
    print(f"{folder.name}: {len(files)} files, {lines:,} lines, median of {options.rounds} rounds")
    print(f"{'':28}{'CPU s':>8}{'wall s':>8}{'peak MiB':>10}")
    for name, runs in (("relucheck lint", linted), ("libcst parsing, no more", parsed)):
        figures = (median(runs, what) for what in ("cpu", "wall", "peak"))
        print("{:28}{:8.2f}{:8.2f}{:10.0f}".format(name, *figures))
    print(f"{'one model file, cold':28}{cold.cpu:8.2f}{cold.wall:8.2f}{cold.peak:10.0f}")
    print(f"{'python -c pass':28}{idle.cpu:8.2f}{idle.wall:8.2f}{idle.peak:10.0f}")
    print()
    print(f"lint / libcst, CPU: {ratio:.2f} (budget {RATIO_BUDGET}): {verdict(ratio, RATIO_BUDGET)}")
    print(f"one file, cold: {cold.wall:.2f} s (budget {COLD_BUDGET} s): {verdict(cold.wall, COLD_BUDGET)}")


if __name__ == "__main__":
    main()
