"""Activation functions and their exact derivatives as functions of arrays, with torch's default arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from relucheck import curves

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Curve:
    """An activation: its class in torch.nn, its formula, its value and its slope.

    At its ``kinks`` the slope jumps; there it is not defined. ``arguments`` are those that differ
    from torch's defaults or have to be named to tell what is drawn.
    """

    name: str
    formula: str
    value: Function
    slope: Function
    kinks: tuple[float, ...] = ()


def _over(function: Callable[[float], float]) -> Function:
    """A function of one number, applied to each entry of an array."""
    return lambda x: np.array([function(v) for v in x.ravel().tolist()]).reshape(x.shape)


_sigmoid = _over(curves.sigmoid)
_normal_cdf = _over(lambda v: 0.5 * math.erfc(-v / math.sqrt(2.0)))


def _normal_pdf(x: Array) -> Array:
    return np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def _mish_slope(x: Array) -> Array:
    t = np.tanh(np.logaddexp(0.0, x))
    return t + x * _sigmoid(x) * (1.0 - t * t)


def _inside(low: float, high: float, slope: float) -> Function:
    """A slope between two kinks, and none outside."""
    return lambda x: np.where((x > low) & (x < high), slope, 0.0)


def _clip(low: float, high: float) -> Function:
    return _over(curves.clip(low, high))


def _two_slopes(negative: float) -> tuple[Function, Function]:
    """The identity above 0 and a straight line below, and its slope."""
    return _over(curves.two_slopes(negative)), (lambda x: np.where(x > 0, 1.0, negative))


def _exponential(alpha: float, scale: float) -> tuple[Function, Function]:
    """The identity above 0 and an exponential below, scaled, and its slope."""

    def slope(x: Array) -> Array:
        return scale * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))

    return _over(curves.exponential(alpha, scale)), slope


CURVES: Mapping[str, tuple[Curve, ...]] = {
    "zero slope on a whole side": (
        Curve("ReLU", "max(0, x)", _clip(0.0, np.inf), _inside(0.0, np.inf, 1.0), (0.0,)),
        Curve("ReLU6", "min(max(0, x), 6)", _clip(0.0, 6.0), _inside(0.0, 6.0, 1.0), (0.0, 6.0)),
        Curve(
            "Hardswish",
            "x · min(max(0, x + 3), 6) / 6",
            _over(curves.hardswish),
            lambda x: np.where(x <= -3.0, 0.0, np.where(x >= 3.0, 1.0, (2.0 * x + 3.0) / 6.0)),
            (-3.0, 3.0),
        ),
        Curve("Hardtanh", "min(max(-1, x), 1)", _clip(-1.0, 1.0), _inside(-1.0, 1.0, 1.0), (-1.0, 1.0)),
    ),
    "a slope on both sides": (
        Curve("LeakyReLU", "max(x, 0.01 x)", *_two_slopes(0.01), (0.0,)),
        Curve("PReLU", "max(x, a x), a learned, at first 0.25", *_two_slopes(0.25), (0.0,)),
        Curve("ELU", "x, or exp(x) - 1 below 0", *_exponential(1.0, 1.0)),
        Curve(
            "SELU",
            "1.05 · (x, or 1.67 (exp(x) - 1) below 0)",
            *_exponential(*curves.SELU),
            (0.0,),
        ),
    ),
    "smooth": (
        Curve("Softplus", "log(1 + exp(x))", _over(curves.softplus), _sigmoid),
        Curve(
            "GELU",
            "x · Φ(x)",
            _over(curves.gelu),
            lambda x: _normal_cdf(x) + x * _normal_pdf(x),
        ),
        Curve(
            "SiLU",
            "x · sigmoid(x)",
            _over(curves.silu),
            lambda x: _sigmoid(x) * (1.0 + x * (1.0 - _sigmoid(x))),
        ),
        Curve("Mish", "x · tanh(softplus(x))", _over(curves.mish), _mish_slope),
    ),
    "saturating": (
        Curve("Sigmoid", "1 / (1 + exp(-x))", _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
        Curve("Tanh", "tanh(x)", np.tanh, lambda x: 1.0 / np.cosh(x) ** 2),
        Curve("Softsign", "x / (1 + |x|)", _over(curves.softsign), lambda x: (1.0 + abs(x)) ** -2.0),
        Curve(
            "Hardsigmoid",
            "min(max(0, x / 6 + 1/2), 1)",
            _over(curves.hardsigmoid),
            _inside(-3.0, 3.0, 1.0 / 6.0),
            (-3.0, 3.0),
        ),
    ),
}
"""The curves in rows: what they have in common, then the functions."""


def pieces(curve: Curve, low: float, high: float, points: int = 400) -> list[Array]:
    """Points between the kinks of a curve, without the kinks themselves, where the slope jumps."""
    ends = [low, *(k for k in curve.kinks if low < k < high), high]
    tiny = (high - low) * 1e-9
    return [np.linspace(a + tiny, b - tiny, points) for a, b in pairwise(ends)]
