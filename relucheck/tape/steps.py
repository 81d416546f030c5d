"""The steps of a pass, and how the values that they make descend from those that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from relucheck.net import Arg
from relucheck.ops import Kind, op_named
from relucheck.span import Span
from relucheck.tape.aten import AtenOp
from relucheck.tape.axes import followed, followed_units, made_by
from relucheck.tape.idioms import Reading
from relucheck.tape.names import owner_of
from relucheck.tape.units import SiteKey
from relucheck.tape.values import Mask, Source, Value

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
    """A call under way whose inner steps will become one."""

    start: int
    op: str
    args: Mapping[str, Arg]
    explicit: frozenset[str]
    spelling: str
    inputs: tuple[int, ...]
    places: tuple[Span, ...]
    batch: int | None = None


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


def carried(call: Call, op: str, node: int, args: Sequence[Any], shape: tuple[int, ...]) -> Value:
    """A value with the units of the operand, wherever the operation moves their axis."""
    main = call.main
    assert main is not None  # a call without data makes a constant
    before = shape_of(main, call)
    made = made_by(op, shape)
    units = (made,) if made is not None else _units(call, main, args, before, shape)
    joined = _joined(op, call, main)
    return replace(
        main,
        node=node,
        axis=units[0] if len(units) == 1 else None,
        parts=units if len(units) > 1 else (),
        batch=batch_of(call, args, shape),
        depth=main.depth + (op_named(op).kind is Kind.ACTIVATION),
        weights=joined,
        label=main.label if joined == main.weights else owner_of(joined[0]),
        mask=call.mask or (main.mask if op == "cast" else None),
        source=main.source if _transparent(op, before, shape) else Source(op, before=main.source),
    )


def _units(
    call: Call, main: Value, args: Sequence[Any], before: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The axes of a result that hold the units of its operand."""
    axes = main.parts or (() if main.axis is None else (main.axis,))
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
