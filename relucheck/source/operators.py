"""Operators: arithmetic on known numbers, and nodes where a tensor takes part.

Hand-written activations are recognised here from their definitions, whatever the names:
``x * (x > 0)`` and ``(x + |x|) / 2`` are ReLU, ``1 / (1 + exp(-x))`` the sigmoid, ``x * sigmoid(x)`` SiLU.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from relucheck.net import Arg, Symbol
from relucheck.source import known
from relucheck.source.drafts import NodeDraft
from relucheck.source.machine import Machine, to_arg
from relucheck.source.shapes import broadcast
from relucheck.source.values import (
    UNK,
    Class,
    Const,
    External,
    Instance,
    Item,
    LayerVal,
    Mapping,
    Num,
    OneOf,
    ParamOf,
    Plain,
    Seq,
    Tensor,
    Unk,
    Value,
    alternatives,
    mapping,
    may_be_absent,
    one_of,
    same,
    seq,
)

NODE_OPS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
    ast.MatMult: "matmul",
}
_PLAIN: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
MAX_LENGTH = 256


def binary(m: Machine, op: type[ast.operator], left: Value, right: Value, inplace: bool = False) -> Value:
    """The value of ``left op right``."""
    if _is_tensor(left) or _is_tensor(right):
        name = NODE_OPS.get(op, "elementwise")
        numbers = known.paired(name, left, right) if _is_constant(left) or _is_constant(right) else None
        if numbers is not None:
            return known.tensor_of(m, numbers, name)
        return known.refilled(m, name, left, right) or tensor_binary(m, name, left, right, inplace)
    if isinstance(left, Const) and isinstance(right, Const):
        return _constants(op, left.value, right.value)
    if isinstance(left, Item) or isinstance(right, Item):
        return left if isinstance(left, Item) else right
    if isinstance(left, Seq) or isinstance(right, Seq):
        return _sequences(op, left, right)
    if isinstance(left, Mapping) and isinstance(right, Mapping) and op is ast.BitOr:
        return mapping({**left.items, **right.items}, left.closed and right.closed, (*left.rest, *right.rest))
    return _one_of_numbers(op, left, right)


def _is_tensor(value: Value) -> bool:
    if isinstance(value, OneOf):
        return any(isinstance(v, Tensor) for v in value.values)
    return isinstance(value, Tensor | ParamOf)


def _is_constant(value: Value) -> bool:
    return isinstance(value, Tensor) and value.node.op == "constant"


def _constants(op: type[ast.operator], a: Any, b: Any) -> Value:
    if op is ast.Pow and not _small_power(a, b):
        return UNK
    if op is ast.Mult and (isinstance(a, str | bytes) or isinstance(b, str | bytes)):
        return UNK
    if op is ast.LShift and not (isinstance(b, int) and b < 64):
        return UNK
    try:
        result = _PLAIN[op](a, b) if op in _PLAIN else None
    except (TypeError, ValueError, ArithmeticError, MemoryError):
        return UNK
    return UNK if result is None else Const(result)


def _small_power(a: Any, b: Any) -> bool:
    return isinstance(a, int | float) and isinstance(b, int | float) and abs(a) <= 1e6 and abs(b) <= 64


def _sequences(op: type[ast.operator], left: Value, right: Value) -> Value:
    if op is ast.Add and isinstance(left, Seq) and isinstance(right, Seq):
        return seq([*left.items, *right.items], left.kind, left.exact and right.exact)
    if op is ast.Add:
        known = left if isinstance(left, Seq) else right
        assert isinstance(known, Seq)
        return seq([*known.items], known.kind, False)
    if op is ast.Mult:
        row, times = (left, right) if isinstance(left, Seq) else (right, left)
        return _repeat(row, times) if isinstance(row, Seq) else UNK
    return UNK


def _repeat(row: Seq, times: Value) -> Value:
    """``[layer] * n``: the same objects n times; an unknown n is read as two."""
    known = isinstance(times, Const) and isinstance(times.value, int)
    count = times.value if known and isinstance(times, Const) else 2
    assert isinstance(count, int)
    if count * len(row.items) > MAX_LENGTH:
        count, known = 2, False
    repeated = seq(row.items * max(count, 0), row.kind, row.exact and known)
    repeated.state["repeated"] = count > 1 and len(row.items) > 0
    return repeated


def _one_of_numbers(op: type[ast.operator], left: Value, right: Value) -> Value:
    if isinstance(left, OneOf) or isinstance(right, OneOf):
        pairs = [(a, b) for a in alternatives(left) for b in alternatives(right)]
        if len(pairs) > 9 or any(isinstance(v, OneOf | Seq) for pair in pairs for v in pair):
            return UNK
        return one_of([_numbers(op, a, b) for a, b in pairs])
    return _numbers(op, left, right)


def _numbers(op: type[ast.operator], left: Value, right: Value) -> Value:
    if isinstance(left, Const) and isinstance(right, Const):
        return _constants(op, left.value, right.value)
    size, factor = symbol_of(left), _integer(right)
    if size is None and op is ast.Mult:
        size, factor = symbol_of(right), _integer(left)
    if size is None or not factor:
        return UNK
    if op is ast.Mult:
        return _scaled(size, Fraction(factor))
    if op in (ast.FloorDiv, ast.Div):
        return _scaled(size, Fraction(1, factor))
    return UNK


def symbol_of(value: Value) -> Symbol | None:
    """The named size that a value is a multiple of."""
    if isinstance(value, Num):
        return value.symbol
    return Symbol(value.name) if isinstance(value, Unk) and value.name else None


def _integer(value: Value) -> int | None:
    ok = isinstance(value, Const) and isinstance(value.value, int) and value.value > 0
    return value.value if ok and isinstance(value, Const) and isinstance(value.value, int) else None


def _scaled(size: Symbol, factor: Fraction) -> Num:
    product = Fraction(size.numerator, size.denominator) * factor
    return Num(Symbol(size.base, product.numerator, product.denominator))


# -- tensors ------------------------------------------------------------------------------------

Written = tuple[str, NodeDraft, list[NodeDraft]]


def tensor_binary(m: Machine, op: str, left: Value, right: Value, inplace: bool = False) -> Value:
    """A pointwise or matrix operation in which a tensor takes part."""
    a, b = m.as_tensor(left), m.as_tensor(right)
    if a is None and b is None:
        return m.opaque(left, right)
    written = _hand_written(op, a, b, left, right)
    if written is not None:
        name, source, parts = written
        m.tape.forget(parts)
        args: dict[str, Arg] = {"dim": parts[-1].args["dim"]} if name == "softmax" else {}
        return m.node(
            name,
            source,
            args=args,
            spelling=_WRITTEN[name],
            shape=source.shape,
            batch_first=source.batch_first,
        )
    if op == "matmul":
        return _matmul(m, a, b, left, right)
    return _pointwise(m, op, (a, left), (b, right), inplace)


Operand = tuple[Tensor | None, Value]


def _pointwise(m: Machine, op: str, left: Operand, right: Operand, inplace: bool) -> Value:
    inputs = [tensor.node for tensor, _ in (left, right) if tensor is not None]
    args: dict[str, Arg] = {"inplace": True} if inplace else {}
    if left[0] is None or right[0] is None:
        other = left[1] if left[0] is None else right[1]
        args |= {"other": to_arg(other), "reversed": left[0] is None}
        if isinstance(other, Unk) and not other.name:
            inputs.append(m.node("unknown").node)
    shape, batch = broadcast(inputs[0], inputs[1] if len(inputs) > 1 else None)
    return m.node(op, *inputs, args=args, shape=shape, batch_first=batch)


def _matmul(m: Machine, a: Tensor | None, b: Tensor | None, left: Value, right: Value) -> Value:
    if a is None or b is None:
        return m.opaque(left, right)
    first, second = is_weight(a.node), is_weight(b.node)
    if first != second:
        data, weight = (b.node, a.node) if first else (a.node, b.node)
        args: dict[str, Arg] = {"parameter": parameter_of(weight).order}
        return m.node("linear", data, args=args, spelling="matmul", batch_first=data.batch_first)
    return m.node("matmul", a.node, b.node)


def parameter_of(node: NodeDraft) -> NodeDraft:
    """What a tensor is, before it was transposed or reshaped."""
    while node.op in _MOVES and node.inputs:
        node = node.inputs[0]
    return node


_MOVES = frozenset({"permute", "index", "cast", "view", "identity", "unsqueeze", "squeeze"})


def is_weight(node: NodeDraft) -> bool:
    """Whether a tensor is a learned parameter, perhaps transposed."""
    return parameter_of(node).op == "parameter"


_WRITTEN = {
    "relu": "x * (x > 0)",
    "sigmoid": "1 / (1 + exp(-x))",
    "silu": "x * sigmoid(x)",
    "mish": "x * tanh(softplus(x))",
    "softmax": "exp(x) / exp(x).sum()",
}


def _hand_written(op: str, a: Tensor | None, b: Tensor | None, left: Value, right: Value) -> Written | None:
    """The activation that an expression writes out, its input, and the nodes that wrote it."""
    if op == "mul" and a is not None and b is not None:
        return _product(a.node, b.node) or _product(b.node, a.node)
    if op == "div" and a is None and b is not None and _is(left, 1):
        return _sigmoid(b.node)
    if op == "div" and a is not None and b is not None and _is_share(a.node, b.node):
        return "softmax", _shifted_from(a.node.inputs[0]), [a.node, b.node]
    half = (op == "div" and _is(right, 2) and a) or (op == "mul" and _is(right, 0.5) and a)
    half = half or (op == "mul" and _is(left, 0.5) and b)
    return _half_sum(half.node) if half else None


def _is(value: Value, number: float) -> bool:
    return isinstance(value, Const) and value.value == number and not isinstance(value.value, bool)


def _product(x: NodeDraft, factor: NodeDraft) -> Written | None:
    parts = [factor]
    while factor.op == "cast":
        factor = factor.inputs[0]
        parts.append(factor)
    source = factor.inputs[0] if factor.inputs else None
    if source is x and is_positive_mask(factor):
        return "relu", x, parts
    if source is x and factor.op == "sigmoid":
        return "silu", x, parts
    if factor.op == "tanh" and source is not None and source.op == "softplus" and source.inputs[0] is x:
        return "mish", x, [*parts, source]
    return None


def is_positive_mask(node: NodeDraft) -> bool:
    """Whether a node is ``x > 0`` or ``x >= 0``."""
    return node.op == "compare" and node.args.get("operator") in (">", ">=") and node.args.get("other") == 0


def _sigmoid(below: NodeDraft) -> Written | None:
    if below.op != "add" or below.args.get("other") != 1 or below.inputs[0].op != "exp":
        return None
    inner = below.inputs[0].inputs[0]
    return ("sigmoid", inner.inputs[0], [below, below.inputs[0], inner]) if inner.op == "neg" else None


def _is_share(part: NodeDraft, total: NodeDraft) -> bool:
    """Whether exponentials are divided by their sum over a known axis."""
    kept = total.op == "sum" and total.args.get("keepdim") is True and isinstance(total.args.get("dim"), int)
    return kept and part.op == "exp" and total.inputs[0] is part


def _shifted_from(node: NodeDraft) -> NodeDraft:
    """The scores whose maximum was subtracted, which changes nothing but overflow."""
    return node.inputs[0] if node.op == "sub" and node.inputs[-1].op in ("max", "reduce", "part") else node


def _half_sum(total: NodeDraft) -> Written | None:
    if total.op != "add" or len(total.inputs) != 2:
        return None
    x, y = total.inputs
    if y.op == "abs" and y.inputs[0] is x:
        return "relu", x, [total, y]
    return ("relu", y, [total, x]) if x.op == "abs" and x.inputs[0] is y else None


def unary(m: Machine, op: type[ast.unaryop], value: Value) -> Value:
    """The value of ``-x``, ``+x``, ``~x`` (``not x`` is decided by truth)."""
    tensor = m.as_tensor(value) if _is_tensor(value) else None
    if tensor is not None:
        name = "neg" if op is ast.USub else "elementwise"
        node = tensor.node
        return m.node(name, node, shape=node.shape, batch_first=node.batch_first)
    if isinstance(value, Item):
        return value
    if isinstance(value, Const) and isinstance(value.value, int | float):
        if op is ast.USub:
            return Const(-value.value)
        if op is ast.UAdd:
            return value
        if op is ast.Invert and isinstance(value.value, int):
            return Const(~value.value)
    return UNK


_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}


def compare(m: Machine, op: type[ast.cmpop], left: Value, right: Value) -> Value:
    """The value of a comparison: True, False, not known, or a mask where a tensor takes part."""
    if op in (ast.Is, ast.IsNot):
        return _identity(op, left, right)
    if op in _SIGNS and (_is_tensor(left) or _is_tensor(right)):
        return tensor_compare(m, _SIGNS[op], left, right)
    if isinstance(left, OneOf) and not isinstance(right, OneOf):
        return one_of([compare(m, op, choice, right) for choice in left.values])
    if op in (ast.In, ast.NotIn):
        return _membership(op, left, right)
    return _compare_known(op, left, right)


def _compare_known(op: type[ast.cmpop], left: Value, right: Value) -> Value:
    if isinstance(left, Const) and isinstance(right, Const):
        try:
            return Const(bool(_COMPARE[op](left.value, right.value)))
        except (TypeError, KeyError):
            return UNK
    if isinstance(left, Seq) and isinstance(right, Seq) and op in (ast.Eq, ast.NotEq):
        a, b = to_arg(left), to_arg(right)
        plain = isinstance(a, tuple) and isinstance(b, tuple) and _all_plain(a) and _all_plain(b)
        return Const((a == b) is (op is ast.Eq)) if plain else UNK
    if op in (ast.Eq, ast.NotEq) and _surely_different(left, right):
        return Const(op is ast.NotEq)
    if op in (ast.Eq, ast.NotEq) and isinstance(left, Num) and left == right:
        return Const(op is ast.Eq)
    if op in (ast.Eq, ast.NotEq) and (answer := _is_same_class(left, right)) is not None:
        return Const(answer is (op is ast.Eq))
    return UNK


def _is_same_class(left: Value, right: Value) -> bool | None:
    """Whether two classes are one: ``type(m) == nn.Linear``; None where one is not known as a class."""
    if not (_is_class(left) and _is_class(right)):
        return None
    return left is right or (isinstance(left, External) and left == right)


def _is_class(value: Value) -> bool:
    last = value.name.rpartition(".")[2] if isinstance(value, External) else ""
    in_torch = isinstance(value, External) and value.name.startswith("torch.nn.") and last[:1].isupper()
    return in_torch or isinstance(value, Class)


def _all_plain(items: tuple[Any, ...]) -> bool:
    return all(isinstance(i, int | float | bool | str | None) for i in items)


def _surely_different(left: Value, right: Value) -> bool:
    solid = Instance | LayerVal | Seq | Mapping
    return (isinstance(left, Const) and isinstance(right, solid)) or (
        isinstance(right, Const) and isinstance(left, solid)
    )


def tensor_compare(m: Machine, sign: str, left: Value, right: Value) -> Value:
    """A mask. ``0 < x`` is recorded as ``x > 0``; a zero tensor counts as zero."""
    a, b = m.as_tensor(left), m.as_tensor(right)
    if a is None:
        a, b, left, right, sign = b, a, right, left, _FLIPPED[sign]
    if a is None:
        return m.opaque(left, right)
    other = to_arg(right)
    if b is not None and b.node.op == "constant":
        other, b = b.node.args.get("value"), None
    inputs = [a.node] if b is None else [a.node, b.node]
    args: dict[str, Arg] = {"operator": sign}
    if b is None:
        args["other"] = other
    return m.node("compare", *inputs, args=args, shape=a.node.shape, batch_first=a.node.batch_first)


def _identity(op: type[ast.cmpop], left: Value, right: Value) -> Value:
    answer = _is_same_object(left, right)
    return UNK if answer is None else Const(answer is (op is ast.Is))


def _is_same_object(left: Value, right: Value) -> bool | None:
    if isinstance(left, OneOf):
        answers = {_is_same_object(choice, right) for choice in left.values}
        return answers.pop() if len(answers) == 1 else None
    if isinstance(left, Const) and isinstance(right, Const):
        return left.value is right.value or (
            type(left.value) is type(right.value) and left.value == right.value
        )
    if isinstance(left, Unk | OneOf) or isinstance(right, Unk | OneOf):
        return None
    if isinstance(right, Const) or isinstance(left, Const):
        return False
    return True if left is right or left == right else _is_same_class(left, right)


def _membership(op: type[ast.cmpop], left: Value, right: Value) -> Value:
    answer = _contains(left, right)
    return UNK if answer is None else Const(answer is (op is ast.In))


def _contains(left: Value, right: Value) -> bool | None:
    if isinstance(left, Const) and isinstance(right, Const):
        both = isinstance(left.value, str) and isinstance(right.value, str)
        return left.value in right.value if both else None  # type: ignore[operator]
    if isinstance(left, Const) and isinstance(right, Mapping):
        return _has(right, left.value)
    if isinstance(right, Seq):
        return _among(left, right)
    return None


def _has(table: Mapping, key: Plain) -> bool | None:
    """Whether a dict has a key; None where only some branch has set it, or where it may have others."""
    if key in table.items:
        return None if may_be_absent(table.items[key]) else True
    return False if table.closed else None


def _among(left: Value, row: Seq) -> bool | None:
    if any(same(left, item) for item in row.items):
        return True
    plain = isinstance(left, Const) and all(isinstance(item, Const) for item in row.items)
    other = all(_is_same_class(left, item) is False for item in row.items)
    return False if (plain or other) and row.exact else None
