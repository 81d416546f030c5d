"""``relucheck.watch``: a training loop, watched; a report over its steps.

```python
with relucheck.watch(every=50) as watch:
    for x, y in loader:
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
print(watch.report.table())
```
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

from torch import nn

from relucheck.config import Configuration, Settings, rank_to_fail_on
from relucheck.engine import in_order, load_rules
from relucheck.finding import Finding, RuleModule
from relucheck.live import judge
from relucheck.measurements import DETERMINED_FROM, Activation, Gradient
from relucheck.net import Crash
from relucheck.tape.meeting import PATIENCE
from relucheck.tape.probe import Measured
from relucheck.tape.shares import Seen, Share
from relucheck.tape.watcher import Watcher, watching
from relucheck.timeline import Inspection, Watched

__all__ = ["Inspection", "TrainingReport", "Watched", "watch"]

EVERY, FIRST = 50, 5
"""By default the first five steps are inspected, then one in fifty: less than 1 % of a training's time."""

AT_THE_END = frozenset({"RLU601", "RLU602", "RLU603", "RLU604", "RLU605"})
"""Rules about units, which live and die during a training: what counts is how they are at its end."""

AT_THE_START = frozenset({"RLU611", "RLU616"})
"""Rules whose levels were measured at initialisation (theory, section 2); training moves their figures."""


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a watched training showed, network by network.

    ``steps`` counts all backward passes, ``inspected`` those that were looked at. ``ranks`` are the
    processes of a distributed training whose figures are in it, of ``world`` in all; it is the same
    on all of them. ``rank`` is the process that holds this one. ``elsewhere``: backward passes
    ran in other threads than the one that began the watch, of which nothing is known.
    """

    findings: tuple[Finding, ...]
    networks: tuple[Watched, ...]
    steps: int
    inspected: int
    crashes: tuple[Crash, ...] = ()
    ranks: tuple[int, ...] = ()
    world: int = 1
    rank: int = 0
    elsewhere: bool = False

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activation sites of all networks as they were at the end."""
        return tuple(a for network in self.networks for a in network.last.activations)

    @property
    def gradients(self) -> tuple[Gradient, ...]:
        """The weights of all networks with the gradients of the last window."""
        return tuple(g for network in self.networks for g in network.last.gradients)

    def table(self) -> str:
        """The figures over time and the findings as text for a terminal."""
        from relucheck.report._training import training_table

        return training_table(
            self.networks,
            self.findings,
            self.steps,
            self.inspected,
            ranks=self.ranks,
            world=self.world,
            elsewhere=self.elsewhere,
        )

    def to_json(self) -> str:
        """The figures over time and the findings as one JSON object."""
        from relucheck.report._training import training_json

        return training_json(self.networks, self.findings, self.steps, self.inspected)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as one self-contained HTML page, also written to ``path`` where one is given.

        Needs Jinja2 (``pip install "relucheck[report]"``); raises ImportError without it.
        """
        from relucheck.report._html import training_page

        text = training_page(self.networks, self.findings, self.steps, self.inspected)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def failing(self, fail_on: str = "warning") -> tuple[Finding, ...]:
        """The findings at or above a severity; ``never`` fails on none. Raises ValueError for any other word."""
        rank = rank_to_fail_on(fail_on)
        return tuple(finding for finding in self.findings if finding.severity.rank >= rank)

    def raise_if_unhealthy(self, fail_on: str = "warning") -> None:
        """Raises AssertionError with the table where a finding is at or above that severity."""
        __tracebackhide__ = True  # pytest shows the caller's line instead
        failing = self.failing(fail_on)
        if failing:
            count = f"{len(failing)} finding{'s' if len(failing) > 1 else ''}"
            raise AssertionError(f"the training is not healthy: {count}\n\n{self.table()}")


@dataclass(slots=True)
class watch:  # noqa: N801 (it reads as a verb, like open)
    """Watches every ``backward()`` inside a with-block.

    ``model`` limits it to one network, or to its parts where those are called one by one; by default
    every network is followed that is called from outside any other. ``every``: one step in that many
    is inspected, ``first``: and so many at the start. A step is one backward pass. Units are judged
    and shown by windows of inspected steps with ``window`` samples at least. ``on_step`` is called
    with the ``Inspection`` of each inspected step, after its optimiser's step, and what it raises is
    raised there. Steps that are not inspected cost nothing measurable, and whatever happens inside,
    nothing of the watching is left behind.

    In a distributed training (``torch.distributed``) every process watches its own batches, and leaves
    what it has counted in the store of the process group when its block ends; no collective is
    run. ``report``, on any of them, is that of all samples. It waits for processes that have begun
    and not ended, for ``patience`` seconds at most, and not for one whose block ended in an
    exception. Norms of gradients are those of each process's own batches, before DDP averages them.
    """

    model: Any = None
    every: int = EVERY
    first: int = FIRST
    window: float = DETERMINED_FROM
    configuration: Configuration | None = None
    stop: CodeType | None = None
    told: Callable[[Watcher], None] | None = None
    on_step: Callable[[Inspection], object] | None = None
    alive: Callable[[], bool] | None = None
    patience: float = PATIENCE
    failed: bool = field(default=False, init=False)
    _watcher: Watcher | None = field(default=None, repr=False)
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _report: TrainingReport | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.model is not None and not isinstance(self.model, nn.Module):
            raise TypeError(f"model must be an nn.Module, not {type(self.model).__name__}")
        if self.on_step is not None and not callable(self.on_step):
            raise TypeError(f"on_step must be callable, not {type(self.on_step).__name__}")
        if self.every < 1 or self.first < 0:
            raise ValueError(
                f"every must be at least 1 and first at least 0, not {self.every} and {self.first}"
            )

    def __enter__(self) -> watch:
        if self._watcher is not None:
            raise RuntimeError("a watch is entered once; make another one")
        stop = self.stop or _outermost()
        self._watcher = Watcher(
            self.every,
            self.first,
            self.model,
            stop,
            self.window,
            self.told,
            self.on_step,
            self.alive,
            place=_place(sys._getframe(1)),
        )
        self._stack.enter_context(watching(self._watcher))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self.failed = self.failed or error is not None
        self.end(tell=error is None)

    def end(self, *, tell: bool = True) -> None:
        """Ends the watching where no with-block does it; ``on_step`` hears of what that brings, unless told not to."""
        self._stack.close()
        if self._watcher is None:
            return
        self._watcher.ended(failed=self.failed)
        if tell:
            self._watcher.tell_rest()

    def settle(self) -> None:
        """Tells ``on_step`` of the step inspected last, where several optimisers leave open which one ends it."""
        if self._watcher is not None:
            self._watcher.settle()

    @property
    def listening(self) -> bool:
        """Whether the next step is to be inspected."""
        return self._watcher is not None and self._watcher.listening

    @property
    def finished(self) -> bool:
        """Whether the watching is over, so that there is a report."""
        return self._watcher is not None and self._watcher.finished

    @property
    def report(self) -> TrainingReport:
        """What was seen; only after the with-block. In a distributed training, on all ranks."""
        if self._watcher is None or not self.finished:
            raise RuntimeError("the report of a watch is made when its with-block has ended")
        if self._report is None:
            meeting = self._watcher.meeting
            rank = 0 if meeting is None else meeting.rank
            seen = self._watcher.seen(failed=self.failed, patience=self.patience)
            self._report = _report_of(seen, rank, self.configuration or Settings())
        return self._report

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of the report."""
        return self.report.findings


def _place(frame: FrameType) -> str:
    """A line of the user's code, the same in every process that runs it."""
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _outermost() -> CodeType:
    """The code below which nothing called the user's: none, so that the whole stack is the user's."""
    return _outermost.__code__


def _report_of(seen: Seen, rank: int, configuration: Configuration) -> TrainingReport:
    rules = load_rules()
    findings: list[Finding] = []
    crashes, networks = list(seen.crashes), []
    for share in seen.shares:
        first = Measured.of(share.first)
        last = first if share.last is share.first else Measured.of(share.last)
        networks.append(_watched(share, first, last))
        found, broken = _judged(first, last, rules, configuration)
        findings += found
        crashes += broken
    return TrainingReport(
        tuple(in_order(findings)),
        tuple(networks),
        seen.steps,
        seen.inspected,
        tuple(crashes),
        seen.ranks,
        seen.world,
        rank,
        seen.elsewhere,
    )


def _watched(share: Share, first: Measured, last: Measured) -> Watched:
    return Watched(
        share.title or share.first.name,
        share.steps,
        tuple(window.moment for window in share.windows),
        first.measurements,
        last.measurements,
        last.net,
        share.ranks,
    )


def _judged(
    first: Measured, last: Measured, rules: Iterable[RuleModule], configuration: Configuration
) -> tuple[list[Finding], tuple[Crash, ...]]:
    """What the rules say about the first and the last window, each mistake once."""
    rules = tuple(rules)
    start, broken = judge(first, rules, configuration)
    if last is first:
        return list(start), broken
    end, more = judge(last, rules, configuration)
    kept = {(f.code, f.layer): f for f in start if f.code not in AT_THE_END}
    kept |= {
        (f.code, f.layer): f for f in end if f.code not in AT_THE_START and (f.code, f.layer) not in kept
    }
    return list(kept.values()), (*broken, *more)
