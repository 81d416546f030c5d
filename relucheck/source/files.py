"""Input files: decoding them, and the way from a syntax tree's positions to the user's."""

from __future__ import annotations

import io
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from relucheck.paths import shown
from relucheck.problems import Problem
from relucheck.source.notebook import Cell, NotebookError, join_cells
from relucheck.source.walk import Discovery, discover
from relucheck.span import Span

__all__ = ["Discovery", "Document", "discover", "from_bytes", "from_text", "read", "read_all"]

_TORCH_NAMES = re.compile(r"\b(?:nn|F|optim)\s*\.")


@dataclass(frozen=True, slots=True)
class Document:
    """A module's text, and how its places are called to the user.

    ``path`` is the path as shown. ``text`` ends its lines with a line feed and has no byte order mark;
    ``encoding`` and ``newline`` tell how the file spells it. A notebook's text is its code cells,
    joined; ``cells`` tells where each starts.
    """

    path: str
    text: str
    cells: tuple[Cell, ...] = ()
    notebook: bool = False
    encoding: str = "utf-8"
    newline: str = "\n"
    _lines: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def lines(self) -> list[str]:
        """The rows of the module text, without line ends."""
        if not self._lines:
            self._lines.extend(self.text.split("\n"))
        return self._lines

    @property
    def relevant(self) -> bool:
        """Whether the text may build or train a network itself, imports or not.

        Other files may still import an irrelevant one.
        """
        text = self.text
        return "torch" in text or "lightning" in text or _TORCH_NAMES.search(text) is not None

    def span(self, row: int, column: int, end_row: int, end_column: int) -> Span:
        """The span of a syntax tree's position: rows from 1, columns in UTF-8 bytes from 0."""
        if not self.text.isascii():
            column = self._characters(row, column)
            end_column = self._characters(end_row, end_column)
        return self.place(row, column, end_row, end_column)

    def _characters(self, row: int, column: int) -> int:
        line = self.lines[row - 1] if row <= len(self.lines) else ""
        return (
            column
            if line.isascii()
            else len(line.encode("utf-8", "replace")[:column].decode("utf-8", "ignore"))
        )

    def place(self, row: int, column: int, end_row: int, end_column: int) -> Span:
        """The span of a place in the module text: rows from 1, columns in characters from 0."""
        cell, before = self._cell(row)
        return Span(self.path, cell, row - before, column + 1, max(row, end_row) - before, end_column + 1)

    def _cell(self, row: int) -> tuple[int | None, int]:
        """The cell that a row is in, and the number of rows before that cell."""
        if not self.cells:
            return None, 0
        index = max(0, bisect_right(self.cells, row, key=lambda cell: cell.first_row) - 1)
        return self.cells[index].position, self.cells[index].first_row - 1

    def line(self, cell: int | None, row: int) -> str | None:
        """The text of a row as spans count it, or None where there is no such row."""
        before = next((c.first_row - 1 for c in self.cells if c.position == cell), 0)
        index = row + before - 1
        return self.lines[index] if 0 <= index < len(self.lines) else None


def read_all(paths: Iterable[str]) -> tuple[tuple[Document, ...], tuple[Problem, ...]]:
    """The documents of these files, and the problems of those that cannot be read."""
    results = [read(path) for path in paths]
    documents = tuple(r for r in results if isinstance(r, Document))
    return documents, tuple(r for r in results if isinstance(r, Problem))


def read(path: str) -> Document | Problem:
    """The document of one file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return Problem(shown(path), f"cannot be read ({error.strerror or error})")
    return from_bytes(shown(path), content)


def from_bytes(path: str, content: bytes) -> Document | Problem:
    """The document of a file's content; a notebook where the path ends in .ipynb."""
    notebook = path.lower().endswith(".ipynb")
    try:
        encoding = "utf-8-sig" if notebook else _encoding(content)
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        return Problem(path, f"is not {error.encoding}: {_where(content, error)}; {_ENCODING_HELP}")
    except (SyntaxError, LookupError, UnicodeError) as error:
        return Problem(path, f"cannot be decoded: {error}; {_ENCODING_HELP}")
    if "\0" in text:
        return Problem(path, f"holds a NUL character in line {_row_of_nul(text)}; it is not Python text")
    return from_text(path, text, encoding)


def _encoding(content: bytes) -> str:
    """The encoding that a byte order mark or a comment declares (PEP 263), else UTF-8."""
    try:
        return tokenize.detect_encoding(io.BytesIO(content).readline)[0]
    except SyntaxError:
        content.decode("utf-8")  # tells the byte, where that is what is wrong
        raise


_ENCODING_HELP = "save it as UTF-8, or name its encoding in the first line, as in '# coding: latin-1'"


def _where(content: bytes, error: UnicodeDecodeError) -> str:
    row = content.count(b"\n", 0, error.start) + 1
    return f"byte 0x{content[error.start]:02x} in line {row}"


def _row_of_nul(text: str) -> int:
    return text.count("\n", 0, text.index("\0")) + 1


def from_text(path: str, text: str, encoding: str = "utf-8") -> Document | Problem:
    """The document of a text; a notebook's JSON where the path ends in .ipynb."""
    newline = "\r\n" if "\r\n" in text else "\r" if "\r" in text and "\n" not in text else "\n"
    text = text.removeprefix("\ufeff")
    if not path.lower().endswith(".ipynb"):
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return Document(path, text, encoding=encoding, newline=newline)
    try:
        joined, cells = join_cells(text)
    except NotebookError as error:
        return Problem(path, str(error))
    return Document(path, joined, cells, notebook=True, encoding=encoding, newline=newline)
