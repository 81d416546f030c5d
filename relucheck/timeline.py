"""What a watched training showed over time: a few numbers a layer for each window of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relucheck.measurements import Measurements
from relucheck.net import Net

T = TypeVar("T")

MOST = 128
"""Windows kept of one training; beyond it every other one is left out, the ends never."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A window of inspected steps, both ends included; steps are backward passes, from 0.

    ``silent`` is the share of units that no sample of the window made fire, by activation site;
    ``gradient`` the root mean square of norm(dL/dW), by layer; ``update`` norm(change of W) / norm(W).
    """

    first: int
    last: int
    samples: int
    silent: Mapping[str, float]
    gradient: Mapping[str, float]
    update: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one inspected step showed, as a logger takes it.

    ``step`` is the number of backward passes before it. ``figures`` are numbers by name,
    ``relucheck/<layer>/<figure>``: ``gradient`` is norm(dL/dW) of this backward pass, ``elasticity``
    that times norm(W), ``update`` norm(change of W) / norm(W) of the optimiser's step that used it;
    where a window of samples is complete with this step, ``silent`` (one-sided activations) or
    ``saturated`` (the others) is the share of its units. ``activity`` then holds, for
    ``relucheck/<layer>/activity``, the share of the window's samples in which each unit fired.
    """

    step: int
    figures: Mapping[str, float]
    activity: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Watched:
    """One network of a training: its windows over time, and the figures of the first and the last.

    ``ranks`` are the processes of a distributed training whose copies of it are counted together.
    """

    name: str
    steps: int
    moments: tuple[Moment, ...]
    first: Measurements
    last: Measurements
    net: Net
    ranks: tuple[int, ...] = ()


def thinned(moments: Sequence[T]) -> list[T]:
    """The windows, every other one of them where they are too many."""
    if len(moments) <= MOST:
        return list(moments)
    return [*moments[:-1:2], moments[-1]]
