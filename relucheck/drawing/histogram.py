"""The pre-activations of a site as a histogram beneath the curve that they meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from relucheck.curves import Function, curve
from relucheck.drawing.axes import Scale, short_number, ticks
from relucheck.drawing.shapes import Anchor, Boxes, Drawing, Path, Point, Shape, Text
from relucheck.measurements import Activation, Histogram
from relucheck.net import Net

_WIDTH, _HEIGHT = 430.0, 216.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 40.0, 24.0, 40.0
_POINTS = 240
WEAK = 0.05
"""The share of the largest slope below which RLU604 calls a unit saturated."""


def histogram(site: Activation, net: Net) -> Drawing | None:
    """The picture of one site; None where nothing was counted or the function has no curve."""
    counted = site.histogram
    function = curve(site.function, net.args_of(net.nodes[site.node]) if site.node is not None else {})
    if counted is None or not counted.total:
        return None
    x = Scale(counted.low, counted.high, _LEFT, _WIDTH - _RIGHT)
    shapes: list[Shape] = []
    if function is not None:
        shapes += _plateaus(function, x)
    shapes += _bars(counted, x)
    shapes += _bottom(counted, x)
    if function is not None:
        shapes += _plateau_words(function, x)
        shapes += _curve(function, site.function, x)
    shapes.append(Text((_LEFT, 12), "share of entries", "small"))
    label = f"Histogram of the pre-activations of {site.name} with the curve of {site.function}"
    return Drawing(_WIDTH, _HEIGHT, label, tuple(shapes))


def _bars(counted: Histogram, x: Scale) -> Iterator[Shape]:
    shares = [count / counted.total for count in counted.counts]
    top = max(*shares, 1e-9)
    y = Scale(0, top * 1.08, _HEIGHT - _BOTTOM, _TOP)
    for share in ticks(0, top * 1.08, 4):
        yield Path(((_LEFT, y(share)), (_WIDTH - _RIGHT, y(share))), "grid")
        yield Text((_LEFT - 6, y(share) + 4), f"{100 * share:.3g} %", "tick", Anchor.END)
    width = (x.end - x.start) / len(shares)
    boxes = [
        (x.start + i * width + 0.4, y(share), width - 0.8, y(0) - y(share))
        for i, share in enumerate(shares)
        if share
    ]
    yield Boxes(tuple(boxes), "bars")


def _bottom(counted: Histogram, x: Scale) -> Iterator[Shape]:
    y = _HEIGHT - _BOTTOM
    yield Path(((_LEFT, y), (_WIDTH - _RIGHT, y)), "axis")
    yield Path(((x(0), _TOP), (x(0), y)), "grid")
    for value in ticks(counted.low, counted.high, 7):
        yield Path(((x(value), y), (x(value), y + 4)), "axis")
        yield Text((x(value), y + 17), short_number(value), "tick", Anchor.MIDDLE)
    yield Text(((x.start + x.end) / 2, y + 33), "pre-activation z", "small", Anchor.MIDDLE)
    for outside, at, anchor in ((counted.below, x.start, Anchor.START), (counted.above, x.end, Anchor.END)):
        if outside:
            side = "below" if anchor is Anchor.START else "above"
            yield Text((at, y + 33), f"{100 * outside / counted.total:.2g} % {side}", "small", anchor)


def _curve(function: Function, name: str, x: Scale) -> Iterator[Shape]:
    points = [(z, function(z)) for z in _along(x)]
    low, high = min(v for _, v in points), max(v for _, v in points)
    y = Scale(low, high if high > low else low + 1, _HEIGHT - _BOTTOM - 6, _TOP + 6)
    yield Path(tuple(bent((x(z), y(v)) for z, v in points)), "value")
    for value in ticks(y.low, y.high, 4):
        yield Text((_WIDTH - _RIGHT + 6, y(value) + 4), short_number(value), "tick")
    yield Text((_WIDTH - 4, 12), f"{name.replace('_', ' ')}(z)", "name", Anchor.END)


def bent(points: Iterable[Point]) -> Iterator[Point]:
    """The points at which a line bends, and its ends: the straight pieces of a curve need no others."""
    kept: list[Point] = []
    for point in points:
        if len(kept) > 1 and _between(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    yield from kept


def _between(start: Point, middle: Point, end: Point) -> bool:
    """Whether the middle of three points lies on the line through the others, to a hundredth of a pixel."""
    along = (middle[0] - start[0]) / (end[0] - start[0])
    return abs(start[1] + along * (end[1] - start[1]) - middle[1]) < 0.01


def _plateaus(function: Function, x: Scale) -> Iterator[Shape]:
    """Where no gradient passes, and where less than 5 % of the largest one does."""
    for left, right, look in _weak_stretches(function, x):
        yield Boxes(((left, _TOP, right - left, _HEIGHT - _BOTTOM - _TOP),), look)


def _plateau_words(function: Function, x: Scale) -> Iterator[Shape]:
    half = (min(map(function, _along(x))) + max(map(function, _along(x)))) / 2
    back = Scale(x.start, x.end, x.low, x.high)
    for left, right, look in _weak_stretches(function, x):
        middle = (left + right) / 2
        if right - left > 62:
            # at the top, where bars are rare, unless the curve runs there
            y = _TOP + 13 if function(back(middle)) < half else (_HEIGHT - _BOTTOM + _TOP) / 2
            words = "slope 0" if look == "flat" else "slope < 5 %"
            yield Text((middle, y), words, f"words-{look}", Anchor.MIDDLE)


def _weak_stretches(function: Function, x: Scale) -> Iterator[tuple[float, float, str]]:
    """The plateaus at the ends of the range: left, right and look. In between, a slope only passes through zero."""
    along = _along(x)
    slopes = [abs(function(b) - function(a)) / (b - a) for a, b in pairwise(along)]
    steepest = max(*slopes, 1e-30)
    levels = ["flat" if s < 1e-9 * steepest else "weak" if s < WEAK * steepest else "" for s in slopes]
    weak = [bool(level) for level in levels]
    inner = range(weak.index(False), len(weak) - weak[::-1].index(False)) if False in weak else range(0)
    levels = ["" if i in inner else level for i, level in enumerate(levels)]
    for start, end, look in _stretches(levels):
        left, right = x(along[start]), x(along[end])
        if look and right - left > 4:
            yield left, right, look


def _along(x: Scale) -> list[float]:
    return [x.low + (x.high - x.low) * i / _POINTS for i in range(_POINTS + 1)]


def _stretches(levels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Runs of one level: its first and its end position."""
    start = 0
    for i in range(1, len(levels) + 1):
        if i == len(levels) or levels[i] != levels[start]:
            yield start, i, levels[start]
            start = i
