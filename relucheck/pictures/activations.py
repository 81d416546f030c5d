"""The activation functions and their slopes as small multiples: where a gradient passes and where not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from relucheck.pictures.curves import CURVES, Array, Curve, pieces
from relucheck.pictures.figures import AMBER_TINT, BLUE, GRID, INK, ORANGE, QUIET, RED_TINT

LOW, HIGH = -8.0, 8.0
WEAK = 0.05
"""The share of the largest slope below which RLU604 calls a unit saturated."""

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "svg.hashsalt": "",
}


def figure() -> Figure:
    """The figure: a row for each family, a panel for each function."""
    with rc_context(_STYLE):
        drawn = Figure(figsize=(14, 15.4), dpi=150, facecolor="white")
        rows = drawn.add_gridspec(
            len(CURVES), 1, left=0.045, right=0.985, top=0.862, bottom=0.028, hspace=0.4
        )
        _head(drawn)
        for row, (family, curves) in enumerate(CURVES.items()):
            _row(drawn, rows[row, 0], family, curves)
    return drawn


def _head(drawn: Figure) -> None:
    drawn.text(0.045, 0.968, "Activation functions and their slopes", size=24, weight="bold")
    drawn.text(
        0.045,
        0.947,
        "The slope is what a gradient is multiplied by on its way back through the activation.",
        size=12.5,
        color=QUIET,
    )
    keys = [
        Line2D([], [], color=BLUE, linewidth=2.4, label="value"),
        Line2D([], [], color=ORANGE, linewidth=2.0, label="slope"),
        Patch(color=RED_TINT, label="slope 0: no gradient passes"),
        Patch(color=AMBER_TINT, label="less than 5 % of the largest slope"),
    ]
    drawn.legend(
        handles=keys, loc="lower left", bbox_to_anchor=(0.037, 0.912), ncols=4, frameon=False, fontsize=12
    )


def _row(drawn: Figure, row: Any, family: str, curves: tuple[Curve, ...]) -> None:
    """The panels of a family: the value above, the slope beneath."""
    grid = row.subgridspec(2, len(curves), height_ratios=(1.75, 1), hspace=0.1, wspace=0.17)
    for column, curve in enumerate(curves):
        value = drawn.add_subplot(grid[0, column])
        slope = drawn.add_subplot(grid[1, column], sharex=value)
        _panel(value, slope, curve)
        if column == 0:
            value.annotate(
                family.upper(), (0, 1), (0, 41), "axes fraction", "offset points",
                size=9.5, weight="bold", color=QUIET,
            )  # fmt: skip


def _panel(value: Any, slope: Any, curve: Curve) -> None:
    for axes in (value, slope):
        _quiet_axes(axes)
        for start, end, tint in _shades(curve):
            axes.axvspan(start, end, color=tint, linewidth=0, zorder=0)
    for x in pieces(curve, LOW, HIGH):
        value.plot(x, curve.value(x), color=BLUE, linewidth=2.4, solid_capstyle="round")
        slope.plot(x, curve.slope(x), color=ORANGE, linewidth=2.0, solid_capstyle="round")
    value.set_title(curve.name, loc="left", size=13, weight="bold", color=INK, pad=18)
    value.annotate(curve.formula, (0, 1), (0, 6), "axes fraction", "offset points", size=9.5, color=QUIET)
    value.set_xlim(LOW, HIGH)
    value.tick_params(labelbottom=False)
    _fit(value, np.concatenate([curve.value(x) for x in pieces(curve, LOW, HIGH)]))
    slope.set_ylim(*((-0.22, 1.22) if _steepest(curve) < 1.2 else (-0.7, 1.9)))
    slope.set_yticks((0.0, 1.0))


def _quiet_axes(axes: Any) -> None:
    """Axes through the origin, a light frame, few ticks."""
    axes.axhline(0, color="#aab1bd", linewidth=0.9, zorder=1)
    axes.axvline(0, color="#aab1bd", linewidth=0.9, zorder=1)
    axes.set_xticks((-6, -3, 0, 3, 6))
    axes.tick_params(length=0, labelsize=9, labelcolor=QUIET)
    for spine in axes.spines.values():
        spine.set_color(GRID)


def _fit(axes: Any, values: Array) -> None:
    """Limits around the values: the bounded functions fill their panel, the others share one scale."""
    if values.max() <= 1.5:
        low = -1.3 if values.min() < -0.5 else -0.3
        axes.set_ylim(low, 1.3)
        axes.set_yticks((-1, 0, 1) if low < -1 else (0, 1))
    else:
        axes.set_ylim(-2.6, 8.6)
        axes.set_yticks((-2, 0, 2, 4, 6, 8))


def _steepest(curve: Curve) -> float:
    return max(float(np.abs(curve.slope(x)).max()) for x in pieces(curve, LOW, HIGH))


def _shades(curve: Curve) -> Iterator[tuple[float, float, str]]:
    """The plateaus, where the slope is zero or stays weak: start, end and tint."""
    weak = WEAK * _steepest(curve)
    for x in pieces(curve, LOW, HIGH):
        size = np.abs(curve.slope(x))
        kinds = np.where(size == 0, 2, np.where(size < weak, 1, 0))
        for start, end, kind in _stretches(kinds):
            # in between, a slope only passes through zero
            if kind and (x[start] < LOW + 0.1 or x[end] > HIGH - 0.1):
                yield float(x[start]), float(x[end]), RED_TINT if kind == 2 else AMBER_TINT


def _stretches(kinds: Any) -> Iterator[tuple[int, int, int]]:
    """Runs of one kind: first and last position, kind."""
    edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1), len(kinds)]
    for start, end in pairwise(edges):
        yield int(start), int(end) - 1, int(kinds[start])
