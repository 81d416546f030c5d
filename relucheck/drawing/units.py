"""The units of a site as a heat map: a cell a unit, coloured by the share of samples in which it fires.

Units that need attention differ in form as well: silent ones are crossed, always-on ones are rings,
saturated ones half as high.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from relucheck.drawing.shapes import Anchor, Boxes, Drawing, Path, Shape, Text
from relucheck.measurements import Activation

_LEFT, _COLUMNS, _CELL = 40.0, 32, 12.0
_DENSE = (64, 6.0)  # columns and cell where there are many units
_MANY, _MOST = 512, 4096


def units(site: Activation) -> Drawing | None:
    """The map of one site; None where nothing tells its units apart, or there are too many."""
    told_apart = site.one_sided or site.saturated_units
    if not told_apart or not 1 < site.units <= _MOST:
        return None
    columns, cell = (_COLUMNS, _CELL) if site.units <= _MANY else _DENSE
    columns = min(columns, site.units)
    grid = _Grid(columns, cell)
    kinds: dict[str, list[int]] = {}
    for unit, look in enumerate(_looks(site)):
        kinds.setdefault(look, []).append(unit)
    rows = math.ceil(site.units / columns)
    shapes = [shape for look in sorted(kinds) for shape in grid.cells(look, kinds[look])]
    shapes += grid.labels(rows)
    label = f"Units of {site.name}: {site.dead} silent, {site.linear} always on, {site.saturated} saturated, "
    return Drawing(_LEFT + columns * cell + 2, rows * cell + 2, f"{label}of {site.units}", tuple(shapes))


def _looks(site: Activation) -> Iterator[str]:
    dead, on, stuck = set(site.dead_units), set(site.linear_units), set(site.saturated_units)
    for unit in range(site.units):
        if unit in dead and site.one_sided:
            yield "dead"
        elif unit in on and site.one_sided:
            yield "on"
        elif unit in stuck:
            yield "saturated"
        else:
            yield f"fires-{round(10 * site.activity[unit])}" if site.activity else "alive"


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the cells of a map lie."""

    columns: int
    cell: float

    def at(self, unit: int) -> tuple[float, float]:
        return _LEFT + unit % self.columns * self.cell, 1 + unit // self.columns * self.cell

    def cells(self, look: str, held: list[int]) -> Iterator[Shape]:
        """All cells of one look."""
        size, words = self.cell - 1, _WORDS.get(look) or _share(look)
        high = size / 2 if look == "saturated" else size
        boxes = tuple((x, y + size - high, size, high) for x, y in map(self.at, held))
        yield Boxes(boxes, look, words)
        if look == "on" and size > 8:
            yield Boxes(tuple((x + 3.5, y + 3.5, size - 7, size - 7) for x, y in map(self.at, held)), "hole")
        if look == "dead" and size > 8:
            for x, y in map(self.at, held):
                yield Path(((x + 3, y + 3), (x + size - 3, y + size - 3)), "cross")

    def labels(self, rows: int) -> Iterator[Shape]:
        """The number of the first unit of each row, as many as can be read."""
        every = max(1, math.ceil(12 / self.cell))
        for row in range(0, rows, every):
            y = 1 + row * self.cell + min(self.cell, 12) - 2.5
            yield Text((_LEFT - 6, y), str(row * self.columns), "tick", Anchor.END)


_WORDS = {
    "dead": "silent on all samples",
    "on": "on for all samples",
    "saturated": "saturated",
    "alive": "respond",
}


def _share(look: str) -> str:
    return f"fire in about {10 * int(look.removeprefix('fires-'))} % of the samples"
