"""How alike the samples of a batch are where an activation receives them, and in how many directions they differ.

Both figures are of one batch and of few numbers: the samples are reduced to their products with one another.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from relucheck.tape.units import by_sample

COMPARED = 256
"""At most so many samples of a batch, evenly taken, are compared: the products of N samples cost N^2."""


def likeness(z: Tensor, axis: int | None, samples: int) -> tuple[float | None, float | None]:
    """The mean cosine between two samples, and the participation ratio of what they differ in.

    ``z`` is what an activation receives, ``axis`` holds its units (None: the last), axis 0 ``samples``
    samples. All positions of a sample are one vector. None where axis 0 is not the batch, for a single sample and
    for values that are not finite.
    """
    if z.layout is not torch.strided:
        return None, None
    parts = by_sample(z, axis, samples)
    if parts.ndim != 3 or samples < 2:
        return None, None
    rows = parts.flatten(1)[:: -(-samples // COMPARED)]
    if rows.dtype not in (torch.float32, torch.float64):
        rows = rows.float()
    cosine, dimension = mean_cosine(rows), participation_ratio(rows)
    found = torch.stack((cosine, dimension)).tolist()
    return (found[0], found[1]) if all(map(math.isfinite, found)) else (None, None)


def mean_cosine(rows: Tensor) -> Tensor:
    """The mean cosine of the angle between two different rows of an (N, D) matrix; N is 2 at least.

    Poole et al. 2016, section 2.2 (there of two inputs). The sum over all pairs is the square of the sum
    of the unit vectors, less the N pairs of a row with itself. A row of zeros is at right angles to all.
    """
    scaled = rows / _largest(rows, 1)
    lengths: Tensor = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    unit = scaled / lengths.clamp(min=1)  # with an entry of size one; a row of zeros stays one
    same = (lengths > 0).sum()
    total: Tensor = unit.sum(0, dtype=torch.float64).square().sum()
    return (total - same) / (len(rows) * (len(rows) - 1))


def participation_ratio(rows: Tensor) -> Tensor:
    """(sum of l)^2 / sum of l^2 over the eigenvalues l of the covariance of an (N, D) matrix; 1 to min(N - 1, D).

    The number of directions that the rows differ in, if they differed equally in all of them (Gao et al. 2017, "A
    theory of multineuronal dimensionality, dynamics and measurement"). Both sums are traces, so no
    eigenvalue is computed. 0 where all rows are the same to the last bit.
    """
    centred = rows - rows.mean(0)
    centred = centred / _largest(centred, (0, 1))
    products = centred @ centred.T if len(rows) <= rows.shape[1] else centred.T @ centred
    products = products.double()
    return products.diagonal().sum().square() / products.square().sum().clamp(min=1e-300)


def _largest(rows: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The largest size of an entry, 1 where all are 0: what is divided by it has squares that do not underflow."""
    size = rows.abs().amax(dim, keepdim=True)
    return torch.where(size > 0, size, 1)
