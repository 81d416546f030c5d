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
    blocks = _blocks(rows)
    parts: list[Row | Fold] = []
    start = 0
    while start < len(rows):
        begin, period = _stretch(blocks, keys, start)
        end = begin + period * _repeats(keys, begin, period) if period else start + 1
        shown = begin + (period or 1)
        parts += rows[start:shown]
        if end > shown:
            parts.append(Fold(tuple(rows[shown:end]), period))
        start = end
    return tuple(parts)


def _stretch(blocks: Sequence[str], keys: Sequence[object], start: int) -> tuple[int, int]:
    """Where the repeats begin that start nearby, and their period; 0 for none."""
    period, repeats = _repeat(keys, start)
    ahead = _block_begins(blocks, keys, start, period) if repeats > 1 else None
    return (start, 0) if ahead is None else (start + ahead, period)


def _key(row: Row, *, exact: bool) -> tuple[object, ...]:
    """What two rows that look alike share: all but the numbers in their names, or these too."""
    layer = row.name if exact else re.sub(r"\d+", "*", row.name)
    return row.node.op, layer, row.lane, row.arrive, row.pass_by


def _block_begins(blocks: Sequence[str], keys: Sequence[object], start: int, period: int) -> int | None:
    """How many rows ahead a block begins, so that what is folded are blocks, not the seams between them.

    None where the repeats that begin with a block are too few; 0 where nothing is in a block.
    """
    begins = [at for at in range(start, start + period) if not at or blocks[at] != blocks[at - 1]]
    if not begins:
        return 0
    return next((at - start for at in begins if _repeats(keys, at, period) >= _LEAST), None)


def _blocks(rows: Sequence[Row]) -> list[str]:
    """The block of each row: its name up to the first number, as in ``blocks.3``; without a name, that before."""
    blocks: list[str] = []
    for row in rows:
        found = re.match(r".*?(?<![^.])\d+(?![^.])", row.name)
        unnamed = blocks[-1] if blocks and not row.name else ""
        blocks.append(found.group() if found else unnamed)
    return blocks


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
