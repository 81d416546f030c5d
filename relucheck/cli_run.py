"""``relucheck run``: an unmodified training script, watched; its report and an exit status out.

The script runs in this process as ``python script.py`` would run it. What it prints goes where it
always goes; the report goes to stderr behind it.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from relucheck.chosen import chosen
from relucheck.cli import BROKEN, FOUND, INTERRUPTED, OK, REPORT_IT
from relucheck.config import FAIL_ON, Settings
from relucheck.problems import UsageProblem
from relucheck.saving import file_ready, page_ready, write_json, write_page

if TYPE_CHECKING:
    from relucheck.tape.watcher import Watcher
    from relucheck.training import TrainingReport

_PERIOD = 0.5  # seconds between two states of the live line
_FAILED = 1  # Python's own status for a script that ends in an exception


@dataclass(frozen=True, slots=True)
class Target:
    """What to run: a script's path, or with ``module`` a module's dotted name, and its arguments."""

    name: str
    module: bool
    arguments: tuple[str, ...]

    def run(self) -> None:
        """Runs it as ``__main__``; it finds its arguments and its neighbours where Python puts them."""
        if self.module:
            runpy.run_module(self.name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(self.name, run_name="__main__")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a script ended: its status, and the exception or exit that it ended in, if any."""

    status: int
    said: str = ""


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: relucheck run --every 20 train.py --epochs 3",
)
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m does.")
@click.option(
    "--every", type=click.IntRange(min=1), default=50, show_default=True, help="Inspect one step in N."
)
@click.option(
    "--first", type=click.IntRange(min=0), default=5, show_default=True, help="And the first N steps."
)
@click.option("--select", multiple=True, metavar="RULES", help="Show these rules only: codes, RLU6, ALL.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Hide these rules.")
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="warning",
    show_default=True,
    help="Least severity that makes the exit status 1.",
)
@click.option("--html", type=click.Path(dir_okay=False), help="Write the report as one HTML page as well.")
@click.option("--json", type=click.Path(dir_okay=False), help="Write it as JSON as well, for relucheck plot.")
@click.option("--live/--no-live", default=None, help="Show a line of progress (default: on a terminal).")
@click.argument("script", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT] [ARGS]...")
def run(module: str | None, script: tuple[str, ...], **given: Any) -> int:
    """Run a training script, and watch its units and gradients.

    Behind it stands the report: silent units and gradients over the steps, and what was found. One step
    is one backward pass. The status is the script's own where that is not 0; else 1 where there are
    findings. In a distributed training (torchrun ... -m relucheck run train.py) rank 0 reports on all
    ranks, and its status alone tells of findings.
    """
    target = _target(module, script)
    page_ready("--html", given["html"])
    file_ready("--json", given["json"])
    html, figures = (path and os.path.abspath(path) for path in (given["html"], given["json"]))
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError:
        raise UsageProblem('relucheck run needs PyTorch: pip install "relucheck[torch]"') from None
    process = os.getpid()
    live = _reports() and (sys.stderr.isatty() if given["live"] is None else given["live"])
    ending, report = _watched(target, given, Line() if live else None)
    if report.rank or not _reports() or os.getpid() != process:  # a fork of the script's that ended here
        return ending.status
    click.echo(f"\nrelucheck: {report.table()}", err=True)
    if html:
        write_page(report, html)
    if figures:
        write_json(report.to_json(), figures)
    if ending.said:
        click.echo(f"\n{target.name} {ending.said}; the report covers the steps before", err=True)
    return _status(ending, report, given["fail_on"])


def _reports() -> bool:
    """Whether this is the process of a distributed training that reports, as far as its launcher says."""
    return os.environ.get("RANK", "0") == "0"


def _target(module: str | None, script: tuple[str, ...]) -> Target:
    if module is not None:
        return Target(module, True, script)
    if not script:
        raise UsageProblem("name the script to run, as in relucheck run train.py, or a module with -m")
    if not os.path.isfile(script[0]):
        if script[0].startswith("-"):
            raise _unknown(script[0].split("=", 1)[0])
        raise UsageProblem(f"{script[0]}: there is no such file")
    return Target(script[0], False, script[1:])


def _unknown(option: str) -> click.NoSuchOption:
    """The error for an option that run does not have, with those that are spelled alike.

    click itself cannot know: what stands behind the script's name is the script's.
    """
    known = [name for parameter in run.params for name in parameter.opts if name.startswith("-")]
    return click.NoSuchOption(
        option, possibilities=get_close_matches(option, known), ctx=click.get_current_context()
    )


def _watched(target: Target, given: dict[str, Any], line: Line | None) -> tuple[Ending, TrainingReport]:
    from relucheck.training import watch

    watching = watch(
        every=given["every"],
        first=given["first"],
        configuration=Settings(
            select=chosen(given["select"], "--select"), ignore=chosen(given["ignore"], "--ignore")
        ),
        stop=ending_of.__code__,
        told=line.told if line is not None else None,
    )
    with as_program(target):
        with watching:
            ending = ending_of(target)
            watching.failed = ending.status != OK
        if line is not None:
            line.clear()
        return ending, watching.report


def _status(ending: Ending, report: TrainingReport, fail_on: str) -> int:
    for crash in report.crashes:
        click.echo(f"internal error: {crash.message}\n{crash.traceback}{REPORT_IT}", err=True)
    if ending.status:
        return ending.status
    if report.crashes:
        return BROKEN
    return FOUND if report.failing(fail_on) else OK


@contextmanager
def as_program(target: Target) -> Iterator[None]:
    """``sys.argv`` and ``sys.path`` as the target would find them, and afterwards as before."""
    argv, path = sys.argv[:], sys.path[:]
    folder = os.getcwd() if target.module else os.path.dirname(os.path.abspath(target.name))
    sys.argv[:] = [target.name, *target.arguments]
    sys.path[:0] = [folder, *([] if folder == os.getcwd() else [os.getcwd()])]
    try:
        yield
    finally:
        sys.argv[:], sys.path[:] = argv, path


def ending_of(target: Target) -> Ending:
    """Runs a target to its end, whatever that is; its traceback is printed as Python would."""
    with _Ended(target.name) as ended:
        target.run()
    return ended.ending


@dataclass(slots=True)
class _Ended:
    """Takes the end of the user's program: an exception, an exit or Ctrl-C becomes an ``Ending``."""

    name: str
    ending: Ending = field(default_factory=lambda: Ending(OK))

    def __enter__(self) -> _Ended:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        if error is None:
            return True
        if isinstance(error, SystemExit):
            self.ending = _exited(error)
            return True
        own = _own_frames(trace)
        if own is None and isinstance(error, ImportError):
            raise UsageProblem(f"{self.name} cannot be run: {error}") from None
        sys.stdout.flush()
        in_python = isinstance(error, SyntaxError) and own is None  # the script itself cannot be parsed
        traceback.print_exception(type(error), error, None if in_python else own or trace)
        stopped = isinstance(error, KeyboardInterrupt)
        status = INTERRUPTED if stopped else _FAILED
        said = "was interrupted" if stopped else f"ended in {type(error).__name__} (status {status})"
        self.ending = Ending(status, said)
        return True


def _exited(error: SystemExit) -> Ending:
    """The status of ``sys.exit``: a number, None for 0, and a text is printed and means 1."""
    if error.code is None or error.code == 0:
        return Ending(OK)
    if isinstance(error.code, int):
        return Ending(error.code, f"exited with status {error.code}")
    click.echo(str(error.code), err=True)
    return Ending(_FAILED, f"exited with status {_FAILED}")


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's own first frame on, without those that started it."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(
        ("<frozen runpy", __file__, runpy.__file__)
    ):
        trace = trace.tb_next
    return trace


@dataclass(slots=True)
class Line:
    """One line on a terminal that says how far a training is."""

    clock: Callable[[], float] = time.monotonic
    shown: float = -_PERIOD

    def told(self, watcher: Watcher) -> None:
        """Shows the state after a step, at most twice a second."""
        now = self.clock()
        if now - self.shown >= _PERIOD and (watcher.meeting is None or watcher.meeting.rank == 0):
            self.shown = now
            sys.stderr.write(f"\r{state_of(watcher)}\x1b[K\r")
            sys.stderr.flush()

    def clear(self) -> None:
        """Takes the line away."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def state_of(watcher: Watcher) -> str:
    """Steps so far, and the layer with the largest share of silent units."""
    said = f"relucheck: step {watcher.step}, {watcher.inspections} inspected"
    latest = [moment.silent for s in watcher.subjects.values() if (moment := s.latest) is not None]
    worst = max(((share, name) for silent in latest for name, share in silent.items()), default=None)
    return said if worst is None else f"{said}, silent units at most {worst[0]:.0%} ('{worst[1]}')"
