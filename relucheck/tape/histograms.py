"""Histograms of pre-activations, counted where the tensors are: a fixed number of integers a site.

Only the first pass is counted, the one that is read in full: its thousands of entries show the shape as well
as millions do. The range is set by the first tensor of a site and waits for the device once; after that nothing
is copied until the figures are made. Of a large tensor an even sample is counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from relucheck.measurements import Histogram
from relucheck.tape.sampling import sampled

BINS = 48
A_CALL = 16_384
"""Entries counted of one tensor at most."""
A_SITE = 65_536
"""Entries counted of one site at most."""
_DEVIATIONS = 4.0  # beyond so many standard deviations, entries are counted as outside


@dataclass(slots=True)
class Bins:
    """The counts of one site: those below the range, in its bins, above it, and NaN."""

    low: float = 0.0
    width: float = 0.0
    counted: int = 0
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def add(self, z: Tensor) -> None:
        """Counts the entries of one tensor, until enough have been."""
        if self.counted >= A_SITE:
            return
        entries = sample_of(z)
        if not self.counted:
            self.low, self.width = _range(entries)
            self.counts = torch.zeros(BINS + 3, dtype=torch.int64, device=z.device)
        bins = ((entries - self.low) / self.width).floor().clamp(-1, BINS).add(1)
        bins = torch.where(entries.isnan(), torch.full_like(bins, BINS + 2), bins).to(torch.int64)
        self.counts.index_add_(
            0, bins.to(self.counts.device), torch.ones_like(bins, device=self.counts.device)
        )
        self.counted += entries.numel()

    def histogram(self) -> Histogram | None:
        """The counts as numbers; None where nothing was counted."""
        if not self.counted:
            return None
        below, *inside, above, _ = self.counts.tolist()
        return Histogram(self.low, self.low + BINS * self.width, tuple(inside), below, above)


def sample_of(z: Tensor) -> Tensor:
    """At most ``A_CALL`` entries of a tensor in single precision, evenly from all samples and units."""
    return sampled(z.detach().reshape(-1), A_CALL).float()


def _range(entries: Tensor) -> tuple[float, float]:
    """The lower end and the width of a bin: nearly all entries and 0, which is an edge between bins."""
    finite = entries[entries.isfinite()]
    if not finite.numel():
        return -BINS / 2, 1.0
    low, high, mean, spread = torch.stack(
        (finite.amin(), finite.amax(), finite.mean(), finite.std(correction=0))
    ).tolist()
    low = min(0.0, max(low, mean - _DEVIATIONS * spread))
    high = max(0.0, min(high, mean + _DEVIATIONS * spread))
    width = max((high - low) / (BINS - 2), 1e-30)
    return (math.floor(low / width) * width, width) if high > low else (-BINS / 2, 1.0)
