"""Suppression comments written for findings: one a line, added to what stands there."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relucheck.finding import Finding
from relucheck.selection import SYNTAX_ERROR, UNUSED_SUPPRESSION
from relucheck.source.splices import Rows, Splice

if TYPE_CHECKING:
    from relucheck.source.files import Document

_LISTED = re.compile(r"#\s*relucheck\s*:\s*ignore\s*\[[^\]]*(?=\])")
_POINTLESS = frozenset({SYNTAX_ERROR, UNUSED_SUPPRESSION})


@dataclass(frozen=True, slots=True)
class Ignores:
    """The comments that suppress findings in one file, and the findings that no line can hold one for."""

    splices: tuple[Splice, ...] = ()
    added: int = 0
    unplaced: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a text that a comment can end, and the comments that end some."""

    free: set[int] = field(default_factory=set)
    comments: dict[int, tuple[int, str]] = field(default_factory=dict)


def ignores(document: Document, findings: Iterable[Finding], reason: str) -> Ignores:
    """The comments that suppress these findings of one file."""
    rows = _rows_of(document.text)
    codes: dict[int, set[str]] = {}
    unplaced: list[Finding] = []
    for finding in findings:
        row = _row_for(finding, document, rows)
        if row is None:
            unplaced.append(finding)
        else:
            codes.setdefault(row, set()).add(finding.code)
    added = sum(map(len, codes.values()))
    return Ignores(tuple(_splices(document, codes, rows, reason)), added, tuple(unplaced))


def _rows_of(text: str) -> _Rows:
    """Rows inside strings, and those that a backslash continues, end with no token of their own."""
    rows = _Rows()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NEWLINE, tokenize.NL):
                rows.free.add(token.start[0])
            elif token.type == tokenize.COMMENT:
                rows.comments[token.start[0]] = (token.start[1], token.string)
    except (tokenize.TokenError, SyntaxError):
        pass  # what could not be read to the end holds no finding there
    return rows


def _row_for(finding: Finding, document: Document, rows: _Rows) -> int | None:
    """The row of the module text whose end can hold a comment that speaks about a finding."""
    span = finding.span
    if span is None or finding.code in _POINTLESS:
        return None
    before = next((c.first_row - 1 for c in document.cells if c.position == span.cell), 0)
    return next((row + before for row in (span.row, span.end_row) if row + before in rows.free), None)


def _splices(document: Document, codes: Mapping[int, set[str]], rows: _Rows, reason: str) -> Iterable[Splice]:
    places = Rows.of(document.lines)
    for row, new in sorted(codes.items()):
        listed = ", ".join(sorted(new))
        column, comment = rows.comments.get(row, (0, ""))
        match = _LISTED.search(comment)
        if match:
            at = places.offset(row, column + match.end())
            yield Splice(at, at, f", {listed}")
        else:
            line = document.lines[row - 1]
            text = f"  # relucheck: ignore[{listed}]" + (f" {reason}" if reason else "")
            yield Splice(places.offset(row, len(line.rstrip())), places.offset(row, len(line)), text)
