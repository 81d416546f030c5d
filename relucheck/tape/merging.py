"""Tallies of the ranks of a distributed training, merged into one.

Counts and sums of squares are added, so the result is that of one process which ran the batches of
all ranks one after the other: a unit is silent only if it is silent on every rank. What one batch
shows (the spread of a signal) is judged by the rank that shows it best; the shapes of pre-activations are
those of the first rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from relucheck.measurements import NonFinite
from relucheck.tape.gradients import GradientWatch
from relucheck.tape.tally import KeptOutput, Tally
from relucheck.tape.underflow import Lost
from relucheck.tape.units import Counts, SiteKey, Sites
from relucheck.tape.windows import sums_over


def merged(tallies: Sequence[Tally]) -> Tally:
    """The tally of all ranks' passes; the net, the weights and the modes are those of the first.

    The ranks must have run the same network with the same weights.
    """
    if len(tallies) == 1:
        return tallies[0]
    first = tallies[0]
    return Tally(
        name=first.name,
        has_loss=first.has_loss,
        sites=_sites([tally.sites for tally in tallies]),
        watch=_watch([tally.watch for tally in tallies]),
        sums=sums_over([tally.sums for tally in tallies]),
        updates=sums_over([tally.updates for tally in tallies]),
        first_updates=sums_over([tally.first_updates for tally in tallies]),
        lost=_lost([tally.lost for tally in tallies]),
        loss_scale=first.loss_scale,
        outputs=_outputs([tally.outputs for tally in tallies]),
        weights={name: weight for tally in reversed(tallies) for name, weight in tally.weights.items()},
        read=first.read,
        input_signal=_largest(tally.input_signal for tally in tallies),
        detached=all(tally.detached for tally in tallies),
        non_finite=_earliest([tally.non_finite for tally in tallies]),
        samples=sum(tally.samples for tally in tallies),
        batches=sum(tally.batches for tally in tallies),
        training=first.training,
        optimiser=next((tally.optimiser for tally in tallies if tally.optimiser), ""),
        affine=first.affine,
    )


def _sites(ranks: Sequence[Sites]) -> Sites:
    """All sites; one that the first rank did not reach has no place in its net."""
    keys: dict[SiteKey, None] = dict.fromkeys(key for sites in ranks for key in sites.counts)
    counts = {key: _counts([sites.counts[key] for sites in ranks if key in sites.counts]) for key in keys}
    for key in keys:
        if key not in ranks[0].counts:
            counts[key] = replace(counts[key], node=None)
    return Sites(counts=counts)


def _counts(ranks: Sequence[Counts]) -> Counts:
    proved = set.intersection(*(set(counts.certified) for counts in ranks))
    return replace(
        ranks[0],
        by_sample=all(counts.by_sample for counts in ranks),
        fired=_total(counts.fired for counts in ranks),
        responded=_total(counts.responded for counts in ranks),
        on=reduce(torch.logical_and, (counts.on for counts in ranks)),
        samples=sum(counts.samples for counts in ranks),
        calls=max(counts.calls for counts in ranks),
        raw=all(counts.raw for counts in ranks),
        signal=_largest(counts.signal for counts in ranks),
        cosine=_smallest(counts.cosine for counts in ranks),
        dimension=_largest(counts.dimension for counts in ranks),
        certified=tuple(sorted(proved)),
    )


def _total(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


def _watch(ranks: Sequence[GradientWatch]) -> GradientWatch:
    """dL/dz over all ranks; the time steps of a recurrent net are those of the first rank's last batch."""
    return GradientWatch(
        outputs=sums_over([watch.outputs for watch in ranks]),
        half=set().union(*(watch.half for watch in ranks)),
        steps=ranks[0].steps,
    )


def _lost(ranks: Sequence[dict[str, Lost]]) -> dict[str, Lost]:
    names = dict.fromkeys(name for lost in ranks for name in lost)
    return {name: Lost.over(lost[name] for lost in ranks if name in lost) for name in names}


def _outputs(ranks: Sequence[dict[str, KeptOutput]]) -> dict[str, KeptOutput]:
    """The outputs that all ranks return with the same units, zero where all have only zeros."""
    shared = {n: [outputs[n] for outputs in ranks] for n in ranks[0] if all(n in o for o in ranks)}
    return {
        name: replace(kept[0], zero=reduce(torch.logical_and, [one.zero for one in kept]))
        for name, kept in shared.items()
        if len({one.zero.shape for one in kept}) == 1
    }


def _earliest(found: Iterable[NonFinite | None]) -> NonFinite | None:
    return min((one for one in found if one is not None), key=lambda one: one.batch, default=None)


def _smallest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
