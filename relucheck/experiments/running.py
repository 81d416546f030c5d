"""``relucheck.compare``: every seed, every change, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from relucheck.comparison import Arm, Comparison, Trial, varied
from relucheck.experiments.changes import CHANGES, Change, NotApplicableError
from relucheck.experiments.experiment import Experiment, ExperimentError, made, several
from relucheck.experiments.preparing import Ready, Start, prepared, start_of
from relucheck.experiments.trial import trial_of
from relucheck.tape.state import kept_randomness, without_fused_attention

__all__ = ["CHANGES", "Experiment", "ExperimentError", "Progress", "compare"]

STEPS, SEEDS = 300, 3
"""After 300 steps the order of the changes agrees with that after 1,000: Spearman's rank correlation of
accuracy .74 to .93 on three problems, with 100 steps .49 to .93 (theory, section 5)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a comparison is: ``done`` of ``total`` steps over all seeds and changes."""

    done: int
    total: int
    seed: int
    change: str


Told = Callable[[Progress], None]


def compare(
    make_experiment: Callable[..., Experiment],
    steps: int = STEPS,
    seeds: int | Sequence[int] = SEEDS,
    changes: Iterable[str] | None = None,
    *,
    told: Told | None = None,
) -> Comparison:
    """Trains an experiment with one thing changed at a time and says which change lowers the held-out loss.

    ``make_experiment`` returns an ``Experiment``; it receives the seed if it has a parameter, and
    torch, numpy and random are seeded before it is called. For each seed every change starts from
    the same initial state and random numbers and sees the same ``steps`` batches in the same order,
    with a constant learning rate. ``seeds`` is their number (from 0 on) or the seeds. ``changes`` are
    names of ``relucheck.experiments.changes.CHANGES``; all by default. ``told`` hears of each step.

    A change *helps* if with it the worst seed has a lower held-out loss than the best seed without it
    (``relucheck.comparison.judged``). The share of silent units is shown and never judged: LeakyReLU
    lowers it by definition. Method: same seed, same batches, K = 300 by evidence ("theory", section 5).

    The model that ``make_experiment`` returns is never run, only copies of it, and the random
    generators are put back. Raises ExperimentError (a ValueError) for what cannot be run.
    """
    if steps < 1:
        raise ExperimentError(f"steps is {steps}; at least one is needed")
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not numbers:
        raise ExperimentError("seeds: at least one is needed")
    board = _Board(steps, numbers, chosen(changes), told)
    with _undisturbed():
        for seed in numbers:
            board.run(start_of(made(make_experiment, seed), seed, steps))
    return board.comparison()


def chosen(names: Iterable[str] | None) -> tuple[Change, ...]:
    """The changes of those names, in the order in which they are tried."""
    wanted = set(CHANGES if names is None else names)
    unknown = sorted(wanted - set(CHANGES))
    if unknown:
        raise ExperimentError(f"there is no change {unknown[0]!r}; there are: {', '.join(CHANGES)}")
    return tuple(change for change in CHANGES.values() if change.name in wanted)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The caller's generators and modes as they were, whatever happens; gradients on inside."""
    with ExitStack() as stack:
        stack.enter_context(kept_randomness())
        stack.enter_context(without_fused_attention())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


_UNTRAINED, _BASELINE = "(untrained)", "(no change)"


@dataclass(slots=True)
class _Board:
    """The trials so far."""

    steps: int
    seeds: tuple[int, ...]
    changes: tuple[Change, ...]
    told: Told | None
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    done: int = 0
    last: Start | None = None

    def run(self, start: Start) -> None:
        """All variants of one seed."""
        self.last = start
        gradients = [parameter.grad for parameter in start.experiment.model.parameters()]
        self._keep(start, _UNTRAINED, prepared(start, None), 0)
        self._keep(start, _BASELINE, prepared(start, None), self.steps)
        _check_loss_of_copy(start.experiment, gradients)
        for change in self.changes:
            if change.name not in self.reasons:
                self._try(start, change)
            self._tell(start, change.name, to=self._position(start, change))

    def _try(self, start: Start, change: Change) -> None:
        """One change; one that fails where the baseline ran cannot be made in this network."""
        try:
            self._keep(start, change.name, prepared(start, change), self.steps)
        except (NotApplicableError, ExperimentError) as error:
            self.reasons[change.name] = str(error)

    def _keep(self, start: Start, name: str, ready: Ready, steps: int) -> None:
        def tick() -> None:
            self._tell(start, name, to=self.done + 1)

        self.trials.setdefault(name, []).append(trial_of(start, ready, steps, tick))

    def _tell(self, start: Start, name: str, to: int) -> None:
        self.done = to
        if self.told is not None:
            total = len(self.seeds) * self._per_seed
            self.told(Progress(self.done, total, start.seed, name))

    @property
    def _per_seed(self) -> int:
        return self.steps * (1 + len(self.changes))

    def _position(self, start: Start, change: Change) -> int:
        """The steps that are behind us after a change, made or not."""
        before = self.seeds.index(start.seed) * self._per_seed
        return before + self.steps * (2 + self.changes.index(change))

    def comparison(self) -> Comparison:
        """What all trials together say."""
        assert self.last is not None  # there is at least one seed
        experiment = self.last.experiment
        baseline = self._arm(_BASELINE, "the experiment as it is")
        return Comparison(
            name=type(experiment.model).__name__,
            steps=self.steps,
            seeds=self.seeds,
            held_out=self.last.samples,
            untrained=self._arm(_UNTRAINED, "before the first step"),
            baseline=baseline,
            arms=tuple(self._arm(change.name, change.what) for change in self.changes),
            metric_name=_name_of(experiment.metric),
            notes=tuple(_notes(experiment, baseline)),
        )

    def _arm(self, name: str, what: str) -> Arm:
        reason = self.reasons.get(name, "")
        return Arm(name, what, () if reason else tuple(self.trials[name]), reason)


def _check_loss_of_copy(experiment: Experiment, before: list[Any]) -> None:
    """Raises ExperimentError where training a copy gave the original model gradients."""
    parameters = list(experiment.model.parameters())
    if all(p.grad is old for p, old in zip(parameters, before, strict=True)):
        return
    for parameter, old in zip(parameters, before, strict=True):
        parameter.grad = old
    raise ExperimentError(
        "the loss function reaches the parameters of the model itself, not those of the copy that is trained: "
        "let it use the model's output only"
    )


def _notes(experiment: Experiment, baseline: Arm) -> Iterator[str]:
    """What limits this comparison in particular."""
    given = experiment.optimiser
    groups = [] if callable(given) else [g for optimiser in several(given) for g in optimiser.param_groups]
    if any("initial_lr" in group for group in groups):
        rates = ", ".join(f"{float(group['lr']):g}" for group in groups)
        yield f"The learning-rate schedule is left out: the rate stays at {rates}."
    if len(baseline.trials) == 1:
        yield "One seed has no spread, so nothing is judged: use 3 seeds or more."
    elif not varied(baseline):
        yield "Every seed gave the same result, so nothing is judged: does make_experiment use its seed?"


def _name_of(metric: object) -> str:
    return "" if metric is None else str(getattr(metric, "__name__", type(metric).__name__))
