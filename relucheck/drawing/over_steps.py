"""A training over its steps: a strip for each layer, silent units as areas and gradients as lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from relucheck.drawing.axes import Scale, power, short_number, shortened, ticks
from relucheck.drawing.health import LEVELS
from relucheck.drawing.shapes import Anchor, Boxes, Drawing, Path, Point, Shape, Text
from relucheck.timeline import Moment, Watched

_RIGHT, _WIDTH, _TOP, _BELOW = 110.0, 1040.0, 26.0, 44.0
_ROW, _GAP = 24.0, 7.0
_LONGEST, _LETTER = 28, 7.6  # characters of a layer's name, and the width of one


@dataclass(frozen=True, slots=True)
class _Plot:
    """The strips of one chart: where steps lie, and what they show."""

    moments: Sequence[Moment]
    x: Scale
    title: str

    @classmethod
    def of(cls, moments: Sequence[Moment], names: Sequence[str], title: str) -> _Plot:
        first, last = moments[0].first, moments[-1].last + 1
        left = 14 + _LETTER * min(_LONGEST, max(map(len, names)))
        return cls(moments, Scale(first, last, left, _WIDTH - _RIGHT), title)

    @property
    def left(self) -> float:
        return self.x.start

    @property
    def right(self) -> float:
        return self.x.end


def silent(shown: Watched) -> Drawing | None:
    """The share of silent units of each layer over the steps; None with fewer than two windows."""
    names = _names(shown, lambda moment: moment.silent)
    if len(shown.moments) < 2 or not names:
        return None
    plot = _Plot.of(shown.moments, names, "share of silent units, each strip from 0 to 100 %")
    return _chart(plot, names, "Silent units of each layer over the steps", _silent_strip)


def gradients(shown: Watched) -> Drawing | None:
    """norm(dL/dW) of each layer over the steps on a log scale; None with fewer than two windows."""
    names = _names(shown, lambda moment: moment.gradient)
    values = [v for m in shown.moments for v in m.gradient.values() if 0 < v < math.inf]
    if len(shown.moments) < 2 or not names or not values:
        return None
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    title = f"norm(dL/dW), each strip from {power(low)} to {power(high)} on a log scale"
    plot = _Plot.of(shown.moments, names, title)

    def strip(plot: _Plot, name: str, top: float) -> Iterator[Shape]:
        return _gradient_strip(plot, name, top, (low, high))

    return _chart(plot, names, "Gradients of each layer over the steps", strip)


def _names(shown: Watched, of: Callable[[Moment], Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for moment in shown.moments for name in of(moment)))


def _chart(
    plot: _Plot, names: Sequence[str], label: str, strip: Callable[[_Plot, str, float], Iterator[Shape]]
) -> Drawing:
    shapes: list[Shape] = [
        Text((plot.left, 13), plot.title, "small"),
        Text((plot.right + 10, 13), "at the end", "small"),
    ]
    top = _TOP
    for name in names:
        shapes.append(Boxes(((plot.left, top, plot.right - plot.left, _ROW),), "panel"))
        shapes.append(Text((plot.left - 10, top + 16.5), shortened(name, _LONGEST), "name", Anchor.END))
        shapes += strip(plot, name, top)
        top += _ROW + _GAP
    shapes += _steps(plot, top)
    return Drawing(_WIDTH, top + _BELOW, label, tuple(shapes))


def _steps(plot: _Plot, y: float) -> Iterator[Shape]:
    yield Path(((plot.left, y), (plot.right, y)), "axis")
    for step in ticks(plot.x.low, plot.x.high, 8):
        yield Path(((plot.x(step), y), (plot.x(step), y + 5)), "axis")
        yield Text((plot.x(step), y + 19), short_number(step), "tick", Anchor.MIDDLE)
    yield Text(((plot.left + plot.right) / 2, y + 37), "step (backward pass)", "small", Anchor.MIDDLE)


def _silent_strip(plot: _Plot, name: str, top: float) -> Iterator[Shape]:
    y = Scale(0, 1, top + _ROW, top)
    seen = [(m, m.silent[name]) for m in plot.moments if name in m.silent]
    if any(share for _, share in seen):
        yield Path(tuple(_area(plot, seen, y)), "area", closed=True)
    yield Path(((plot.left, y(0.5)), (plot.right, y(0.5))), "bound")
    if seen:
        share = seen[-1][1]
        word = next((word for level, word in LEVELS if share >= level), "good")
        yield Text((plot.right + 10, top + 16.5), f"{100 * share:.0f} % silent", f"words-{word}")


def _area(plot: _Plot, seen: Sequence[tuple[Moment, float]], y: Scale) -> Iterator[Point]:
    """The outline of the shares; each window holds until the next one begins."""
    yield plot.x(seen[0][0].first), y(0)
    for number, (moment, share) in enumerate(seen):
        end = seen[number + 1][0].first if number + 1 < len(seen) else moment.last + 1
        yield plot.x(moment.first), y(share)
        yield plot.x(end), y(share)
    yield plot.x(seen[-1][0].last + 1), y(0)


def _gradient_strip(plot: _Plot, name: str, top: float, decades: tuple[int, int]) -> Iterator[Shape]:
    y = Scale(*decades, top + _ROW - 2, top + 2)
    points: list[Point] = []
    seen = [(m, m.gradient[name]) for m in plot.moments if name in m.gradient]
    for moment, value in seen:
        if 0 < value < math.inf:
            points.append((plot.x((moment.first + moment.last + 1) / 2), y(math.log10(value))))
    if len(points) > 1:
        yield Path(tuple(points), "series-0")
    if seen:
        yield Text((plot.right + 10, top + 16.5), f"{seen[-1][1]:.1e}", "small")
