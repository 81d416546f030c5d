"""Files with replacements made: line ends, encoding, byte order mark and a notebook's JSON stay."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from relucheck.source.files import Document
from relucheck.source.notebook_json import edit_cells
from relucheck.source.splices import CannotEdit, Rows, Splice, spliced

_LINE_END = re.compile(r"\r\n|\r|\n")


def patched(content: bytes, document: Document, splices: Iterable[Splice]) -> bytes:
    """The content of a document's file with replacements of its text made."""
    if document.notebook:
        return _patched_notebook(content, document, splices)
    text = codecs.decode(content, document.encoding)
    if _LINE_END.sub("\n", text).removeprefix("\ufeff") != document.text:
        raise CannotEdit("the file is not what was read")
    ends = [match.group() for match in _LINE_END.finditer(text)]
    if set(ends) <= {"\n"} and len(text) == len(document.text):
        return codecs.encode(spliced(text, splices), document.encoding)
    return codecs.encode(spliced(text, _in_file(text, document, splices, ends)), document.encoding)


def _in_file(text: str, document: Document, splices: Iterable[Splice], ends: list[str]) -> Iterator[Splice]:
    """The replacements where they are in the file's own text, with its own line ends."""
    rows = Rows.of(document.lines)
    shift = len(text) - len(text.removeprefix("\ufeff"))
    starts = Rows((shift, *(match.end() for match in _LINE_END.finditer(text))))
    for splice in splices:
        row = rows.place(splice.start)[0]
        end = ends[row - 1] if row <= len(ends) else document.newline
        start, stop = (starts.offset(*rows.place(at)) for at in (splice.start, splice.end))
        yield Splice(start, stop, splice.text.replace("\n", end))


def _patched_notebook(content: bytes, document: Document, splices: Iterable[Splice]) -> bytes:
    text = codecs.decode(content, "utf-8-sig")
    by_cell: dict[int, list[_Local]] = {}
    rows = Rows.of(document.lines)
    for splice in splices:
        position, local = _local(document, rows, splice)
        by_cell.setdefault(position, []).append(local)

    def edited(position: int, source: str) -> str:
        return _edited_cell(document, position, source, by_cell.get(position, []))

    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    return mark + edit_cells(text, frozenset(by_cell), edited).encode("utf-8")


_Local = tuple[int, int, int, int, str]
"""A replacement inside a cell: row and column of its start, of its end, and the text."""


def _local(document: Document, rows: Rows, splice: Splice) -> tuple[int, _Local]:
    """The cell of a replacement, and the replacement in rows of that cell."""
    row, column = rows.place(splice.start)
    end_row, end_column = rows.place(splice.end)
    cell = max((c for c in document.cells if c.first_row <= row), key=lambda c: c.first_row)
    before = cell.first_row - 1
    return cell.position, (row - before, column, end_row - before, end_column, splice.text)


def _edited_cell(document: Document, position: int, source: str, replacements: Iterable[_Local]) -> str:
    """A cell's source with replacements; lines that are IPython's and not Python's are none of ours."""
    if "\r" in source:
        raise CannotEdit("the cell's lines end in carriage returns")
    lines = source.split("\n")
    rows = Rows.of(lines)
    splices = []
    for row, column, end_row, end_column, text in replacements:
        touched = range(row, min(end_row, len(lines)) + 1)
        if any(document.line(position, number) != lines[number - 1] for number in touched):
            raise CannotEdit("a line of IPython stands there")
        end = rows.offset(end_row, end_column) if end_row <= len(lines) else len(source)
        splices.append(Splice(rows.offset(row, column), end, text))
    return spliced(source, splices)
