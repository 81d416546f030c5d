"""An even sample of a tensor's entries, where all of them would cost too much."""

from __future__ import annotations

import math

from torch import Tensor


def sampled(entries: Tensor, most: int) -> Tensor:
    """Every n-th of the entries on one axis, about ``most`` of them, from all rows and columns.

    A gap that divides the length of a row would meet the same few columns again and again, such as the
    margins of images; so it has no factor in common with the number of entries.
    """
    total = entries.numel()
    gap = max(1, math.ceil(total / most))
    while math.gcd(gap, total) > 1:
        gap += 1
    return entries[::gap]
