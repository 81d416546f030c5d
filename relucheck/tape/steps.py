"""The steps of a pass, and how the values that they make descend from those that they read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from relucheck.net import Arg
from relucheck.ops import Kind, op_named
from relucheck.span import Span
from relucheck.tape.aten import AtenOp
from relucheck.tape.axes import cuts, followed, followed_units, made_by, takes_away
from relucheck.tape.idioms import Reading
from relucheck.tape.names import owner_of
from relucheck.tape.units import SiteKey
from relucheck.tape.values import Mask, Source, Value, has_memory

WEIGHTED = frozenset(
    {
        "linear",
        "conv",
        "conv_transpose",
        "batch_norm",
        "layer_norm",
        "rms_norm",
        "group_norm",
        "embedding",
        "prelu",
    }
)
"""Operations whose parameters belong to the operation: in the net they read the data only."""

AFFINE_OPS = frozenset({"linear", "conv", "conv_transpose"})


@dataclass(frozen=True, slots=True)
class Step:
    """One application of an operation in one pass; its id is its position."""

    op: str
    inputs: tuple[int, ...]
    layer: str = ""
    args: Mapping[str, Arg] = field(default_factory=dict)
    explicit: frozenset[str] = frozenset()
    spelling: str = ""
    scope: str = ""
    places: tuple[Span, ...] = ()
    shape: tuple[int, ...] | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Fold:
    """A call under way whose inner steps will become one; ``read`` is the first data that it was given."""

    start: int
    op: str
    args: Mapping[str, Arg]
    explicit: frozenset[str]
    spelling: str
    inputs: tuple[int, ...]
    places: tuple[Span, ...]
    batch: int | None = None
    read: Value | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the dispatcher, read before it ran."""

    op: AtenOp
    tensors: list[Tensor]
    held: list[Value]
    reading: Reading | None
    main: Value | None
    mask: Mask | None = None
    site: SiteKey | None = None


def carried(call: Call, op: str, node: int, args: Sequence[Any], out: Tensor) -> Value:
    """The value of ``out``, with the units of the operand, wherever the operation moves their axis."""
    main = call.main
    assert main is not None  # a call without data makes a constant
    before, shape = shape_of(main, call), tuple(out.shape)
    made = made_by(op, shape)
    units = (made,) if made is not None else _units(call, main, args, before, shape)
    joined = _joined(op, call, main)
    return replace(
        main,
        node=node,
        axis=units[0] if len(units) == 1 else None,
        parts=units if len(units) > 1 else (),
        alone=_alone(call, op, main, units),
        section=() if op in _GATHERS else _section(call, main, units, out),
        batch=batch_of(call, args, shape),
        depth=main.depth + (op_named(op).kind is Kind.ACTIVATION),
        weights=joined,
        label=main.label if joined == main.weights else owner_of(joined[0]),
        mask=call.mask or (main.mask if op == "cast" else None),
        copied=(main.node if main.copied is None else main.copied) if call.op.name == "clone" else None,
        raw=main.raw and (main.maker >= 0 or not _trained(call)),
        source=main.source if _transparent(op, before, shape) else Source(op, before=main.source),
    )


_GATHERS = frozenset({"cat", "stack"})


def _alone(call: Call, op: str, main: Value, units: tuple[int, ...]) -> bool:
    """Whether a result is one unit: selected from the axis of units, or reduced over it."""
    if main.alone:
        return op not in _GATHERS
    return bool(_axes(main)) and not units and takes_away(call.op.name)


def _section(call: Call, main: Value, units: tuple[int, ...], out: Tensor) -> tuple[int, ...]:
    """Where the units of a slice begin among those of what it was cut from, after where those begin.

    A slice is a view, so that its offset in memory says it, in whatever way it was written.
    """
    whole = next((t for t, v in zip(call.tensors, call.held, strict=True) if v is main), None)
    if whole is None or not cuts(call.op.name) or not (has_memory(whole) and has_memory(out)):
        return main.section
    axes = _axes(main)
    if not axes or math.prod(whole.shape[a] for a in axes) == math.prod(out.shape[a] for a in units):
        return main.section
    ahead = out.storage_offset() - whole.storage_offset()
    return (*main.section, ahead // max(1, min(whole.stride(a) for a in axes)))


def _trained(call: Call) -> bool:
    """Whether a parameter that is trained has a part in a result."""
    return any(
        t.requires_grad and not v.data and v.weights for t, v in zip(call.tensors, call.held, strict=True)
    )


def _axes(main: Value) -> tuple[int, ...]:
    return main.parts or (() if main.axis is None else (main.axis,))


def _units(
    call: Call, main: Value, args: Sequence[Any], before: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The axes of a result that hold the units of its operand."""
    axes = _axes(main)
    return followed_units(call.op.name.removesuffix("_"), args, before, axes, shape) if axes else ()


def batch_of(call: Call, args: Sequence[Any], shape: tuple[int, ...]) -> int | None:
    """The axis that counts samples in a result, or None where it is not known."""
    main = call.main
    if main is None or main.batch is None:
        return None
    return followed(call.op.name.removesuffix("_"), args, shape_of(main, call), main.batch, shape)


def _transparent(op: str, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether each vector of features passes as it is, so that a bound on it still holds."""
    return op in ("view", "clone", "cast", "identity") and before[-1:] == after[-1:]


def _joined(op: str, call: Call, main: Value) -> tuple[str, ...]:
    """The parameters whose sum makes the units: those of ``W x`` and of ``U h`` in ``W x + U h``.

    Where h is the constant at the first time step it counts too, so that all steps are one site.
    """
    if op not in ("add", "sub"):
        return main.weights
    return tuple(sorted({w for v in call.held if v.depth == 0 for w in v.weights} | set(main.weights)))


def read_by(op: str, call: Call, main: Value) -> int | None:
    """The axis of its input that a layer sums over: the features of a Linear, the channels of a convolution."""
    if op == "linear":
        axes = len(shape_of(main, call))
        return axes - 2 if axes > 1 and call.held[-1] is main else axes - 1  # W @ x sums over the rows of x
    return 1 if op in AFFINE_OPS else None


def shape_of(main: Value, call: Call) -> tuple[int, ...]:
    for tensor, value in zip(call.tensors, call.held, strict=True):
        if value is main:
            return tuple(tensor.shape)
    return ()


def source_of(op: str, call: Call, main: Value) -> Source:
    """The parameters of a layer in the order of the call: the weight has the most axes."""
    own = [t for t, v in zip(call.tensors, call.held, strict=True) if not v.data and v.weights]
    own.sort(key=lambda t: -t.ndim)
    weight = own[0] if own else None
    return Source(op, weight, own[1] if len(own) > 1 else None, main.source)
