"""Drawings as figures of matplotlib: the same shapes as on the page, in any format that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from relucheck.drawing.looks import LOOKS
from relucheck.drawing.shapes import Bend, Boxes, Disc, Drawing, Path, Shape, Text

_DOTS = 96.0  # pixels of a drawing in one inch
_POINT = 72.0 / _DOTS
_STYLE: Any = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "svg.hashsalt": ""}
_SHARPNESS = 2.0  # pixels of an image for each of the drawing
_LARGEST = 30_000.0  # pixels of an image's side: beyond, many programs cannot open it


def figure(drawing: Drawing, colours: Mapping[str, str]) -> Figure:
    """The figure of a drawing in one of the palettes."""
    sharp = min(_SHARPNESS, _LARGEST / max(drawing.width, drawing.height))
    with rc_context(_STYLE):
        made = Figure(
            figsize=(drawing.width / _DOTS, drawing.height / _DOTS),
            dpi=_DOTS * sharp,
            facecolor=colours["paper"],
        )
        axes = made.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, drawing.width)
        axes.set_ylim(drawing.height, 0)
        axes.axis("off")
        for order, shape in enumerate(drawing.shapes):
            _draw(axes, shape, order, colours)
    return made


def _draw(axes: Any, shape: Shape, order: int, colours: Mapping[str, str]) -> None:
    if isinstance(shape, Text):
        _write(axes, shape, order, colours)
    elif isinstance(shape, Boxes):
        patches = [Rectangle((x, y), w, h) for x, y, w, h in shape.boxes]
        axes.add_collection(PatchCollection(patches, zorder=order, **_look(shape.look, colours)))
    else:
        patch = Circle(shape.at, shape.radius) if isinstance(shape, Disc) else PathPatch(_outline(shape))
        patch.set(zorder=order, **_look(shape.look, colours))
        axes.add_patch(patch)


def _outline(shape: Path | Bend) -> Outline:
    if isinstance(shape, Path):
        return Outline([*shape.points, *shape.points[:1]] if shape.closed else list(shape.points))
    (x1, y1), (x2, y2) = shape.start, shape.end
    middle = (y1 + y2) / 2
    corners = [(x1, y1), (x1, middle), (x2, middle), (x2, y2)]
    return Outline(corners, [Outline.MOVETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4])


def _look(name: str, colours: Mapping[str, str]) -> dict[str, Any]:
    look = LOOKS[name]
    dash: Any = (0, tuple(part * _POINT for part in look.dash)) if look.dash else "solid"
    return {
        "facecolor": (colours[look.fill], look.opacity) if look.fill else "none",
        "edgecolor": colours[look.stroke] if look.stroke else "none",
        "linewidth": look.width * _POINT if look.stroke else 0.0,
        "linestyle": dash,
    }


def _write(axes: Any, shape: Text, order: int, colours: Mapping[str, str]) -> None:
    look = LOOKS[shape.look]
    axes.text(
        *shape.at,
        shape.words.replace("$", r"\$"),  # no formula
        color=colours[look.fill],
        size=look.size * _POINT,
        weight="bold" if look.bold else "normal",
        ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor.value],
        va="baseline",
        rotation=-shape.turn,
        rotation_mode="anchor",
        zorder=order,
    )
