"""Counts per unit, taken from the exact tensor that an activation receives, before it may be overwritten.

Nothing is kept but a few numbers a unit. An event in one sample is "at any position of it": a unit
that fires at one pixel of one image is alive, and its activity is one over the number of images.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from relucheck.span import Span
from relucheck.tape.aten import Plateau
from relucheck.tape.histograms import Bins

SATURATED_SHARE = 0.95
"""A unit counts as saturated if it stays on a plateau in this share of the samples (theory, 2)."""


@dataclass(frozen=True, slots=True)
class SiteKey:
    """What makes an activation site, in every pass: one function on the same units.

    ``weights`` are the parameters that make the units, so that a shared module is one site a layer,
    while all time steps of a recurrence are one; ``depth`` counts the activations since, and ``section``
    says which of the units these are (``q, k, v = qkv.chunk(3, -1)``).
    """

    name: str
    function: str
    weights: tuple[str, ...]
    depth: int
    units: int
    section: tuple[int, ...] = ()


@dataclass(slots=True)
class _Pass:
    """One pass through one site: booleans per sample and unit, joined over its calls."""

    fired: Tensor
    responded: Tensor | None
    on: Tensor
    calls: int = 1

    def join(self, other: _Pass) -> bool:
        """Takes in another call of the same pass; False where the shapes do not fit together."""
        if self.fired.shape != other.fired.shape:
            return False
        self.fired = self.fired | other.fired
        self.on = self.on & other.on
        if self.responded is not None and other.responded is not None:
            self.responded = self.responded | other.responded
        self.calls += 1
        return True


@dataclass(slots=True)
class Counts:
    """What one activation site showed over all passes; every tensor has one entry a unit.

    They stay where the activations are until ``settle``, so that no pass waits for its device.
    """

    function: str
    plateau: Plateau
    units: int
    by_sample: bool
    fired: Tensor
    on: Tensor
    responded: Tensor
    samples: int = 0
    calls: int = 0
    producer: str = ""
    raw: bool = True
    node: int | None = None
    span: Span | None = None
    signal: float | None = None
    cosine: float | None = None
    dimension: float | None = None
    certified: tuple[int, ...] = ()
    bins: Bins = field(default_factory=Bins)
    current: list[_Pass] = field(default_factory=list)

    @classmethod
    def start(cls, function: str, plateau: Plateau, seen: _Pass) -> Counts:
        units, device = seen.fired.shape[-1], seen.fired.device
        none = torch.zeros(units, dtype=torch.int64, device=device)
        by_sample = seen.fired.ndim == 2
        every = torch.ones(units, dtype=torch.bool, device=device)
        return cls(function, plateau, units, by_sample, none, every, none.clone())

    def take(self, seen: _Pass) -> None:
        """Takes in a call of the pass under way; calls on batches of several sizes cannot be joined."""
        if not self.current or not self.current[-1].join(seen):
            self.current.append(seen)

    def fold(self, samples: int) -> None:
        """Ends a pass of that many samples."""
        parts, self.current = self.current, []
        for seen in parts:
            # nothing in place: a tensor made under inference mode must not be changed outside it
            device = self.fired.device  # that of the first pass, wherever the network is by now
            self.fired = self.fired + _total(seen.fired).to(device)
            self.on = self.on & seen.on.to(device)
            if seen.responded is not None:
                self.responded = self.responded + _total(seen.responded).to(device)
            self.by_sample &= seen.fired.ndim == 2 and len(parts) == 1
            self.calls = max(self.calls, seen.calls)
        self.samples += samples if parts else 0

    def settle(self) -> None:
        """Brings the numbers over from the device, once no pass will follow."""
        self.fired, self.responded = torch.stack((self.fired, self.responded)).cpu().unbind()
        self.on, self.bins.counts = self.on.cpu(), self.bins.counts.cpu()

    @property
    def dead_units(self) -> tuple[int, ...]:
        return _indices(self.fired == 0) if self.plateau.dies else ()

    @property
    def linear_units(self) -> tuple[int, ...]:
        return _indices(self.on) if self.plateau.identity else ()

    @property
    def saturated_units(self) -> tuple[int, ...]:
        if not self.plateau.saturates:
            return ()
        most = (1 - SATURATED_SHARE) * self.samples if self.by_sample else 0
        stuck = self.responded <= most
        return _indices(stuck & (self.fired > 0) if self.plateau.dies else stuck)

    @property
    def activity(self) -> tuple[float, ...]:
        if not self.by_sample or not self.plateau.dies or not self.samples:
            return ()
        return tuple(count / self.samples for count in self.fired.tolist())


def _total(events: Tensor) -> Tensor:
    """The number of samples with the event; 0 or 1 where samples cannot be told apart."""
    return events.sum(0) if events.ndim == 2 else events.to(torch.int64)


def _indices(mask: Tensor) -> tuple[int, ...]:
    return tuple(mask.nonzero().flatten().tolist())


@dataclass(slots=True)
class Sites:
    """The activation sites of a model, in order of first execution."""

    samples: int = 1
    counts: dict[SiteKey, Counts] = field(default_factory=dict)

    def observe(self, key: SiteKey, z: Tensor, axis: int | None, plateau: Plateau) -> Counts:
        """Counts one call with the input ``z`` whose axis ``axis`` holds the units (None: the last)."""
        seen = _seen(by_sample(z, axis, self.samples), plateau)
        counts = self.counts.get(key)
        if counts is None:
            counts = self.counts[key] = Counts.start(key.function, plateau, seen)
        counts.take(seen)
        return counts

    def abandon(self) -> None:
        """Forgets a pass that has not ended, and sites that no other one reached."""
        for key, counts in list(self.counts.items()):
            counts.current.clear()
            if not counts.calls:
                del self.counts[key]

    def end_pass(self) -> None:
        for counts in self.counts.values():
            counts.fold(self.samples)

    def named(self) -> Iterator[tuple[str, Counts]]:
        """The sites with unique names: ``relu#2`` is the second site of a name used several times."""
        yield from zip(unique_names(self.counts), self.counts.values(), strict=True)


def unique_names(keys: Collection[SiteKey]) -> Iterator[str]:
    """The name of each site, with its number where several have the same."""
    total = Counter(key.name for key in keys)
    seen: Counter[str] = Counter()
    for key in keys:
        seen[key.name] += 1
        yield f"{key.name}#{seen[key.name]}" if total[key.name] > 1 else key.name


def by_sample(z: Tensor, axis: int | None, samples: int) -> Tensor:
    """``z`` as (samples, positions, units), or (positions, units) where axis 0 is not the batch.

    Axis 0 may hold each sample's positions in a row, as after ``x.view(batch * time, features)``.
    """
    if z.ndim == 0:
        return z.reshape(1, 1)
    unit = z.ndim - 1 if axis is None else axis
    if unit == 0 or z.shape[0] % samples:
        return z.movedim(unit, -1).reshape(-1, z.shape[unit])
    if z.ndim == 2:
        return z.view(z.shape[0], 1, -1) if z.shape[0] == samples else z.view(samples, -1, z.shape[1])
    if unit == z.ndim - 1:
        return z.reshape(samples, -1, z.shape[unit])
    if unit == 1:  # (N, C, positions): reduce over the contiguous end, which is much faster
        return (
            z.reshape(samples, -1, z.shape[1], math.prod(z.shape[2:])).transpose(2, 3).flatten(1, 2)
            if z.shape[0] != samples
            else z.flatten(2).transpose(1, 2)
        )
    return z.movedim(unit, -1).reshape(samples, -1, z.shape[unit])


def laid_out(z: Tensor, axis: int | None, parts: tuple[int, ...], alone: bool) -> tuple[Tensor, int | None]:
    """``z`` with all its units on one axis, and that axis (None: the last, as far as is known).

    A tensor that holds one unit gets an axis for it; so does one of one axis, which counts samples.
    """
    if parts:
        return joined(z, parts)
    if alone or (axis is None and z.ndim == 1):
        return z.unsqueeze(-1), z.ndim
    return z, axis


def joined(z: Tensor, parts: tuple[int, ...]) -> tuple[Tensor, int]:
    """``z`` with the axes that hold its units together joined into one, the last, and that axis."""
    order = [d for d in range(z.ndim) if d not in parts]
    moved = z.permute(*order, *parts)
    return moved.flatten(len(order)), len(order)


def _seen(z: Tensor, plateau: Plateau) -> _Pass:
    """Reduces (..., positions, units) over positions; NaN counts as fired, never as silent."""
    if math.isinf(plateau.low) and math.isinf(plateau.high):  # LeakyReLU: its slope is never near zero
        every = torch.ones(z.shape[-1], dtype=torch.bool, device=z.device)
        return _Pass(every, None, ~every)
    single = z.shape[-2] == 1
    top = z.squeeze(-2) if single else z.amax(-2)
    fired = (top <= plateau.low).logical_not_()
    responded = _responded(z, fired, plateau) if plateau.saturates else None
    if not plateau.identity:
        return _Pass(fired, responded, torch.zeros(z.shape[-1], dtype=torch.bool, device=z.device))
    bottom = top if single else z.amin(-2)
    on = (bottom.amin(0) if bottom.ndim == 2 else bottom) > plateau.low
    if math.isfinite(plateau.high):
        on &= (top.amax(0) if top.ndim == 2 else top) < plateau.high
    return _Pass(fired, responded, on)


def _responded(z: Tensor, fired: Tensor, plateau: Plateau) -> Tensor:
    if math.isinf(plateau.high):
        return fired
    return (~(z <= plateau.low) & ~(z >= plateau.high)).any(-2)


def between_samples(z: Tensor, axis: int | None, samples: int) -> float | None:
    """The between-sample standard deviation over the RMS, in nine of ten units at most.

    Taken unit by unit, since units with a huge bias say nothing about the others. None with a single
    sample or where axis 0 is not the batch.
    """
    if z.layout is not torch.strided:
        return None
    parts = by_sample(z, axis, samples)
    if parts.ndim != 3 or samples < 2:
        return None
    parts = parts.double()
    spread = parts.var(0, correction=0).mean(0).sqrt()
    size = parts.square().mean((0, 1)).sqrt()
    return float((spread / size.clamp(min=1e-300)).quantile(0.9))
