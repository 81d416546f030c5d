"""What stays of each window of a training: which units were silent, and sums of squares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relucheck.tape.figures import measurements_of
from relucheck.tape.gradients import Sum
from relucheck.tape.tally import Tally
from relucheck.tape.units import SiteKey, unique_names
from relucheck.timeline import Moment


@dataclass(frozen=True, slots=True)
class Window:
    """Inspected steps from ``first`` to ``last``, as numbers that can be merged with another rank's.

    ``silent`` are the indices of the units that no sample made fire, by site, None where the
    function has no silent units; ``gradient`` are squares of norm(dL/dW), ``update`` squares of
    norm(change of W) / norm(W), both by the name that a report gives the weight.
    """

    first: int
    last: int
    samples: int
    silent: dict[SiteKey, Tensor | None]
    gradient: dict[str, Sum]
    update: dict[str, Sum]

    @classmethod
    def of(cls, tally: Tally, first: int, last: int) -> Window:
        weights = {g.name: g.parameter for g in measurements_of(tally).gradients}
        silent = {
            key: (counts.fired == 0).nonzero().flatten().int() if counts.plateau.dies else None
            for key, counts in tally.sites.counts.items()
        }
        return cls(
            first,
            last,
            tally.samples,
            silent,
            {name: tally.sums[p] for name, p in weights.items() if p in tally.sums},
            {name: tally.updates[p] for name, p in weights.items() if p in tally.updates},
        )

    @property
    def moment(self) -> Moment:
        """The window as shares and root mean squares."""
        named = zip(unique_names(self.silent), self.silent.items(), strict=True)
        shares = {name: len(units) / key.units for name, (key, units) in named if units is not None}
        return Moment(self.first, self.last, self.samples, shares, _means(self.gradient), _means(self.update))


def _means(sums: dict[str, Sum]) -> dict[str, float]:
    return {name: mean for name, total in sums.items() if (mean := total.rms) is not None}


def windows_over(ranks: Sequence[Sequence[Window]]) -> tuple[Window, ...]:
    """The windows of one network over all ranks, merged where they began at the same step.

    Ranks whose batches have different sizes fill their windows at different steps. Of those only
    the ones that all ranks began together are kept.
    """
    starts = [{window.first: window for window in windows} for windows in ranks]
    shared = [first for first in starts[0] if all(first in known for known in starts)]
    return tuple(_over([known[first] for known in starts]) for first in shared)


def _over(windows: Sequence[Window]) -> Window:
    keys = dict.fromkeys(key for window in windows for key in window.silent)
    return Window(
        windows[0].first,
        max(window.last for window in windows),
        sum(window.samples for window in windows),
        {key: _silent_on_all([w.silent[key] for w in windows if key in w.silent]) for key in keys},
        sums_over([window.gradient for window in windows]),
        sums_over([window.update for window in windows]),
    )


def _silent_on_all(units: Sequence[Tensor | None]) -> Tensor | None:
    common = units[0]
    for other in units[1:]:
        if common is None or other is None:
            return None
        common = common[torch.isin(common, other)]
    return common


def sums_over(ranks: Iterable[dict[str, Sum]]) -> dict[str, Sum]:
    """The sums of all ranks, name by name."""
    ranks = list(ranks)
    names = dict.fromkeys(name for sums in ranks for name in sums)
    return {name: Sum.over(sums[name] for sums in ranks if name in sums) for name in names}
