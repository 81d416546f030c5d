"""Activations written as arithmetic: ``x * (x > 0)``, ``torch.where(x > 0, x, 0)``, ``clamp(min=0)`` ...

Every reading here is exact: the operands are compared by value, so that ``maximum(x, y)`` with a y
that is not zero stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from relucheck.net import Arg
from relucheck.tape.aten import AtenOp
from relucheck.tape.values import Mask, Value, Values


@dataclass(frozen=True, slots=True)
class Reading:
    """The canonical operation of one call, its arguments, and the tensor that it acts on."""

    op: str
    args: Mapping[str, Arg] = field(default_factory=dict)
    operand: Tensor | None = None


def read(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading:
    """The call under its canonical name."""
    reader = _READERS.get(op.op) or _READERS.get(op.name.removesuffix("_"))
    found = reader(op, args, kwargs, values) if reader is not None else None
    if found is not None:
        return found
    first = args[0] if args and isinstance(args[0], Tensor) else None
    return Reading(op.op, {}, first)


def _clip(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading | None:
    low, high = _bounds(op.name.removesuffix("_"), args, kwargs)
    operand = args[0]
    if low == 0 and high is None:
        return Reading("relu", {}, operand)
    if low == 0 and high == 6:
        return Reading("relu6", {}, operand)
    return Reading("clip", {"min": low, "max": high}, operand)


def _bounds(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    rest = [*args[1:], None, None]
    if name == "clamp_min":
        return _number(kwargs.get("min", rest[0])), None
    if name == "clamp_max":
        return None, _number(kwargs.get("max", rest[0]))
    if name == "hardtanh":
        low, high = (-1.0 if rest[0] is None else rest[0]), (1.0 if rest[1] is None else rest[1])
        return low, high
    return _number(kwargs.get("min", rest[0])), _number(kwargs.get("max", rest[1]))


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _threshold(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading:
    return Reading("threshold", {"threshold": args[1], "value": args[2]}, args[0])


def _elu(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading:
    scale = args[2] if len(args) > 2 else kwargs.get("scale", 1)
    return Reading("elu" if scale == 1 else "selu", {}, args[0])


def _leaky(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading | None:
    slope = args[1] if len(args) > 1 else kwargs.get("negative_slope", 0.01)
    return Reading("relu", {}, args[0]) if slope == 0 else None


def _add(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading | None:
    """``x + abs(x)`` is twice the ReLU."""
    a, b = args[0], args[1]
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or kwargs.get("alpha", 1) != 1:
        return None
    for operand, other in ((a, b), (b, a)):
        held = values.get(other)
        mask = held.mask if held is not None else None
        if mask is not None and mask.operator == "abs" and _of(mask, values.get(operand)):
            return Reading("relu", {}, operand)
    return None


def _maximum(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading | None:
    if len(args) < 2 or not isinstance(args[1], Tensor):
        return None
    for operand, other in ((args[0], args[1]), (args[1], args[0])):
        if _is_data(operand, values) and not _is_data(other, values) and _all_zero(other):
            return Reading("relu", {}, operand)
    return None


def _mul(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading | None:
    a, b = args[0], args[1]
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return None
    for operand, other in ((a, b), (b, a)):
        held = values.get(other)
        if held is not None and _keeps_positive(held.mask, values.get(operand)):
            return Reading("relu", {}, operand)
        if held is not None and held.random and not held.data and _is_data(operand, values):
            return Reading("dropout", {}, operand)
    return None


def _where(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading | None:
    if len(args) != 3:
        return None
    condition, yes, no = args
    held = values.get(condition)
    if held is None or held.mask is None:
        return None
    if isinstance(yes, Tensor) and _keeps_positive(held.mask, values.get(yes)) and _all_zero(no):
        return Reading("relu", {}, yes)
    if isinstance(no, Tensor) and _drops_negative(held.mask, values.get(no)) and _all_zero(yes):
        return Reading("relu", {}, no)
    return None


def _masked_fill(
    op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values
) -> Reading | None:
    operand, mask, value = args[0], args[1], args[2]
    held = values.get(mask)
    if held is not None and _drops_negative(held.mask, values.get(operand)) and _all_zero(value):
        return Reading("relu", {}, operand)
    return None


def _index_put(op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> Reading | None:
    operand, indices, value = args[0], args[1], args[2]
    if len(indices) != 1 or not isinstance(indices[0], Tensor) or not _all_zero(value):
        return None
    held = values.get(indices[0])
    if held is not None and _drops_negative(held.mask, values.get(operand)):
        return Reading("relu", {}, operand)
    return None


_Reader = Callable[[AtenOp, Sequence[Any], Mapping[str, Any], Values], Reading | None]
_READERS: Mapping[str, _Reader] = {
    "clip": _clip,
    "threshold": _threshold,
    "elu": _elu,
    "maximum": _maximum,
    "fmax": _maximum,
    "leaky_relu": _leaky,
    "add": _add,
    "mul": _mul,
    "where": _where,
    "masked_fill": _masked_fill,
    "index_put": _index_put,
    "_index_put_impl": _index_put,
}


def _keeps_positive(mask: Mask | None, operand: Value | None) -> bool:
    return _of(mask, operand) and mask is not None and mask.operator in ("gt", "ge")


def _drops_negative(mask: Mask | None, operand: Value | None) -> bool:
    return _of(mask, operand) and mask is not None and mask.operator in ("lt", "le")


def _of(mask: Mask | None, operand: Value | None) -> bool:
    return (
        mask is not None
        and operand is not None
        and operand.data
        and mask.node in (operand.node, operand.copied)
    )


def _is_data(tensor: Any, values: Values) -> bool:
    held = values.get(tensor) if isinstance(tensor, Tensor) else None
    return held is not None and held.data


def _all_zero(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not bool(value.any())
    return isinstance(value, int | float) and value == 0


def comparison(op: AtenOp, args: Sequence[Any], values: Values) -> Mask | None:
    """The mask that a comparison with zero makes, ``0 < x`` and ``abs(x)`` included; None for any other call."""
    if op.op == "abs":
        held = values.get(args[0])
        return Mask(held.node, "abs") if held is not None and held.data else None
    if op.op != "compare" or len(args) < 2:
        return None
    a, b = args[0], args[1]
    if isinstance(b, Tensor) and _is_data(b, values) and _all_zero(a):
        a, b, name = b, a, _MIRRORED.get(op.name, "")
    else:
        name = op.name
    held = values.get(a) if isinstance(a, Tensor) else None
    return Mask(held.node, name) if held is not None and held.data and _all_zero(b) else None


_MIRRORED = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge"}
