"""Tensors of known numbers: widths and rates that a network computes with torch or numpy before it is built.

``torch.linspace(0, 0.1, 12)`` gives drop rates, ``(torch.arange(13) * 24.5 + 32).round()`` the widths of a
RegNet (Radosavovic et al. 2020, section 3.3). Such a tensor is a node ``constant`` with its ``numbers``; a
scalar has its ``value``. Sums are done in double precision, which single precision may round otherwise.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable

from relucheck.source.binding import Arguments
from relucheck.source.machine import Machine
from relucheck.source.values import Const, Seq, Tensor, Value, seq

Number = int | float
Row = tuple[Number, ...]
Numbers = Number | Row
MAX_NUMBERS = 256


def numbers_of(value: Value | None) -> Numbers | None:
    """The number or the row of numbers that a value surely is."""
    if isinstance(value, Const):
        return value.value if _is_number(value.value) else None  # type: ignore[return-value]
    if isinstance(value, Tensor) and value.node.op == "constant":
        numbers = value.node.args.get("numbers")
        if isinstance(numbers, tuple):
            return numbers  # type: ignore[return-value]
        single = value.node.args.get("value")
        return single if value.node.shape == () and _is_number(single) else None  # type: ignore[return-value]
    if isinstance(value, Seq):
        row = [item.value for item in value.items if isinstance(item, Const) and _is_number(item.value)]
        return tuple(row) if value.exact and len(row) == len(value.items) else None  # type: ignore[arg-type]
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def row_of(value: Value) -> Row | None:
    """The numbers of a tensor that is a row of known ones."""
    numbers = numbers_of(value) if isinstance(value, Tensor) else None
    return numbers if isinstance(numbers, tuple) else None


def tensor_of(m: Machine, numbers: Numbers, name: str) -> Tensor:
    """A constant of these numbers."""
    if isinstance(numbers, tuple):
        return m.node("constant", args={"numbers": numbers}, spelling=name, shape=(len(numbers),))
    return m.node("constant", args={"value": numbers}, spelling=name, shape=())


# -- making them --------------------------------------------------------------------------------


def created(name: str, arguments: Arguments) -> Row | None:
    """The numbers of ``arange(...)`` and ``linspace(...)`` with known arguments."""
    bounds = [numbers_of(value) for value in arguments.args]
    plain = [bound for bound in bounds if isinstance(bound, int | float)]
    if len(plain) != len(bounds) or arguments.open:
        return None
    if name == "arange" and 1 <= len(plain) <= 3:
        return _arange(*plain)
    if name == "linspace":
        steps = numbers_of(arguments.get(2, "steps") or arguments.keyword("num"))
        if len(plain) >= 2 and isinstance(steps, int) and 0 < steps <= MAX_NUMBERS:
            first, last = plain[0], plain[1]
            return tuple(first + (last - first) * i / max(steps - 1, 1) for i in range(steps))
    return None


def _arange(first: Number, last: Number | None = None, step: Number = 1) -> Row | None:
    first, last = (0, first) if last is None else (first, last)
    if step == 0 or not 0 <= (last - first) / step <= MAX_NUMBERS:
        return None
    return tuple(first + i * step for i in range(math.ceil((last - first) / step)))


def refilled(m: Machine, name: str, left: Value, right: Value) -> Tensor | None:
    """``torch.ones(5, 3) * 0.1``: a tensor of one number and a plain number make one of another number."""
    tensor, plain = (left, right) if isinstance(left, Tensor) else (right, left)
    if not isinstance(tensor, Tensor) or not isinstance(plain, Const) or name not in _PAIRS:
        return None
    filling = tensor.node.args.get("value") if tensor.node.op == "constant" else None
    if not _is_number(filling) or not _is_number(plain.value):
        return None
    a, b = (filling, plain.value) if tensor is left else (plain.value, filling)
    try:
        value = _PAIRS[name](a, b)  # type: ignore[arg-type]
    except (ArithmeticError, ValueError):
        return None
    node = tensor.node
    return m.node("constant", args={"value": value}, shape=node.shape, batch_first=node.batch_first)


# -- computing with them --------------------------------------------------------------------------

_PAIRS: dict[str, Callable[[Number, Number], Number]] = {
    "add": operator.add,
    "sub": operator.sub,
    "subtract": operator.sub,
    "mul": operator.mul,
    "multiply": operator.mul,
    "div": operator.truediv,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "power": operator.pow,
}
_SINGLES: dict[str, Callable[[Number], Number]] = {
    "round": lambda x: float(round(x)),
    "rint": lambda x: float(round(x)),
    "floor": lambda x: float(math.floor(x)),
    "ceil": lambda x: float(math.ceil(x)),
    "log": math.log,
    "log2": math.log2,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "abs": abs,
    "neg": operator.neg,
    "int": int,
    "long": int,
}
_SAME = frozenset({"float", "double", "cpu", "detach", "clone", "contiguous", "numpy", "to"})


def paired(name: str, left: Value, right: Value) -> Numbers | None:
    """``left + right`` and the like, number by number; None where one is not known."""
    a, b = numbers_of(left), numbers_of(right)
    if a is None or b is None or name not in _PAIRS:
        return None
    length = max((len(x) for x in (a, b) if isinstance(x, tuple)), default=0)
    rows = [x if isinstance(x, tuple) else (x,) * length for x in (a, b)]
    if len(rows[0]) != len(rows[1]):
        return None
    try:
        if not isinstance(a, tuple) and not isinstance(b, tuple):
            return _PAIRS[name](a, b)
        return tuple(_PAIRS[name](x, y) for x, y in zip(*rows, strict=True))
    except (ArithmeticError, ValueError):
        return None


def mapped(name: str, value: Value) -> Numbers | None:
    """``round(x)`` and the like; None where x is not known."""
    numbers = numbers_of(value)
    if numbers is None or name not in _SINGLES:
        return None
    try:
        if isinstance(numbers, tuple):
            return tuple(_SINGLES[name](x) for x in numbers)
        return _SINGLES[name](numbers)
    except (ArithmeticError, ValueError):
        return None


def gathered(name: str, row: Row) -> Numbers | None:
    """What a function makes of a whole row: its distinct numbers, their steps, sum, extremes."""
    if name == "unique":
        return tuple(sorted(set(row)))
    if name == "diff":
        return tuple(b - a for a, b in itertools.pairwise(row))
    if name == "cumsum":
        return tuple(itertools.accumulate(row))
    if name == "prod":
        return math.prod(row)
    return _EXTREMES[name](row) if row and name in _EXTREMES else None


_EXTREMES: dict[str, Callable[[Row], Number]] = {"max": max, "min": min, "sum": sum}


def function(name: str, arguments: Arguments) -> Numbers | None:
    """The result of a function of torch or numpy on known numbers, by its last name."""
    first, rest = (arguments.args[0], arguments.args[1:]) if arguments.args else (None, ())
    if first is None or arguments.open:
        return None
    if len(rest) == 1 and name in _PAIRS:
        return paired(name, first, rest[0])
    if rest:
        return None
    numbers = numbers_of(first)
    if isinstance(numbers, tuple) and (whole := gathered(name, numbers)) is not None:
        return whole
    return mapped(name, first)


def method(m: Machine, tensor: Tensor, name: str, arguments: Arguments) -> Value | None:
    """A method of a tensor of known numbers; None where it is not one of these."""
    numbers = numbers_of(tensor)
    if numbers is None:
        return None
    if name in ("tolist", "item"):
        return seq([Const(x) for x in numbers]) if isinstance(numbers, tuple) else Const(numbers)
    if name in _SAME and not arguments.args:
        return tensor
    if name == "flip" and isinstance(numbers, tuple):
        return tensor_of(m, numbers[::-1], name)
    if name == "split" and isinstance(numbers, tuple):
        return _split(m, numbers, numbers_of(arguments.get(0, "split_size")))
    result = function(name, arguments.after(tensor))
    return None if result is None else tensor_of(m, result, name)


def _split(m: Machine, row: Row, sizes: Numbers | None) -> Value | None:
    if isinstance(sizes, int) and sizes > 0:
        sizes = tuple(len(row[i : i + sizes]) for i in range(0, len(row), sizes))
    if not isinstance(sizes, tuple) or sum(sizes) != len(row):
        return None
    ends = list(itertools.accumulate(int(size) for size in sizes))
    parts = [row[end - int(size) : end] for end, size in zip(ends, sizes, strict=True)]
    return seq([tensor_of(m, part, "split") for part in parts], "tuple")


def items(m: Machine, row: Row) -> tuple[Value, ...]:
    """The elements of a row, as tensors of one number."""
    return tuple(tensor_of(m, number, "item") for number in row)


def item(m: Machine, row: Row, at: Value) -> Value | None:
    """One element of a row."""
    index = numbers_of(at)
    known = isinstance(index, int) and -len(row) <= index < len(row)
    return tensor_of(m, row[index], "item") if known and isinstance(index, int) else None
