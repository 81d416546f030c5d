"""Scales and ticks: where a number lies on a canvas, and which numbers are written at an axis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from relucheck.drawing.shapes import Anchor, Path, Shape, Text


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map of ``low`` .. ``high`` to the pixels ``start`` .. ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` round numbers in a range: multiples of 1, 2 or 5 times a power of ten."""
    step = (high - low) / most
    power = 10.0 ** math.floor(math.log10(step))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0, 20.0) if m * power >= step)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(exponent: int) -> str:
    """10 to an exponent as it is written: ``10⁻³``."""
    return "10" + str(exponent).translate(_RAISED)


def short_number(value: float) -> str:
    """A tick's number in as few digits as tell it: 0.5, 20, 1e-05."""
    return f"{value:.4g}".replace("-", "−")


def log_axis(low: int, high: int, place: Scale, left: float, right: float) -> Iterator[Shape]:
    """A horizontal line and a label for each decade, at most about ten of them."""
    for exponent in range(high, low - 1, -max(1, math.ceil((high - low) / 10))):
        y = place(exponent)
        yield Path(((left, y), (right, y)), "grid")
        yield Text((left - 8, y + 4), power(exponent), "tick", Anchor.END)


def shortened(name: str, length: int) -> str:
    """A name with its beginning left out where it is too long: ``…mlp.fc1``."""
    return name if len(name) <= length else "…" + name[1 - length :]
