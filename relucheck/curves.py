"""The value of each elementwise activation at one number, as torch 2.13 defines it; no array library needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Function = Callable[[float], float]


def curve(op: str, args: Mapping[str, Any]) -> Function | None:
    """The function of an operation of ``relucheck.ops`` with its arguments; None for what is no curve."""
    if op in _PLAIN:
        return _PLAIN[op]
    if op == "prelu":  # its slopes are learned, one a channel; torch starts them at 0.25
        return two_slopes(0.25)
    make = _WITH_ARGUMENTS.get(op)
    return make(args) if make is not None else None


def _number(args: Mapping[str, Any], default: float, *names: str) -> float:
    """An argument under one of its names, or its default where none is a number."""
    return next((float(args[n]) for n in names if isinstance(args.get(n), int | float)), default)


def relu(x: float) -> float:
    return max(x, 0.0)


def sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def gelu(x: float) -> float:
    return 0.5 * x * math.erfc(-x / math.sqrt(2.0))


def silu(x: float) -> float:
    return x * sigmoid(x)


def mish(x: float) -> float:
    return x * math.tanh(softplus(x))


def softsign(x: float) -> float:
    return x / (1.0 + abs(x))


def hardsigmoid(x: float) -> float:
    return clip(0.0, 1.0)(x / 6.0 + 0.5)


def hardswish(x: float) -> float:
    return x * hardsigmoid(x)


def clip(low: float, high: float) -> Function:
    """x, but never below or above two bounds."""
    return lambda x: min(max(x, low), high)


def two_slopes(negative: float) -> Function:
    """The identity above 0, and a straight line with that slope below."""
    return lambda x: x if x > 0 else negative * x


def exponential(alpha: float, scale: float = 1.0) -> Function:
    """The identity above 0 and ``alpha (exp(x) - 1)`` below, scaled."""
    return lambda x: scale * (x if x > 0 else alpha * math.expm1(x))


SELU = (1.6732632423543772, 1.0507009873554805)
"""alpha and scale of SELU (Klambauer et al. 2017)."""


def _celu(alpha: float) -> Function:
    return lambda x: x if x > 0 else alpha * math.expm1(x / alpha)


def _threshold(at: float, value: float) -> Function:
    return lambda x: x if x > at else value


def _shrink(bound: float, shift: float) -> Function:
    """0 up to a bound on both sides; beyond it x, moved towards 0."""
    return lambda x: 0.0 if abs(x) <= bound else x - math.copysign(shift, x)


def _softshrink(args: Mapping[str, Any]) -> Function:
    bound = _number(args, 0.5, "lambd")
    return _shrink(bound, bound)


_PLAIN: Mapping[str, Function] = {
    "relu": relu,
    "relu6": clip(0.0, 6.0),
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "softplus": softplus,
    "softsign": softsign,
    "gelu": gelu,
    "silu": silu,
    "mish": mish,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "selu": exponential(*SELU),
    "logsigmoid": lambda x: -softplus(-x),
    "tanhshrink": lambda x: x - math.tanh(x),
}

_WITH_ARGUMENTS: Mapping[str, Callable[[Mapping[str, Any]], Function]] = {
    "clip": lambda a: clip(_number(a, -1.0, "min", "min_val"), _number(a, 1.0, "max", "max_val")),
    "leaky_relu": lambda a: two_slopes(_number(a, 0.01, "negative_slope")),
    "rrelu": lambda a: two_slopes((_number(a, 1 / 8, "lower") + _number(a, 1 / 3, "upper")) / 2),
    "elu": lambda a: exponential(_number(a, 1.0, "alpha")),
    "celu": lambda a: _celu(_number(a, 1.0, "alpha")),
    "threshold": lambda a: _threshold(_number(a, 0.0, "threshold"), _number(a, 0.0, "value")),
    "softshrink": _softshrink,
    "hardshrink": lambda a: _shrink(_number(a, 0.5, "lambd"), 0.0),
}
