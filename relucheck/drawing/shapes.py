"""The shapes that every drawing is made of. Lengths are pixels, y points down, looks are names in ``looks``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

Point = tuple[float, float]


class Anchor(Enum):
    """Which end of a text its point is."""

    START = "start"
    MIDDLE = "middle"
    END = "end"


@dataclass(frozen=True, slots=True)
class Path:
    """A line through points; ``closed`` fills what is inside."""

    points: tuple[Point, ...]
    look: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Bend:
    """A curve from one point down to another, upright at both ends."""

    start: Point
    end: Point
    look: str


@dataclass(frozen=True, slots=True)
class Boxes:
    """Rectangles of one look, each as (x, y, width, height), with one title for all of them."""

    boxes: tuple[tuple[float, float, float, float], ...]
    look: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc around a point."""

    at: Point
    radius: float
    look: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Words at a point on their baseline, ``turn`` degrees clockwise."""

    at: Point
    words: str
    look: str
    anchor: Anchor = Anchor.START
    turn: float = 0.0


Shape = Path | Bend | Boxes | Disc | Text


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on a canvas; ``label`` says in words what is shown."""

    width: float
    height: float
    label: str
    shapes: tuple[Shape, ...]
