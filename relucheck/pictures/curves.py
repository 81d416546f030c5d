"""Activation functions and their exact derivatives as functions of arrays, with torch's default arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _normal_cdf(x: Array) -> Array:
    return np.array([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x.ravel()]).reshape(x.shape)


def _normal_pdf(x: Array) -> Array:
    return np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _mish_slope(x: Array) -> Array:
    t = np.tanh(_softplus(x))
    return t + x * _sigmoid(x) * (1.0 - t * t)


def _inside(low: float, high: float, slope: float) -> Function:
    """A slope between two kinks, and none outside."""
    return lambda x: np.where((x > low) & (x < high), slope, 0.0)


def _clip(low: float, high: float) -> Function:
    return lambda x: np.clip(x, low, high)


def _two_slopes(negative: float) -> tuple[Function, Function]:
    """The identity above 0 and a straight line below, and its slope."""
    return (lambda x: np.where(x > 0, x, negative * x)), (lambda x: np.where(x > 0, 1.0, negative))


def _exponential(alpha: float, scale: float) -> tuple[Function, Function]:
    """The identity above 0 and an exponential below, scaled, and its slope."""

    def value(x: Array) -> Array:
        return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))

    def slope(x: Array) -> Array:
        return scale * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))

    return value, slope


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805

CURVES: Mapping[str, tuple[Curve, ...]] = {
    "zero slope on a whole side": (
        Curve("ReLU", "max(0, x)", _clip(0.0, np.inf), _inside(0.0, np.inf, 1.0), (0.0,)),
        Curve("ReLU6", "min(max(0, x), 6)", _clip(0.0, 6.0), _inside(0.0, 6.0, 1.0), (0.0, 6.0)),
        Curve(
            "Hardswish",
            "x · min(max(0, x + 3), 6) / 6",
            lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
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
            *_exponential(_SELU_ALPHA, _SELU_SCALE),
            (0.0,),
        ),
    ),
    "smooth": (
        Curve("Softplus", "log(1 + exp(x))", _softplus, _sigmoid),
        Curve(
            "GELU",
            "x · Φ(x)",
            lambda x: x * _normal_cdf(x),
            lambda x: _normal_cdf(x) + x * _normal_pdf(x),
        ),
        Curve(
            "SiLU",
            "x · sigmoid(x)",
            lambda x: x * _sigmoid(x),
            lambda x: _sigmoid(x) * (1.0 + x * (1.0 - _sigmoid(x))),
        ),
        Curve("Mish", "x · tanh(softplus(x))", lambda x: x * np.tanh(_softplus(x)), _mish_slope),
    ),
    "saturating": (
        Curve("Sigmoid", "1 / (1 + exp(-x))", _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
        Curve("Tanh", "tanh(x)", np.tanh, lambda x: 1.0 / np.cosh(x) ** 2),
        Curve("Softsign", "x / (1 + |x|)", lambda x: x / (1.0 + abs(x)), lambda x: (1.0 + abs(x)) ** -2.0),
        Curve(
            "Hardsigmoid",
            "min(max(0, x / 6 + 1/2), 1)",
            lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
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
