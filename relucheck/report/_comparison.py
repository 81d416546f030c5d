"""A comparison as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from typing import Any

from relucheck.comparison import LEAST, Arm, Comparison, Outcome, improvements, spread_of
from relucheck.measurements import DETERMINED_FROM
from relucheck.report._table import aligned


def comparison_table(comparison: Comparison) -> str:
    """The experiment, the changes from the most helpful one on, and what the figures mean."""
    style = _Style.of(comparison)
    arms = [comparison.untrained, comparison.baseline, *(arm for arm in comparison.ranked if arm.trials)]
    rows = [_heads(comparison), *(_row(comparison, arm, style) for arm in arms)]
    parts = [_heading(comparison), aligned(rows, names=1), *_not_applicable(comparison)]
    return "\n".join([*parts, "", _summary(comparison, style), *_notes(comparison)])


@dataclass(frozen=True, slots=True)
class _Style:
    """How losses are written: with three decimals, or as many as leave the smallest of them three digits."""

    decimals: int

    @classmethod
    def of(cls, comparison: Comparison) -> _Style:
        arms = (comparison.untrained, comparison.baseline, *comparison.arms)
        sizes = [abs(arm.loss) for arm in arms if arm.trials and not arm.diverged and arm.loss]
        smallest = min(sizes, default=1.0)
        return cls(min(6, max(3, 2 - math.floor(math.log10(smallest)))))

    def number(self, value: float) -> str:
        return f"{value:.{self.decimals}f}" if abs(value) < 1e6 else f"{value:.2e}"

    def with_spread(self, value: float, spread: float | None) -> str:
        return self.number(value) if spread is None else f"{self.number(value)} ± {self.number(spread)}"

    def loss(self, arm: Arm) -> str:
        if arm.diverged:
            return f"not finite in {arm.diverged} of {len(arm.trials)}"
        return self.with_spread(arm.loss, arm.spread)

    def lower(self, baseline: Arm, arm: Arm) -> str:
        """The paired improvement with its standard deviation over the seeds."""
        pairs = improvements(baseline, arm)
        return self.with_spread(mean(pairs), spread_of(pairs)) if pairs else ""


def _heading(comparison: Comparison) -> str:
    steps = f"{comparison.steps} step{'' if comparison.steps == 1 else 's'}"
    seeds = len(comparison.seeds)
    return (
        f"{comparison.name}: one change at a time, after {steps}, {seeds} seed{'' if seeds == 1 else 's'}, "
        f"{comparison.held_out} held-out samples"
    )


def _heads(comparison: Comparison) -> tuple[str, ...]:
    metric = (comparison.metric_name,) if comparison.metric_name else ()
    return ("change", "held-out loss", "lower by", *metric, "silent", "seconds", "verdict")


def _row(comparison: Comparison, arm: Arm, style: _Style) -> tuple[str, ...]:
    change = arm in comparison.arms
    metric = (_metric(arm),) if comparison.metric_name else ()
    lower = style.lower(comparison.baseline, arm) if change else ""
    seconds = "" if arm is comparison.untrained else f"{arm.seconds:.1f}"
    verdict = comparison.outcome(arm).value if change else ""
    return (arm.change, style.loss(arm), lower, *metric, _share(arm.silent), seconds, verdict)


def _metric(arm: Arm) -> str:
    return "-" if arm.metric is None else f"{arm.metric:.3f}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _not_applicable(comparison: Comparison) -> Iterator[str]:
    arms = [arm for arm in comparison.arms if not arm.trials]
    if arms:
        yield "\nnot applicable:"
        yield from (f"  {arm.change}: {arm.reason}" for arm in arms)


def _summary(comparison: Comparison, style: _Style) -> str:
    """The answer to the question that was asked."""
    helping = comparison.helping
    if helping:
        said = ", ".join(f"{arm.change} ({style.number(arm.loss)})" for arm in helping)
        verb = "lower" if len(helping) > 1 else "lowers"
        return f"{said} {verb} the held-out loss ({style.loss(comparison.baseline)} without a change)."
    if all(comparison.outcome(arm) is Outcome.NOT_JUDGED for arm in comparison.arms if arm.trials):
        return "Nothing can be judged."
    return "None of the changes helps beyond the spread of the seeds."


def _notes(comparison: Comparison) -> Iterator[str]:
    yield (
        f"This is what {comparison.steps} steps show, at a constant learning rate; a longer training may end "
        "otherwise."
    )
    if len(comparison.seeds) > 1:
        by_chance = math.comb(2 * len(comparison.seeds), len(comparison.seeds))
        yield (
            "helps: its worst seed has a lower held-out loss than the best seed without the change (by chance "
            f"1 in {by_chance}), and the mean is lower by {LEAST:.0%} at least; hurts: the reverse."
        )
    yield (
        "silent: units that are flat on all held-out samples, a mean over the layers; '-' where no activation "
        "has a flat side. LeakyReLU, GELU and ELU lower it by definition, so it decides nothing."
    )
    if comparison.held_out < DETERMINED_FROM:
        yield (
            f"{comparison.held_out} held-out samples do not tell silent units from rare ones: "
            f"{DETERMINED_FROM} bound their activity by 1 %."
        )
    yield from comparison.notes


def comparison_json(comparison: Comparison) -> str:
    """Every trial under the names of the records' fields; a loss that is not finite is null."""
    content = {
        "model": comparison.name,
        "steps": comparison.steps,
        "seeds": list(comparison.seeds),
        "held_out": comparison.held_out,
        "metric": comparison.metric_name or None,
        "untrained": _arm(comparison.untrained),
        "baseline": _arm(comparison.baseline),
        "changes": [_change(comparison, arm) for arm in comparison.ranked],
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=2)


def _change(comparison: Comparison, arm: Arm) -> dict[str, Any]:
    lower = improvements(comparison.baseline, arm) if arm.trials else ()
    return {
        "change": arm.change,
        "what": arm.what,
        "verdict": comparison.outcome(arm).value,
        "reason": arm.reason or None,
        "improvement": mean(lower) if lower else None,
        "improvement_spread": spread_of(lower),
        **_arm(arm),
    }


def _arm(arm: Arm) -> dict[str, Any]:
    if not arm.trials:
        return {"trials": []}
    return {
        "loss": _finite(arm.loss),
        "loss_spread": arm.spread,
        "metric": arm.metric,
        "silent": arm.silent,
        "seconds": arm.seconds,
        "trials": [
            {
                "seed": trial.seed,
                "loss": _finite(trial.loss),
                "metric": trial.metric,
                "silent": trial.silent,
                "seconds": trial.seconds,
            }
            for trial in arm.trials
        ],
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
