"""The network as its graph, with each activation site marked by its health."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relucheck.drawing.axes import shortened
from relucheck.drawing.folds import Fold, folded
from relucheck.drawing.graph import Row, rows
from relucheck.drawing.health import health, parts
from relucheck.drawing.marks import mark, worst
from relucheck.drawing.shapes import Anchor, Bend, Boxes, Drawing, Path, Shape, Text
from relucheck.measurements import Activation
from relucheck.timeline import Watched

HEIGHT = 26.0
"""Height of a row."""
_PITCH, _MARGIN = 17.0, 13.0
_WIDEST = 300.0  # of all lanes together


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where the lanes of one network lie."""

    count: int

    @classmethod
    def of(cls, every: Sequence[Row]) -> Lanes:
        return cls(1 + max((lane for row in every for lane in (row.lane, *row.above)), default=0))

    @property
    def width(self) -> float:
        return 2 * _MARGIN + self.pitch * (self.count - 1)

    @property
    def pitch(self) -> float:
        return min(_PITCH, _WIDEST / max(1, self.count - 1))

    def x(self, lane: int) -> float:
        return _MARGIN + self.pitch * lane


def strip(row: Row, lanes: Lanes, top: float = 0.0) -> Iterator[Shape]:
    """The lanes of one row and its node's mark."""
    x, middle, bottom = lanes.x(row.lane), top + HEIGHT / 2, top + HEIGHT
    for lane in row.pass_by:
        yield Path(((lanes.x(lane), top), (lanes.x(lane), bottom)), "edge")
    for lane in row.arrive:
        start, end = (lanes.x(lane), top), (x, middle)
        yield Path((start, end), "edge") if lane == row.lane else Bend(start, end, "edge")
    if row.goes_on:
        yield Path(((x, middle), (x, bottom)), "edge")
    yield from mark(row, (x, middle))


def strip_drawing(row: Row, lanes: Lanes) -> Drawing:
    """One row's lanes as a drawing of its own, for a page that writes the words itself."""
    return Drawing(lanes.width, HEIGHT, row.name, tuple(strip(row, lanes)))


def gap(above: Sequence[int], lanes: Lanes, top: float = 0.0) -> Iterator[Shape]:
    """The lanes of a fold: they go on, and something is left out."""
    for lane in above:
        yield Path(((lanes.x(lane), top), (lanes.x(lane), top + HEIGHT)), "faint")


def gap_drawing(fold: Fold, lanes: Lanes) -> Drawing:
    """A fold's lanes as a drawing of its own."""
    return Drawing(lanes.width, HEIGHT, fold.words, tuple(gap(fold.rows[0].above, lanes)))


_LONGEST, _LETTER = 32, 7.6  # characters of a name, and the width of one
_SIZE, _BAR, _WORDS, _RIGHT = 110.0, 230.0, 340.0, 620.0  # columns, from the operation's name on


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the names begin, and the operations behind them."""

    name: float
    what: float

    @classmethod
    def of(cls, every: Sequence[Row], lanes: Lanes) -> _Columns:
        longest = min(_LONGEST, max((len(row.name) for row in every), default=0))
        name = lanes.width + 14
        return cls(name, name + _LETTER * longest + 24)


def network(shown: Watched) -> Drawing:
    """The whole network as one picture, a row for each operation."""
    every = rows(shown.net, shown.last)
    lanes = Lanes.of(every)
    columns = _Columns.of(every, lanes)
    shapes: list[Shape] = [Text((_MARGIN, 24), shown.name, "heading")]
    top = 44.0
    for part in _opened(folded(every)):
        if isinstance(part, Fold):
            shapes += gap(part.rows[0].above, lanes, top)
            shapes.append(Text((columns.name, top + 17), part.words, "small"))
        else:
            shapes += strip(part, lanes, top)
            shapes += _words(part, columns, top)
        top += HEIGHT
    label = f"{shown.name} as a graph of {len(every)} operations with the health of each activation"
    return Drawing(columns.what + _RIGHT, top + 16, label, tuple(shapes))


def _opened(parts: Sequence[Row | Fold]) -> Iterator[Row | Fold]:
    """The parts, with the rows of those folds that hide a fault."""
    for part in parts:
        if isinstance(part, Fold) and part.hides_a_fault:
            yield from part.rows
        else:
            yield part


def _words(row: Row, columns: _Columns, top: float) -> Iterator[Shape]:
    base = top + HEIGHT / 2 + 4
    left = columns.what
    yield Text((columns.name, base), shortened(row.name, _LONGEST), "name")
    yield Text((left, base), row.node.op.replace("_", " "), "small")
    yield Text((left + _SIZE, base), row.size, "small")
    if row.sites:
        site = max(row.sites, key=lambda s: s.dead_share)
        yield from _bar(site, left + _BAR, top + HEIGHT / 2 - 4.5)
        words = health(site).words
        yield Text((left + _WORDS, base), words, f"words-{worst(row).value}")
    elif row.gradient is not None and row.gradient.norm is not None:
        yield Text((left + _WORDS, base), f"‖dL/dW‖ {row.gradient.norm:.1e}", "small", Anchor.START)


def _bar(site: Activation, x: float, y: float) -> Iterator[Shape]:
    for part in parts(site):
        width = 96 * part.count / site.units
        yield Boxes(((x, y, width, 9),), part.look, f"{part.count} {part.word}")
        x += width
