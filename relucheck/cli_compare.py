"""``relucheck compare``: a user's experiment with one thing changed at a time, and which change helps."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from relucheck.cli import OK
from relucheck.problems import UsageProblem
from relucheck.targets import carefully, kind_of, load

if TYPE_CHECKING:
    from relucheck.comparison import Comparison
    from relucheck.experiments.running import Progress

_EXAMPLE = "train.py:make_experiment"
_PERIOD = 0.5  # seconds between two states of the live line


@click.command(epilog=f"Example: relucheck compare {_EXAMPLE} --steps 300 --seeds 3")
@click.argument("target")
@click.option(
    "--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Updates in each training."
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Number of seeds, from 0 on."
)
@click.option("--only", multiple=True, metavar="CHANGE", help="Try these changes only. May be repeated.")
@click.option("--skip", multiple=True, metavar="CHANGE", help="Leave these changes out. May be repeated.")
@click.option(
    "--output-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How to report.",
)
@click.option("--live/--no-live", default=None, help="Show a line of progress (default: on a terminal).")
def compare(target: str, **given: Any) -> int:
    """Find out what would help: train with one thing changed at a time.

    TARGET is train.py:make_experiment or package.module:make_experiment, a function of the seed or of
    nothing that returns a relucheck.Experiment. Every change starts from the same initial state and sees
    the same batches. CHANGE is lr/100, lr/10, lr-x10, he-init, xavier-init, leaky-relu, gelu, elu, silu,
    relu, batch-norm, layer-norm, residual, clip or sgd; also several with commas.
    """
    live = sys.stderr.isatty() if given["live"] is None else given["live"]
    comparison = _comparison(target, given, Line() if live else None)
    click.echo(comparison.to_json() if given["output_format"] == "json" else comparison.table())
    return OK


def _comparison(target: str, given: dict[str, Any], line: Line | None) -> Comparison:
    """The comparison; everything that the user can mend becomes a UsageProblem."""
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError:
        raise UsageProblem('relucheck compare needs PyTorch: pip install "relucheck[torch]"') from None
    from relucheck.experiments.changes import CHANGES
    from relucheck.experiments.experiment import ExperimentError, of_seed
    from relucheck.experiments.running import compare as run

    changes = chosen(tuple(CHANGES), given["only"], given["skip"])
    factory = load(target, _EXAMPLE)
    if not callable(factory):
        raise UsageProblem(f"{target} is {kind_of(factory)}, not a function that returns an Experiment")
    told = line.told if line is not None else None
    with _cleared(line):
        try:
            made = of_seed(factory)

            def make_experiment(seed: int) -> Any:
                return carefully(lambda: made(seed), f"{target} (seed {seed})")

            return run(make_experiment, given["steps"], given["seeds"], changes, told=told)
        except ExperimentError as error:
            raise UsageProblem(f"{target}: {error}") from error


def chosen(every: tuple[str, ...], only: tuple[str, ...], skip: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are asked for, with commas or by repeating the option; UsageProblem for others."""
    wanted, unwanted = _names(only), _names(skip)
    for option, names in (("--only", wanted), ("--skip", unwanted)):
        for name in names:
            if name not in every:
                raise UsageProblem(f"{option} {name}: there is no such change; there are: {', '.join(every)}")
    kept = tuple(n for n in every if (n in wanted or not wanted) and n not in unwanted)
    if not kept:
        raise UsageProblem("--only and --skip leave no change to try")
    return kept


def _names(given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in given for name in text.split(",") if name.strip())


@contextmanager
def _cleared(line: Line | None) -> Iterator[None]:
    """Takes the line away at the end, however that comes."""
    try:
        yield
    finally:
        if line is not None:
            line.clear()


@dataclass(slots=True)
class Line:
    """One line on a terminal that says how far the trainings are and how long they will take."""

    clock: Callable[[], float] = time.monotonic
    began: float = field(default=0.0, init=False)
    shown: float = field(default=-_PERIOD, init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def told(self, progress: Progress) -> None:
        """Shows the state after a step, at most twice a second."""
        now = self.clock()
        if now - self.shown >= _PERIOD:
            self.shown = now
            sys.stderr.write(f"\r{state_of(progress, now - self.began)}\x1b[K\r")
            sys.stderr.flush()

    def clear(self) -> None:
        """Takes the line away."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def state_of(progress: Progress, seconds: float) -> str:
    """The share of the steps that are done, what runs, and the time left at the speed so far."""
    share = progress.done / progress.total
    left = seconds * (1 - share) / share if share else 0.0
    time_left = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
    return f"relucheck: {share:.0%}, seed {progress.seed}, {progress.change}, about {time_left} left"
