"""Repeated stretches of a long network, shown once: the blocks of a transformer, the steps of a loop in time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from relucheck.drawing.graph import Row
from relucheck.drawing.health import Level, health

LONG = 80
"""Rows from which repeats are folded."""
_AGAIN = 24  # rows from which the same layers, applied again and again, are: the steps of a loop in time
_LEAST = 3  # repeats below which there is nothing to fold
_LONGEST = 100  # rows of one repeat


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows that look like the ``period`` rows before them, over and over."""

    rows: tuple[Row, ...]
    period: int

    @property
    def repeats(self) -> int:
        return len(self.rows) // self.period

    @property
    def hides_a_fault(self) -> bool:
        """Whether a site in it is so bad that it must be seen."""
        bad = {Level.WARNING, Level.ERROR}
        return any(health(site).level in bad for row in self.rows for site in row.sites)

    @property
    def words(self) -> str:
        """What is folded: how often, and from which name to which."""
        names = [row.name for row in self.rows if row.name]
        span = f": {names[0]} to {names[-1]}" if names else ""
        again = "once more" if self.repeats == 1 else f"{self.repeats} times more"
        return f"The same {self.period} steps {again}{span}"


def folded(rows: Sequence[Row]) -> tuple[Row | Fold, ...]:
    """The rows of a long network, in which all repeats of a stretch but the first are one fold."""
    if len(rows) < _AGAIN:
        return tuple(rows)
    keys = [_key(row, exact=len(rows) < LONG) for row in rows]
    parts: list[Row | Fold] = []
    start = 0
    while start < len(rows):
        period, repeats = _repeat(keys, start)
        ahead = _block_begins(rows, keys, start, period) if repeats > 1 else 0
        parts += rows[start : start + ahead]
        start += ahead
        repeats = _repeats(keys, start, period)
        end = start + period * repeats
        parts += rows[start : start + period]
        if repeats > 1:
            parts.append(Fold(tuple(rows[start + period : end]), period))
        start = end
    return tuple(parts)


def _key(row: Row, *, exact: bool) -> tuple[object, ...]:
    """What two rows that look alike share: all but the numbers in their names, or these too."""
    layer = row.name if exact else re.sub(r"\d+", "*", row.name)
    return row.node.op, layer, row.lane, row.arrive, row.pass_by


def _block_begins(rows: Sequence[Row], keys: Sequence[object], start: int, period: int) -> int:
    """How many rows ahead a block begins, so that what is folded are blocks, not the seams between them."""
    for ahead in range(period):
        at = start + ahead
        if (not at or _block(rows[at]) != _block(rows[at - 1])) and _repeats(keys, at, period) >= _LEAST:
            return ahead
    return 0


def _block(row: Row) -> str:
    """The block that a row belongs to: its name up to the first number, as in ``blocks.3``."""
    found = re.match(r".*?(?<![^.])\d+(?![^.])", row.name)
    return found.group() if found else ""


def _repeats(keys: Sequence[object], start: int, period: int) -> int:
    """How often the rows from a start on come in a row."""
    repeats = 1
    while keys[start : start + period] == keys[start + repeats * period : start + (repeats + 1) * period]:
        repeats += 1
    return repeats


def _repeat(keys: Sequence[object], start: int) -> tuple[int, int]:
    """Period and number of the repeats that begin at a row and cover most; (1, 1) where none do."""
    best = (1, 1)
    for period in range(1, min(_LONGEST, (len(keys) - start) // _LEAST) + 1):
        repeats = _repeats(keys, start, period)
        if repeats >= _LEAST and repeats * period > best[0] * best[1]:
            best = period, repeats
    return best
