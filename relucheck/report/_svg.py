"""The drawings of the HTML report as SVG: gradient flow over depth, and the units of each layer.

Colours are classes, so that the page's style decides them in light, in dark and on paper. Each mark
has a title, which browsers show when it is pointed at and screen readers read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from relucheck.measurements import Activation, Gradient

BOUNDS = (
    (1e-1, "1/10: SGD stalls below"),
    (1e-2, "1/100: Adam may stall"),
    (1e-4, "1/10,000: little trains"),
)
"""The levels of RLU611 as shares of the largest elasticity (38 trainings measured)."""

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 860, 64, 12, 12, 22
_PLOT = 240
_MOST_UNITS, _CELL = 1024, 10


def flow(gradients: Sequence[Gradient]) -> str:
    """Elasticity of each layer over the largest of its kind, input to output; empty below two layers.

    Convolutions and linear layers differ by nature, so each kind has a line of its own.
    """
    layers = [g for g in gradients if g.ratio is not None and g.ratio > 0]
    if len(layers) < 2:
        return ""
    low = min(-3, math.floor(min(math.log10(g.ratio or 1.0) for g in layers)))
    step = (_WIDTH - _LEFT - _RIGHT) / len(layers)
    spots = {
        g.parameter: (_LEFT + step * (i + 0.5), _height(math.log10(g.ratio or 1.0), low))
        for i, g in enumerate(layers)
    }
    lines = [
        _line([spots[g.parameter] for g in layers if g.kind == k])
        for k in dict.fromkeys(g.kind for g in layers)
    ]
    dots = [_dot(spots[g.parameter], g) for g in layers]
    label = "Elasticity of each layer over the largest of its kind, from input to output, on a log axis"
    return _svg(
        _TOP + _PLOT + 84, label, [*_axis(low), *_bounds(low), *lines, *dots, *_labels(spots, layers)]
    )


def _height(log: float, low: int) -> float:
    return _TOP + _PLOT * log / low


def _axis(low: int) -> Iterator[str]:
    """A line for each decade, at most a dozen of them."""
    for power in range(0, low - 1, -max(1, math.ceil(-low / 12))):
        y = _height(power, low)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield (
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">10'
            f'<tspan dy="-5" font-size="9">{power}</tspan></text>'
        )


def _bounds(low: int) -> Iterator[str]:
    for share, words in BOUNDS:
        log = math.log10(share)
        if log >= low:
            y = _height(log, low)
            yield f'<line class="bound" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield (
                f'<text class="note" x="{_WIDTH - _RIGHT - 4}" y="{y - 4:.1f}" text-anchor="end">{words}</text>'
            )


def _line(spots: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="curve" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}"/>'


def _dot(spot: tuple[float, float], gradient: Gradient) -> str:
    share = f"{gradient.ratio:.2g} of the largest {gradient.kind}"
    title = f"<title>{escape(gradient.name)}: {share}, elasticity {gradient.elasticity:.2e}</title>"
    return f'<circle class="dot" cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="4.5">{title}</circle>'


def _labels(spots: Mapping[str, tuple[float, float]], layers: Sequence[Gradient]) -> Iterator[str]:
    """The layers' names below the plot, as many as can be read."""
    y = _TOP + _PLOT + 14
    for gradient in layers[:: max(1, math.ceil(len(layers) / 48))]:
        x, name = spots[gradient.parameter][0] + 4, gradient.name
        short = name if len(name) <= 16 else "…" + name[-15:]
        yield (
            f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="end" '
            f'transform="rotate(-45 {x:.1f} {y})">{escape(short)}</text>'
        )


def units(site: Activation) -> str:
    """One cell a unit, coloured by the share of samples that it fires in; empty for very wide layers."""
    if not 1 < site.units <= _MOST_UNITS or not site.one_sided:
        return ""
    columns = _WIDTH // _CELL
    rows = math.ceil(site.units / columns)
    dead, linear = set(site.dead_units), set(site.linear_units)
    cells = [
        f'<rect class="{kind}" x="{unit % columns * _CELL}" y="{unit // columns * _CELL}" width="9" height="9"'
        f"{opacity}><title>unit {unit}: {words}</title></rect>"
        for unit in range(site.units)
        for kind, opacity, words in (_cell(unit, site.activity, unit in dead, unit in linear),)
    ]
    label = f"Units of {site.name}: {site.dead} silent, {site.linear} always on, of {site.units}"
    return _svg(rows * _CELL, label, cells)


def _cell(unit: int, activity: Sequence[float], dead: bool, linear: bool) -> tuple[str, str, str]:
    if dead:
        return "dead", "", "silent on all samples"
    if linear:
        return "on", "", "on for all samples"
    if not activity:
        return "alive", "", "fires"
    return (
        "alive",
        f' opacity="{0.25 + 0.75 * activity[unit]:.2f}"',
        f"fires in {activity[unit]:.0%} of samples",
    )


def _svg(height: float, label: str, parts: Sequence[str]) -> str:
    start = f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
    return "".join([start, *parts, "</svg>"])
