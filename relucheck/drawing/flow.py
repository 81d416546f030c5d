"""Gradient flow: the elasticity of each layer over the largest of its kind, on a log axis with the thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relucheck.drawing.axes import Scale, log_axis, shortened
from relucheck.drawing.shapes import Anchor, Disc, Drawing, Path, Shape, Text
from relucheck.measurements import Gradient, Measurements
from relucheck.timeline import Watched

BOUNDS = (
    (1e-1, "1/10: SGD stalls below"),
    (1e-2, "1/100: Adam may stall"),
    (1e-4, "1/10,000: little trains"),
)
"""The levels of RLU611 as shares of the largest elasticity (38 trainings measured)."""

_RIGHT, _TOP, _PLOT = 170.0, 40.0, 250.0
_LEFT = (56.0, 110.0)  # with short names and with long ones below the first layer
_STEP = (12.0, 160.0)  # pixels a layer at least and at most
_WIDTH = 1040.0
_LEGEND = 200.0  # where the legend begins, from the left of the plot
_LONGEST = 20  # characters of a name below the axis
_NAMED = 20.0  # pixels that a name below the axis needs
_DEEPEST = -12  # decades shown at most


@dataclass(frozen=True, slots=True)
class _Series:
    """The layers of one kind in one window, each with its position along the network."""

    words: str
    line: str
    spot: str
    points: tuple[tuple[int, Gradient], ...]


def flow(shown: Watched) -> Drawing | None:
    """The chart, input on the left; with a training's first window beside the last. None below two layers.

    Convolutions and linear layers differ by nature, so each kind has a line of its own.
    """
    last = _measured(shown.last)
    if len(last) < 2:
        return None
    places = {g.parameter: i for i, g in enumerate(last)}
    series = list(_series(last, places, _when(shown, -1), "series", "spot"))
    if shown.last is not shown.first:
        first = [g for g in _measured(shown.first) if g.parameter in places]
        series = [*_series(first, places, _when(shown, 0), "earlier", "spot-soft"), *series]
    step = min(_STEP[1], max(_STEP[0], (_WIDTH - _LEFT[1] - _RIGHT) / len(last)))
    left = min(_LEFT[1], max(_LEFT[0], 5.2 * len(last[0].name) - step / 2))
    right = left + step * len(last)
    x = Scale(0, len(last), left, right)
    low = max(_DEEPEST, min(-3, *(math.floor(_log(g)) for s in series for _, g in s.points)))
    y = Scale(low, 0, _TOP + _PLOT, _TOP)
    shapes: list[Shape] = [*log_axis(low, 0, y, left, right), *_bounds(low, x, y)]
    for one in series:
        shapes += _drawn(one, x, y, low)
    shapes += _legend(series, left)
    shapes += _names([g.name for g in last], x)
    label = "Elasticity of each layer over the largest of its kind, from input to output, on a log axis"
    below = 30 + 4.6 * min(_LONGEST, max(len(g.name) for g in last))
    width = max(right + _RIGHT, _legend_end(series, left))
    return Drawing(width, _TOP + _PLOT + below, label, tuple(shapes))


def _measured(m: Measurements) -> list[Gradient]:
    """The layers with a gradient whose kind has others to compare with."""
    with_ratio = [g for g in m.gradients if g.ratio]
    kinds = [g.kind for g in with_ratio]
    return [g for g in with_ratio if kinds.count(g.kind) > 1 and g.kind != "parameter"]


def _when(shown: Watched, index: int) -> str:
    if not shown.moments or shown.last is shown.first:
        return ""
    moment = shown.moments[index]
    one = moment.first == moment.last
    return f", step {moment.first}" if one else f", steps {moment.first} to {moment.last}"


def _series(
    layers: Sequence[Gradient], places: dict[str, int], when: str, line: str, spot: str
) -> Iterator[_Series]:
    """One series a kind, the second and later kinds with a look of their own."""
    for number, kind in enumerate(dict.fromkeys(g.kind for g in layers)):
        points = tuple((places[g.parameter], g) for g in layers if g.kind == kind)
        look = f"{line}-{min(number, 2)}" if line == "series" else line
        yield _Series(f"{kind.replace('_', ' ')}{when}", look, spot, points)


def _log(gradient: Gradient) -> float:
    return math.log10(gradient.ratio or 1.0)


def _drawn(series: _Series, x: Scale, y: Scale, low: int) -> Iterator[Shape]:
    spots = [(x(i + 0.5), y(max(low, _log(g)))) for i, g in series.points]
    yield Path(tuple(spots), series.line)
    for at, (_, gradient) in zip(spots, series.points, strict=True):
        share = f"{gradient.ratio:.2g} of the largest {gradient.kind}"
        title = f"{gradient.name}: {share}, elasticity {gradient.elasticity:.2e}"
        yield Disc(at, 4.5, series.spot, title)


def _bounds(low: int, x: Scale, y: Scale) -> Iterator[Shape]:
    for share, words in BOUNDS:
        log = math.log10(share)
        if log >= low:
            yield Path(((x.start, y(log)), (x.end, y(log))), "bound")
            yield Text((x.end + 8, y(log) + 4), words, "note")


def _legend(series: Sequence[_Series], left: float) -> Iterator[Shape]:
    yield Text((left, 14), "elasticity, share of the largest", "small")
    x = left + _LEGEND
    for one in series:
        yield Path(((x, 10), (x + 26, 10)), one.line)
        yield Disc((x + 13, 10), 4.5, one.spot)
        yield Text((x + 33, 14), one.words, "small")
        x += _entry(one)


def _entry(series: _Series) -> float:
    """The width of a series in the legend."""
    return 62 + 6.2 * len(series.words)


def _legend_end(series: Sequence[_Series], left: float) -> float:
    return left + _LEGEND + sum(_entry(one) for one in series)


def _names(names: Sequence[str], place: Scale) -> Iterator[Shape]:
    """The layers' names below the plot, as many as can be read."""
    y = _TOP + _PLOT + 16
    for i in range(0, len(names), max(1, math.ceil(_NAMED / (place(1) - place(0))))):
        x = place(i + 0.5) + 4
        yield Text((x, y), shortened(names[i], _LONGEST), "tick", Anchor.END, -40)
