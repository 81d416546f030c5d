"""What the callbacks of all frameworks share: their options, and one watch from a training's start to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import click
from torch import nn

from relucheck.chosen import chosen
from relucheck.config import FAIL_ON, Settings
from relucheck.problems import UsageProblem
from relucheck.tape.beneath import compiled_as_written
from relucheck.training import Inspection, TrainingReport, watch


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a callback, checked.

    ``every``, ``first``: as of ``relucheck.watch``. ``settings`` hold the chosen rules. ``fail_on`` is
    the severity from which a finding fails the training at its end, or ``never``. ``log``: the
    figures go to the framework's loggers. ``show``: the report is printed at the end.
    """

    every: int
    first: int
    settings: Settings
    fail_on: str
    log: bool
    show: bool

    @classmethod
    def of(
        cls,
        *,
        every: int,
        first: int,
        select: str | Iterable[str],
        ignore: str | Iterable[str],
        fail_on: str,
        log: bool,
        show: bool,
    ) -> Options:
        """Raises ValueError for numbers out of range, unknown rules and an unknown severity."""
        if every < 1 or first < 0:
            raise ValueError(f"every must be at least 1 and first at least 0, not {every} and {first}")
        if fail_on not in FAIL_ON:
            raise ValueError(f"fail_on is one of {', '.join(FAIL_ON)}, not {fail_on!r}")
        settings = Settings(select=_rules(select, "select"), ignore=_rules(ignore, "ignore"))
        return cls(every, first, settings, fail_on, log, show)


def _rules(given: str | Iterable[str], where: str) -> tuple[str, ...]:
    try:
        return chosen([given] if isinstance(given, str) else given, where)
    except UsageProblem as problem:
        raise ValueError(str(problem)) from None


@dataclass(slots=True)
class Training:
    """The watch of one training after the other; both ends may be told more than once.

    In a distributed training every process has one, and the report of all of them is the same. ``main``: it is this
    process that prints it.
    """

    options: Options
    watch: watch | None = field(default=None, repr=False)
    prepared: bool = False
    main: bool = True

    def begin(
        self,
        model: nn.Module,
        heard: Callable[[Inspection], object] | None,
        alive: Callable[[], bool] | None = None,
        *,
        main: bool = True,
    ) -> None:
        """A training of ``model`` starts; one that has not ended is over. ``heard`` gets the figures."""
        self.end(completed=False)
        self.main = main
        self.watch = watch(
            model,
            every=self.options.every,
            first=self.options.first,
            configuration=self.options.settings,
            on_step=heard if self.options.log else None,
            alive=alive,
        )
        self.watch.__enter__()

    def end(self, *, completed: bool) -> None:
        """The training is over, and nothing of the watching is left; the last figures are told if it is complete.

        Of one that is not, other processes may not have come to their end, and are not waited for.
        """
        if self.running and self.watch is not None:
            self._unprepare()
            self.watch.failed |= not completed
            self.watch.end(tell=completed)

    def prepare(self) -> None:
        """A step of the framework begins: a compiled one that is to be inspected runs as it is written."""
        if self.watch is not None and self.watch.listening:
            self.prepared = True
            compiled_as_written(True)

    def _unprepare(self) -> None:
        if self.prepared:
            self.prepared = False
            compiled_as_written(False)

    def settle(self) -> None:
        """A step of the framework is over, whatever else its optimisers might have done."""
        if self.running and self.watch is not None:
            self._unprepare()
            self.watch.settle()

    @property
    def running(self) -> bool:
        return self.watch is not None and not self.watch.finished

    @property
    def report(self) -> TrainingReport:
        """What the latest training showed; raises RuntimeError before its end."""
        if self.watch is None:
            raise RuntimeError("there is no report: no training has run with this callback")
        return self.watch.report

    def show(self) -> None:
        """Prints the report in the main process, where that is wanted and there is something in it."""
        if not self.main:
            return
        if self.options.show and self.report.steps:
            click.echo(f"\nrelucheck: {self.report.table()}")
        for crash in self.report.crashes:
            click.echo(f"relucheck: internal error: {crash.message}\n{crash.traceback}", err=True)

    def judge(self) -> None:
        """Raises AssertionError where the report has findings at or above ``fail_on``."""
        if self.options.fail_on != "never":  # a report waits for the other processes
            self.report.raise_if_unhealthy(self.options.fail_on)
