"""Replacements of stretches of a text, and when two of them are in each other's way."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


class CannotEdit(Exception):  # noqa: N818 - the text is as it is; the fix is what does not fit
    """A fix that the text has no room for; the message says why."""


@dataclass(frozen=True, slots=True)
class Splice:
    """The characters from ``start`` up to ``end`` of a text become ``text``."""

    start: int
    end: int
    text: str

    def touches(self, other: Splice) -> bool:
        """Whether the two meet, so that their order would matter."""
        return self.start <= other.end and other.start <= self.end


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """The text with every replacement made; those at one place in the order given."""
    parts: list[str] = []
    done = 0
    for splice in sorted(splices, key=lambda s: (s.start, s.end)):
        parts += (text[done : splice.start], splice.text)
        done = splice.end
    return "".join([*parts, text[done:]])


def consistent(splices: Sequence[Splice]) -> bool:
    """Whether the replacements can be made together: none overlaps another."""
    ordered = sorted(splices, key=lambda s: (s.start, s.end))
    return all(a.end <= b.start for a, b in pairwise(ordered))


@dataclass(frozen=True, slots=True)
class Rows:
    """The way between offsets of a text and its rows (from 1) and columns (from 0)."""

    starts: tuple[int, ...]

    @classmethod
    def of(cls, lines: Iterable[str]) -> Rows:
        """The rows of a text whose lines, without their ends, are these."""
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        return cls(tuple(starts[:-1]))

    def offset(self, row: int, column: int) -> int:
        """The offset of a place."""
        return self.starts[row - 1] + column

    def place(self, offset: int) -> tuple[int, int]:
        """The row and column of an offset."""
        row = bisect_right(self.starts, offset)
        return row, offset - self.starts[row - 1]
