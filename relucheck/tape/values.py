"""What the recorder knows about a tensor: where it came from and which axis counts its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

Key = tuple[int, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Mask:
    """A comparison of the value of ``node`` with zero, ``x > 0``, or ``abs(x)``, which is ``x`` times its sign."""

    node: int
    operator: str


@dataclass(frozen=True, slots=True)
class Source:
    """The operation that made a value, with the tensors that certificates need.

    For ``linear``, ``weight`` is (in, out) as the dispatcher sees it; ``before`` is what it read.
    """

    op: str
    weight: Tensor | None = None
    bias: Tensor | None = None
    before: Source | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of one pass.

    ``data``: it depends on the network's input. ``axis`` counts units; where a view has cut it, ``parts`` are
    the axes that do together; ``alone``: it holds one unit, all of it (``y[..., 3]``, a sum over units).
    ``section`` is where the units of a slice begin, for slices of slices outside in. ``label`` is the path of
    the layer that made the units, ``affine`` that of the last Linear or convolution, ``maker`` the layer's step
    and ``weights`` the parameters it applied (for a value that is no data: those it is computed from).
    ``depth`` counts activations since. ``copied`` is the step of whose result this is a clone.
    ``raw``: nothing trainable lies between the data and the layer that made the units. ``batch`` is the
    axis that counts samples, as far as it can be followed.
    """

    node: int
    data: bool
    axis: int | None = None
    parts: tuple[int, ...] = ()
    alone: bool = False
    section: tuple[int, ...] = ()
    label: str = ""
    affine: str = ""
    weights: tuple[str, ...] = ()
    maker: int = -1
    depth: int = 0
    mask: Mask | None = None
    copied: int | None = None
    random: bool = False
    raw: bool = True
    batch: int | None = None
    source: Source | None = field(default=None, repr=False)


def key_of(tensor: Tensor) -> Key | None:
    """What identifies a tensor's values while they live: address, shape and strides.

    Object identity does not: autograd hands out new objects for views, and saves detached aliases.
    Every operation that makes a tensor overwrites its key, so that a reused address misleads nobody.
    A sparse tensor lives where its stored values do; None for tensors of torch.func, which have no memory.
    """
    memory = _memory(tensor)
    if memory is None:
        return None
    return (memory.data_ptr(), tuple(tensor.shape), memory.stride())


_COMPRESSED = frozenset({torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc})


def _memory(tensor: Tensor) -> Tensor | None:
    """The dense tensor that holds the entries of another."""
    if is_functorch_wrapped_tensor(tensor):
        return None
    if tensor.layout is torch.strided:
        return tensor
    if tensor.layout is torch.sparse_coo:
        return tensor._values()
    return tensor.values() if tensor.layout in _COMPRESSED else None


def flat(args: Sequence[Any]) -> list[Tensor]:
    """The tensors of an argument list, lists inside it included; it runs for every operation."""
    tensors: list[Tensor] = []
    for arg in args:
        if isinstance(arg, Tensor):
            tensors.append(arg)
        elif isinstance(arg, (list, tuple)):
            tensors.extend(flat(arg))
    return tensors


@dataclass(frozen=True, slots=True)
class _Write:
    """What was written in place into some memory, maybe through a view of a part of it.

    ``units`` and ``batch`` are the strides of the axes that count units and samples, by which they are found in
    other views of the memory.
    """

    value: Value
    units: tuple[int, ...]
    batch: int | None

    @classmethod
    def into(cls, tensor: Tensor, value: Value) -> _Write:
        if not has_memory(tensor):
            return cls(value, (), None)
        axes = value.parts or (() if value.axis is None else (value.axis,))
        batch = tensor.stride(value.batch) if value.batch is not None else None
        return cls(value, tuple(tensor.stride(axis) for axis in axes), batch)

    def seen_by(self, tensor: Tensor, before: Value | None) -> Value:
        """The value of a tensor that shares the memory; ``before`` is the one it had."""
        new = self.value
        if before is not None and before.data:
            deeper = max(before.depth, new.depth)
            raw = before.raw and new.raw
            return replace(before, node=new.node, depth=deeper, raw=raw, mask=None, copied=None, source=None)
        if not has_memory(tensor):
            return new
        units = _with_strides(tensor, self.units)
        batch = _with_strides(tensor, () if self.batch is None else (self.batch,))
        return replace(
            new,
            axis=units[0] if len(units) == 1 else None,
            parts=units if len(units) > 1 else (),
            batch=batch[0] if batch else None,
            alone=False,
            section=(),
        )


def _with_strides(tensor: Tensor, strides: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a tensor with these strides; none where one of them has no axis of its own."""
    axes = [axis for axis, size in enumerate(tensor.shape) if size > 1 and tensor.stride(axis) in strides]
    return tuple(axes) if len(axes) == len(strides) else ()


@dataclass(slots=True)
class Values:
    """The values of one pass by tensor, with in-place writes seen through every view."""

    by_key: dict[Key, Value] = field(default_factory=dict)
    writes: dict[int, _Write] = field(default_factory=dict)

    def get(self, tensor: Tensor) -> Value | None:
        """The latest value that a tensor holds, or None for one that no recorded step made."""
        key = key_of(tensor)
        if key is None:
            return None
        own = self.by_key.get(key)
        if self.writes:
            written = self.writes.get(_storage(tensor))
            if written is not None and (own is None or written.value.node > own.node):
                own = self.by_key[key] = written.seen_by(tensor, own)
        return own

    def put(self, tensor: Tensor, value: Value, *, fresh: bool) -> None:
        """A tensor's value; ``fresh`` memory forgets what was written at its address before."""
        key = key_of(tensor)
        if key is None:
            return
        self.by_key[key] = value
        if fresh and self.writes:
            self.writes.pop(_storage(tensor), None)

    def write(self, tensor: Tensor, value: Value) -> None:
        """An in-place change: every view of the memory holds the new value."""
        self.put(tensor, value, fresh=False)
        if key_of(tensor) is not None:
            self.writes[_storage(tensor)] = _Write.into(tensor, value)

    def written(self, tensor: Tensor) -> Value | None:
        """What was last written in place into a tensor's memory."""
        write = self.writes.get(_storage(tensor)) if key_of(tensor) is not None else None
        return write.value if write is not None else None


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor has an address of its own: sparse ones and those of torch.func have none."""
    return tensor.layout is torch.strided and not is_functorch_wrapped_tensor(tensor)


def _storage(tensor: Tensor) -> int:
    memory = _memory(tensor)
    assert memory is not None  # the caller has a key
    return memory.untyped_storage().data_ptr()
