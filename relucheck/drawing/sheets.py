"""Several drawings on one sheet, in columns, each under its title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relucheck.drawing.shapes import Bend, Boxes, Disc, Drawing, Path, Point, Shape, Text

_MARGIN, _TITLE, _GAP = 20.0, 26.0, 22.0


def sheet(titled: Sequence[tuple[str, Drawing]], columns: int) -> Drawing:
    """The drawings row by row; each column as wide as the widest drawing."""
    width = max((drawing.width for _, drawing in titled), default=0.0)
    columns = min(columns, max(1, len(titled)))
    shapes: list[Shape] = []
    top, tallest = _MARGIN, 0.0
    for number, (title, drawing) in enumerate(titled):
        left = _MARGIN + number % columns * (width + _GAP)
        if number and number % columns == 0:
            top, tallest = top + tallest + _TITLE + _GAP, 0.0
        tallest = max(tallest, drawing.height)
        shapes.append(Text((left, top + 14), title, "heading"))
        shapes += [moved(shape, left, top + _TITLE) for shape in drawing.shapes]
    label = ", ".join(drawing.label for _, drawing in titled)
    total = 2 * _MARGIN + columns * width + (columns - 1) * _GAP
    return Drawing(total, top + tallest + _TITLE + _MARGIN, label, tuple(shapes))


def moved(shape: Shape, right: float, down: float) -> Shape:
    """The same shape elsewhere."""

    def to(point: Point) -> Point:
        return point[0] + right, point[1] + down

    if isinstance(shape, Path):
        return replace(shape, points=tuple(map(to, shape.points)))
    if isinstance(shape, Bend):
        return replace(shape, start=to(shape.start), end=to(shape.end))
    if isinstance(shape, Boxes):
        return replace(shape, boxes=tuple((x + right, y + down, w, h) for x, y, w, h in shape.boxes))
    return _moved_point(shape, to(shape.at))


def _moved_point(shape: Disc | Text, at: Point) -> Shape:
    return replace(shape, at=at)
