"""The mark of a node: its shape says what it is, and of an activation how well it does, without any colour."""

from __future__ import annotations

from collections.abc import Sequence

from relucheck.drawing.graph import Row
from relucheck.drawing.health import Level, health
from relucheck.drawing.shapes import Boxes, Disc, Path, Point, Shape
from relucheck.ops import Kind

RADIUS = 6.5
RANKED = (Level.GOOD, Level.UNKNOWN, Level.NOTICE, Level.WARNING, Level.ERROR)
"""Levels from good to bad."""


def mark(row: Row, at: Point) -> tuple[Shape, ...]:
    """The mark of a row's node around a point."""
    if row.sites:
        return health_mark(worst(row), at)
    if row.node.kind in (Kind.AFFINE, Kind.RECURRENT, Kind.ATTENTION, Kind.EMBEDDING):
        x, y = at
        return (Boxes(((x - 5.5, y - 4.5, 11, 9),), "layer"),)
    if row.node.kind is Kind.ARITHMETIC and len(row.arrive) > 1:
        return (Disc(at, 6, "op"), *_cross(at, 3, "plus", turned=False))
    return (Disc(at, 4, "op"),)


def worst(row: Row) -> Level:
    """The worst level among the sites of a row."""
    return max((health(site).level for site in row.sites), key=RANKED.index)


def health_mark(level: Level, at: Point) -> tuple[Shape, ...]:
    """A disc for good, a triangle for some, a diamond for half, a crossed square for nearly all units."""
    x, y = at
    if level is Level.NOTICE:
        return (_polygon(at, ((0, -7), (7, 5.5), (-7, 5.5)), "notice"),)
    if level is Level.WARNING:
        return (_polygon(at, ((0, -8), (8, 0), (0, 8), (-8, 0)), "warning"),)
    if level is Level.ERROR:
        return (Boxes(((x - 6.5, y - 6.5, 13, 13),), "error"), *_cross(at, 3.2, "cross", turned=True))
    return (Disc(at, RADIUS, level.value),)


def _polygon(at: Point, corners: Sequence[Point], look: str) -> Path:
    return Path(tuple((at[0] + x, at[1] + y) for x, y in corners), look, closed=True)


def _cross(at: Point, size: float, look: str, *, turned: bool) -> tuple[Path, Path]:
    x, y = at
    if turned:
        return (
            Path(((x - size, y - size), (x + size, y + size)), look),
            Path(((x - size, y + size), (x + size, y - size)), look),
        )
    return Path(((x - size, y), (x + size, y)), look), Path(((x, y - size), (x, y + size)), look)
