"""What one process saw of each network, and the same over all processes of a distributed training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relucheck.net import Crash
from relucheck.tape.merging import merged
from relucheck.tape.tally import Tally
from relucheck.tape.windows import Window, windows_over

_SAME = 1e-5
"""Relative difference of weights' norms at the start up to which two ranks hold copies of one network.

Copies agree to the last bit, or to rounding. The norms of two draws of n uniform entries differ by
0.6 / sqrt(n), which is 2e-5 for a billion of them, and that in every layer.
"""

_ALIKE = 1e-2
"""The same at the end, where a rank may have made a few steps more than another."""


@dataclass(frozen=True, slots=True)
class Share:
    """One network in a training: its windows over time, the tallies of the first and the last.

    ``norms`` are those of its weights at the first inspected step, by name; ``steps`` the inspected
    passes, ``ranks`` the processes that ran them (empty where the training has one only), ``title`` what
    a report calls it.
    """

    parameters: tuple[str, ...]
    norms: Mapping[str, float]
    steps: int
    windows: tuple[Window, ...]
    first: Tally
    last: Tally
    ranks: tuple[int, ...] = ()
    title: str = ""

    def copies(self, other: Share) -> bool:
        """Whether both are the same network with the same weights, so that its units are the same.

        The stages of a pipeline and networks of different seeds are not.
        """
        if (self.first.name, self.parameters) != (other.first.name, other.parameters):
            return False
        if not _same(self.norms, other.norms, _SAME):
            return False
        return self.windows[-1].last != other.windows[-1].last or _same(self._end, other._end, _ALIKE)

    @property
    def _end(self) -> dict[str, float]:
        return {name: weight.norm for name, weight in self.last.weights.items()}


def _same(a: Mapping[str, float], b: Mapping[str, float], tolerance: float) -> bool:
    pairs = [(a[name], b[name]) for name in a.keys() & b.keys()]
    return all(math.isclose(x, y, rel_tol=tolerance) or (math.isnan(x) and math.isnan(y)) for x, y in pairs)


def shares_over(ranks: Mapping[int, Sequence[Share]]) -> tuple[Share, ...]:
    """The networks of all ranks: copies of one network become one, all others stay as they are."""
    groups: list[dict[int, Share]] = []
    for rank, shares in ranks.items():
        for share in shares:
            alike = (g for g in groups if rank not in g and next(iter(g.values())).copies(share))
            group = next(alike, None)
            if group is None:
                groups.append({rank: share})
            else:
                group[rank] = share
    return tuple(map(_one, groups))


def _one(group: Mapping[int, Share]) -> Share:
    shares = tuple(group.values())
    alone = all(share.last is share.first for share in shares)  # a single window, on every rank
    first = merged([share.first for share in shares])
    return Share(
        parameters=shares[0].parameters,
        norms=shares[0].norms,
        steps=max(share.steps for share in shares),
        windows=windows_over([share.windows for share in shares]),
        first=first,
        last=first if alone else merged([share.last for share in shares]),
        ranks=tuple(group),
        title=shares[0].title,
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A watched training, as one process or as all together saw it.

    ``ranks`` are the processes whose figures are in it, of ``world`` in all; ``elsewhere``: backward
    passes ran in threads that were not watched.
    """

    shares: tuple[Share, ...]
    steps: int
    inspected: int
    crashes: tuple[Crash, ...]
    ranks: tuple[int, ...] = ()
    world: int = 1
    elsewhere: bool = False


def seen_over(ranks: Mapping[int, Seen]) -> Seen:
    """What the processes saw together."""
    return Seen(
        shares_over({rank: seen.shares for rank, seen in ranks.items()}),
        max(seen.steps for seen in ranks.values()),
        max(seen.inspected for seen in ranks.values()),
        tuple(crash for seen in ranks.values() for crash in seen.crashes),
        tuple(ranks),
        max(seen.world for seen in ranks.values()),
        any(seen.elsewhere for seen in ranks.values()),
    )
