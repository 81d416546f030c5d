"""Places in source text, shared by every layer of the project."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A range of source text.

    Rows count from 1, columns count characters from 1, and the end is exclusive, as in ruff's JSON.
    In a notebook, ``cell`` is the position among all cells (from 1) and rows count from the first
    line of that cell.
    """

    path: str
    cell: int | None
    row: int
    column: int
    end_row: int
    end_column: int

    def __str__(self) -> str:
        cell = "" if self.cell is None else f"cell {self.cell}:"
        return f"{self.path}:{cell}{self.row}:{self.column}"

    @property
    def sort_key(self) -> tuple[str, int, int, int]:
        """Reading order: file, cell, row, column."""
        return (self.path, self.cell or 0, self.row, self.column)

    def holds(self, other: Span) -> bool:
        """Whether another place lies in this one."""
        begins = (self.row, self.column) <= (other.row, other.column)
        ends = (other.end_row, other.end_column) <= (self.end_row, self.end_column)
        return (self.path, self.cell) == (other.path, other.cell) and begins and ends
