"""Which axis of a tensor counts units: decided by the layer that made it and followed through reshapes.

A convolution or BatchNorm makes channels on axis 1, a Linear, LayerNorm or Embedding features on the
last axis; the number of axes decides nothing, since (B, T, D) and (B, C, L) look alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

CHANNEL_OPS = frozenset({"conv", "conv_transpose", "batch_norm", "group_norm", "instance_norm"})
FEATURE_OPS = frozenset({"linear", "embedding", "attention", "lstm"})

Shape = tuple[int, ...]


def made_by(op: str, shape: Shape) -> int | None:
    """The unit axis that a producer decides itself, or None for operations that keep it."""
    if op in CHANNEL_OPS:
        return 1 if len(shape) > 1 else 0
    if op in FEATURE_OPS:
        return len(shape) - 1
    return None


def followed(name: str, args: Sequence[Any], before: Shape, axis: int | None, after: Shape) -> int | None:
    """The unit axis after an operation of that aten name on a tensor of shape ``before``."""
    if axis is None or axis >= len(before):
        return None
    if name in _MOVES:
        return _MOVES[name](args, len(before), axis)
    if name in ("unsqueeze", "stack"):
        at = _int(args, 1) % len(after)
        return axis + 1 if at <= axis else axis
    if name in _SELECTS:
        at = _int(args, 1) % len(before)
        return None if at == axis else axis - (at < axis)
    if name == "squeeze" or (len(before) > len(after) and name in _REDUCTIONS):
        return _reduced(args, before, axis)
    if len(before) == len(after) and (before[axis] == after[axis] or name not in _REARRANGES):
        return axis
    if len(after) > len(before) and name == "expand":
        return axis + len(after) - len(before)
    return _reshaped(before, axis, after)


def followed_units(
    name: str, args: Sequence[Any], before: Shape, axes: tuple[int, ...], after: Shape
) -> tuple[int, ...]:
    """The axes that together hold the units, after the same operation; none where they are lost.

    A view may cut the unit axis in several, as for groups or attention heads, and a later one join them, in
    their order or another (channel shuffle).
    """
    moved = tuple(followed(name, args, before, axis, after) for axis in axes)
    found = tuple(axis for axis in moved if axis is not None)
    if len(found) == len(axes) or name in _SELECTS:
        return found
    return _recut(before, tuple(sorted(axes)), after)


def _recut(before: Shape, axes: tuple[int, ...], after: Shape) -> tuple[int, ...]:
    """Adjacent axes of the new shape with as many entries, and as many in front of them."""
    first, last = axes[0], axes[-1]
    if axes != tuple(range(first, last + 1)) or last >= len(before):
        return ()
    ahead, total = math.prod(before[:first]), math.prod(before[first : last + 1])
    for start in range(len(after)):
        for stop in range(start + 1, len(after) + 1):
            if math.prod(after[:start]) == ahead and math.prod(after[start:stop]) == total:
                return tuple(range(start, stop))
    return ()


_REARRANGES = frozenset(
    {
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "as_strided",
        "bmm",
        "mm",
        "matmul",
        "addmm",
        "baddbmm",
    }
)
"""Operations that may put another axis at the same place; all others keep their order (cat, slice, pad ...)."""

_REDUCTIONS = frozenset({"mean", "sum", "amax", "amin", "max", "min", "logsumexp", "prod", "var", "std"})

_SELECTS = frozenset({"select", "unbind"})
_SLICES = frozenset({"slice", "split", "split_with_sizes", "chunk", "unsafe_split", "narrow"})


def takes_away(name: str) -> bool:
    """Whether an operation may take an axis away, so that of units on it one is left."""
    return name in _SELECTS or name in _REDUCTIONS


def cuts(name: str) -> bool:
    """Whether the results of an operation are pieces of what it reads, in the same memory."""
    return name in _SELECTS or name in _SLICES


def _int(args: Sequence[Any], position: int) -> int:
    value = args[position] if len(args) > position else 0
    return value if isinstance(value, int) else 0


def _permuted(args: Sequence[Any], ndim: int, axis: int) -> int | None:
    order = [d % ndim for d in args[1]] if len(args) > 1 else []
    return order.index(axis) if axis in order else None


def _transposed(args: Sequence[Any], ndim: int, axis: int) -> int | None:
    a, b = (_int(args, 1) % ndim, _int(args, 2) % ndim) if len(args) > 2 else (0, ndim - 1)
    return {a: b, b: a}.get(axis, axis)


_MOVES = {"permute": _permuted, "transpose": _transposed, "t": _transposed}


def _reduced(args: Sequence[Any], before: Shape, axis: int) -> int | None:
    """After dropping axes: those given, or all of length 1 for a bare squeeze."""
    given = args[1] if len(args) > 1 else [i for i, n in enumerate(before) if n == 1]
    dropped = {d % len(before) for d in ([given] if isinstance(given, int) else given or [])}
    return None if axis in dropped else axis - sum(d < axis for d in dropped)


def _reshaped(before: Shape, axis: int, after: Shape) -> int | None:
    """The axis of the same length with as many entries in front of it, if there is one."""
    ahead = math.prod(before[:axis])
    for candidate, length in enumerate(after):
        if length == before[axis] and math.prod(after[:candidate]) == ahead:
            return candidate
    return None
