"""What a comparison measured: plain numbers for each change and seed, and the verdicts that they allow.

Nothing here needs torch, so the arithmetic of the verdicts is tested on given numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import mean, stdev


class Outcome(Enum):
    """What may be said about one change after so many steps."""

    HELPS = "helps"
    UNCLEAR = "no clear difference"
    HURTS = "hurts"
    DIVERGED = "diverged"
    NOT_JUDGED = "not judged"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Trial:
    """One training with one seed.

    ``loss`` is the held-out loss afterwards, a mean over samples; infinite if the training or its
    result was not finite. ``metric`` is the user's own figure, also a mean over samples. ``silent``
    is the mean over the activation sites of the share of units whose slope is zero on every held-out
    sample; None where no activation of the network has a flat side. ``seconds`` is the wall time.
    """

    seed: int
    loss: float
    metric: float | None = None
    silent: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Arm:
    """One change in all seeds; without trials, ``reason`` says why it cannot be made in this network."""

    change: str
    what: str
    trials: tuple[Trial, ...] = ()
    reason: str = ""

    @property
    def losses(self) -> tuple[float, ...]:
        """The held-out losses in the order of the seeds."""
        return tuple(trial.loss for trial in self.trials)

    @property
    def diverged(self) -> int:
        """In how many seeds the loss was not finite."""
        return sum(not math.isfinite(loss) for loss in self.losses)

    @property
    def loss(self) -> float:
        """The mean held-out loss; infinite where a seed diverged."""
        return mean(self.losses)

    @property
    def spread(self) -> float | None:
        """The sample standard deviation of the held-out loss over the seeds; None for fewer than two."""
        return None if self.diverged else spread_of(self.losses)

    @property
    def metric(self) -> float | None:
        """The mean of the user's figure."""
        return _mean([trial.metric for trial in self.trials])

    @property
    def silent(self) -> float | None:
        """The mean silent share."""
        return _mean([trial.silent for trial in self.trials])

    @property
    def seconds(self) -> float:
        """The mean wall time of one training."""
        return mean(trial.seconds for trial in self.trials)


def spread_of(values: Sequence[float]) -> float | None:
    """The sample standard deviation; None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known and len(known) == len(values) else None


LEAST = 0.01
"""The smallest mean difference that is called one, as a share of the baseline's loss: where nothing is
learned at all, the losses of all seeds agree to four digits and a fifth would decide."""


def judged(baseline: Arm, arm: Arm) -> Outcome:
    """The verdict on a change, from the held-out losses alone.

    *helps*: the worst seed with the change has a lower loss than the best seed without it, so that
    the improvement is beyond the whole seed spread of both arms and every seed agrees, and the mean
    loss falls by 1 % at least. *hurts*: the reverse. Of two arms of n seeds that do not differ, one in
    binomial(2n, n) is separated like that by chance in a given direction: 1 in 20 for three seeds, 1
    in 252 for five (the smallest level of the rank-sum test, Wilcoxon 1945). Standard deviations are not
    used: one seed of an unstable baseline at a loss of 40 would hide every improvement. *diverged*: not
    finite in some seed. *not judged*: a single seed, or a baseline that is the same in every seed,
    which leaves no spread to compare with.
    """
    if not arm.trials:
        return Outcome.NOT_APPLICABLE
    if arm.diverged:
        return Outcome.DIVERGED
    if not varied(baseline):
        return Outcome.NOT_JUDGED
    if abs(baseline.loss - arm.loss) < LEAST * abs(baseline.loss) < math.inf:
        return Outcome.UNCLEAR
    if max(arm.losses) < min(baseline.losses):
        return Outcome.HELPS
    if min(arm.losses) > max(baseline.losses):
        return Outcome.HURTS
    return Outcome.UNCLEAR


def varied(baseline: Arm) -> bool:
    """Whether the seeds made a difference; a baseline that diverges in every seed counts as varied."""
    alike = len(set(baseline.losses)) == 1 and not baseline.diverged
    return len(baseline.trials) > 1 and not alike


def improvements(baseline: Arm, arm: Arm) -> tuple[float, ...]:
    """How much lower the loss is with the change, seed by seed; empty where either is not finite."""
    if baseline.diverged or arm.diverged:
        return ()
    return tuple(before - after for before, after in zip(baseline.losses, arm.losses, strict=True))


_ORDER = (
    Outcome.HELPS,
    Outcome.NOT_JUDGED,
    Outcome.UNCLEAR,
    Outcome.HURTS,
    Outcome.DIVERGED,
    Outcome.NOT_APPLICABLE,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One change at a time from the same initial state and batches, over several seeds.

    ``untrained`` is the network before the first step, ``baseline`` the experiment as it is. ``steps``
    is the number of updates, ``held_out`` that of the held-out samples. ``notes`` say what limits it.
    """

    name: str
    steps: int
    seeds: tuple[int, ...]
    held_out: int
    untrained: Arm
    baseline: Arm
    arms: tuple[Arm, ...]
    metric_name: str = ""
    notes: tuple[str, ...] = ()

    def outcome(self, arm: Arm) -> Outcome:
        """The verdict on one of the arms."""
        return judged(self.baseline, arm)

    @property
    def ranked(self) -> tuple[Arm, ...]:
        """The changes from the most helpful one on; those that cannot be made are last."""
        return tuple(sorted(self.arms, key=self._rank))

    def _rank(self, arm: Arm) -> tuple[int, float]:
        return _ORDER.index(self.outcome(arm)), arm.loss if arm.trials else 0.0

    @property
    def helping(self) -> tuple[Arm, ...]:
        """The changes that help, the lowest held-out loss first."""
        return tuple(arm for arm in self.ranked if self.outcome(arm) is Outcome.HELPS)

    def arm(self, change: str) -> Arm:
        """The arm of a change by its name; KeyError for one that was not tried."""
        found = {arm.change: arm for arm in self.arms}
        return found[change]

    def table(self) -> str:
        """The figures and verdicts as text for a terminal."""
        from relucheck.report._comparison import comparison_table

        return comparison_table(self)

    def to_json(self) -> str:
        """The figures of every seed and the verdicts as one JSON object."""
        from relucheck.report._comparison import comparison_json

        return comparison_json(self)
