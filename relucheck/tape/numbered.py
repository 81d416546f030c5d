"""Tensors of one pass by their order, so that two passes can be compared, and the sites found among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from relucheck.tape.units import SiteKey, Sites, laid_out
from relucheck.tape.values import has_memory

UNKNOWN = 0
"""The number of a tensor that no step of the pass has made."""


@dataclass(slots=True)
class Numbers:
    """Tensors by their address, numbered as they are made.

    A tensor that is made overwrites the number of what lay at its address before.
    """

    at: dict[int, int] = field(default_factory=dict)
    last: int = UNKNOWN

    @classmethod
    def of(cls, held: Iterable[Tensor]) -> Numbers:
        """The numbers at the beginning, of parameters and buffers."""
        numbers = cls()
        numbers.made(held)
        return numbers

    def made(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self.last += 1
            try:
                self.at[tensor.data_ptr()] = self.last
            except RuntimeError:  # sparse tensors and those of torch.func have no address
                continue

    def given(self, tensors: Iterable[Tensor]) -> None:
        """Inputs of the network; one that an earlier step has made keeps its number."""
        for tensor in tensors:
            if has_memory(tensor) and tensor.data_ptr() not in self.at:
                self.last += 1
                self.at[tensor.data_ptr()] = self.last

    def read(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        at = self.at
        try:
            return tuple([at.get(t.data_ptr(), UNKNOWN) for t in tensors])
        except RuntimeError:  # sparse tensors and those of torch.func have no address
            return tuple(at.get(t.data_ptr(), UNKNOWN) if has_memory(t) else UNKNOWN for t in tensors)


@dataclass(frozen=True, slots=True)
class Site:
    """An activation site of a step: which of its tensors is the pre-activation, and which axes hold units."""

    key: SiteKey
    operand: int
    ndim: int
    axis: int | None
    parts: tuple[int, ...]
    alone: bool

    def observe(self, sites: Sites, z: Tensor) -> bool:
        """Counts the units of a pre-activation; False for one that has other units."""
        if z.ndim != self.ndim or z.numel() == 0 or z.ndim == 0:
            return False
        z, axis = laid_out(z, self.axis, self.parts, self.alone)
        if z.shape[-1 if axis is None else axis] != self.key.units:
            return False
        sites.observe(self.key, z, axis, sites.counts[self.key].plateau)
        return True
