"""Notebooks as one module: code cells joined in order, IPython's own syntax blanked row for row."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_KEEPS_THE_REST = frozenset({"time", "timeit", "capture", "prun", "debug"})
"""Cell magics whose cell is Python of this notebook; the others hold other languages or files."""

_MAGIC = re.compile(r"\s*(?:[%!?]|[\w.*]+\?{1,2}\s*$)")
_MAGIC_ANYWHERE = re.compile(rf"^(?:{_MAGIC.pattern}|\s*[\w., ]+=\s*[%!])", re.MULTILINE)
_ASSIGNED = re.compile(r"(\s*[\w., ]+=\s*)[%!]")
_CELL_MAGIC = re.compile(r"%%(\w*)")
_PIECE = re.compile(
    r"""#.*|(?P<long>'''|\"{3})|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?P<open>[\[({])|(?P<close>[\])}])"""
)


class NotebookError(ValueError):
    """A file that ends in .ipynb and is none; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell: its position among all cells (from 1) and the row of the module it starts at."""

    position: int
    first_row: int


def join_cells(text: str) -> tuple[str, tuple[Cell, ...]]:
    """The module text of a notebook's JSON, and where each code cell starts in it."""
    joined: list[str] = []
    cells: list[Cell] = []
    row = 1
    for position, source in _code_cells(_parsed(text)):
        lines = blank_magics(source).split("\n")
        cells.append(Cell(position, row))
        joined += lines
        row += len(lines)
    return "\n".join(joined) + "\n" if joined else "", tuple(cells)


def _parsed(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise NotebookError(f"not a notebook: not valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise NotebookError("not a notebook: its JSON is not an object")
    if "cells" not in data and "worksheets" in data:
        raise NotebookError("a notebook of an old format; convert it with `jupyter nbconvert --to notebook`")
    if not isinstance(data.get("cells"), list):
        raise NotebookError("not a notebook: it has no list of cells")
    return data


def _code_cells(data: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """The position and the text of each code cell of a Python notebook."""
    if _language(data) != "python":
        return
    for position, cell in enumerate(data["cells"], 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        text = (
            source if isinstance(source, str) else "".join(line for line in source if isinstance(line, str))
        )
        yield position, text.replace("\r\n", "\n").replace("\r", "\n")


def _language(data: dict[str, Any]) -> str:
    """The notebook's language in lower case; Python where the notebook does not say."""
    metadata = data.get("metadata")
    for table, key in (("language_info", "name"), ("kernelspec", "language")):
        entry = metadata.get(table) if isinstance(metadata, dict) else None
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            return re.sub(r"[^a-z].*", "", entry[key].lower()) or "python"
    return "python"


def blank_magics(source: str) -> str:
    """A cell's text with magics, shell lines and help requests turned into ``pass``, rows kept."""
    if not _MAGIC_ANYWHERE.search(source):
        return source
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    magic = _CELL_MAGIC.match(lines[first])
    if magic:
        if magic.group(1) not in _KEEPS_THE_REST:
            return "\n" * (len(lines) - 1)
        lines[first] = "pass"
    elif _is_python(source):  # `a\n  % b` inside brackets is arithmetic
        return source
    return "\n".join(_blanked(lines))


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _blanked(lines: list[str]) -> Iterator[str]:
    """The lines, with those of IPython blanked where a statement may start."""
    inside = _Inside()
    continues_magic = False
    for line in lines:
        if continues_magic:
            continues_magic = line.endswith("\\")
            yield ""
            continue
        if inside.free and (assigned := _ASSIGNED.match(line)):
            continues_magic = line.endswith("\\")
            yield assigned.group(1) + "get_ipython()"
        elif inside.free and _MAGIC.match(line):
            continues_magic = line.endswith("\\")
            yield re.match(r"\s*", line).group() + "pass"  # type: ignore[union-attr]
        else:
            inside = inside.after(line)
            yield line


@dataclass(frozen=True, slots=True)
class _Inside:
    """What is open at the start of a line: brackets, a triple-quoted string, a backslash."""

    depth: int = 0
    quote: str = ""
    backslash: bool = False

    @property
    def free(self) -> bool:
        return not (self.depth or self.quote or self.backslash)

    def after(self, line: str) -> _Inside:
        """What is open after a line."""
        depth, quote, at = self.depth, self.quote, 0
        while True:
            if quote:
                end = line.find(quote, at)
                if end < 0:
                    return _Inside(depth, quote)
                at, quote = end + 3, ""
            piece = _PIECE.search(line, at)
            if piece is None:
                return _Inside(depth, "", line.endswith("\\"))
            at = piece.end()
            quote = piece.group("long") or ""
            depth = max(0, depth + bool(piece.group("open")) - bool(piece.group("close")))
