"""Findings as the language server protocol has them: diagnostics, edits of text, code actions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lsprotocol import types
from pygls.uris import from_fs_path

from relucheck.finding import Finding, Related, Safety, Severity
from relucheck.report import TextEdit, url
from relucheck.selection import UNUSED_SUPPRESSION
from relucheck.source.files import Document
from relucheck.source.notebook_json import code_cells
from relucheck.span import Span

SOURCE = "relucheck"

SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.ADVICE: types.DiagnosticSeverity.Information,
}

Units = Callable[[str], int]
"""How many units of the client's positions a text takes; of the protocol's own accord, UTF-16 ones."""


@dataclass(frozen=True, slots=True)
class Places:
    """The way from places in source text to those of the protocol.

    ``uris`` are the addresses of open files and cells as the client spells them, by path and cell.
    """

    documents: Mapping[str, Document]
    units: Units
    uris: Mapping[tuple[str, int | None], str]

    def range(self, span: Span) -> types.Range:
        """A span as rows and units from 0."""
        start = self._position(span, span.row, span.column)
        return types.Range(start, self._position(span, span.end_row, span.end_column))

    def _position(self, span: Span, row: int, column: int) -> types.Position:
        document = self.documents.get(span.path)
        line = (document.line(span.cell, row) if document else None) or ""
        return types.Position(row - 1, self.units(line[: column - 1]))

    def location(self, span: Span) -> types.Location:
        """A span with the address of its file."""
        return types.Location(self.uri(span), self.range(span))

    def uri(self, span: Span) -> str:
        """The address of a file, or of the cell of an open notebook."""
        known = self.uris.get((span.path, span.cell))
        return known or str(from_fs_path(os.path.abspath(span.path)))


def diagnostic(finding: Finding, places: Places) -> types.Diagnostic:
    """A finding as an editor shows it."""
    span = finding.span
    return types.Diagnostic(
        range=places.range(span) if span else _start(),
        message=f"{finding.message}\n{finding.help}" if finding.help else finding.message,
        severity=SEVERITIES[finding.severity],
        code=finding.code,
        code_description=types.CodeDescription(url(finding.name)),
        source=SOURCE,
        tags=[types.DiagnosticTag.Unnecessary] if finding.code == UNUSED_SUPPRESSION else None,
        related_information=[_related(related, places) for related in finding.related] or None,
    )


def _related(related: Related, places: Places) -> types.DiagnosticRelatedInformation:
    return types.DiagnosticRelatedInformation(places.location(related.span), related.message)


def failure(message: str) -> types.Diagnostic:
    """What kept a file from being judged, at its start."""
    return types.Diagnostic(_start(), message, severity=types.DiagnosticSeverity.Error, source=SOURCE)


def _start() -> types.Range:
    return types.Range(types.Position(0, 0), types.Position(0, 1))


def meets(one: types.Range, other: types.Range) -> bool:
    """Whether two ranges share a place; an empty one is the cursor, which may stand at the other's end."""
    return _order(one.start) <= _order(other.end) and _order(other.start) <= _order(one.end)


def _order(position: types.Position) -> tuple[int, int]:
    return position.line, position.character


def workspace_edit(edits: Iterable[TextEdit], places: Places) -> types.WorkspaceEdit:
    """Replacements of text as the client makes them."""
    changes: dict[str, list[types.TextEdit]] = {}
    for edit in edits:
        changed = types.TextEdit(places.range(edit.span), edit.content)
        changes.setdefault(places.uri(edit.span), []).append(changed)
    return types.WorkspaceEdit(changes=changes)


def quick_fixes(
    finding: Finding, fix: Sequence[TextEdit], ignore: Sequence[TextEdit], places: Places
) -> Iterator[types.CodeAction]:
    """What can be done about a finding: its fix, or a comment that suppresses it; empty edits are left out."""
    about = [diagnostic(finding, places)]
    if fix and finding.fix is not None:
        safe = finding.fix.safety is Safety.SAFE
        yield types.CodeAction(
            title=f"{finding.code}: {finding.fix.message}" + ("" if safe else " (changes what is computed)"),
            kind=types.CodeActionKind.QuickFix,
            diagnostics=about,
            is_preferred=True if safe else None,
            edit=workspace_edit(fix, places),
        )
    if ignore:
        yield types.CodeAction(
            title=f"{finding.code}: suppress {finding.name} on this line",
            kind=types.CodeActionKind.QuickFix,
            diagnostics=about,
            edit=workspace_edit(ignore, places),
        )


def fix_all(after: str, before: str, document: Document, places: Places) -> types.CodeAction:
    """The action that replaces a whole text, or each cell that changes, by what all safe fixes make of it.

    ``after`` and ``before`` are what the file would hold, a notebook's JSON included.
    """
    edits = [
        TextEdit(_whole(document, cell, old), new)
        for cell, old, new in _texts(after, before, document)
        if old != new
    ]
    return types.CodeAction(
        title="Fix all that can be fixed safely (relucheck)",
        kind=FIX_ALL,
        edit=workspace_edit(edits, places),
    )


def _texts(after: str, before: str, document: Document) -> Iterator[tuple[int | None, str, str]]:
    """The texts before and after, with the cells that they are of; fixes move no line into another cell."""
    if not document.notebook:
        yield None, document.text, after
        return
    for (cell, old), (_, new) in zip(code_cells(before), code_cells(after), strict=True):
        yield cell, old, new


def _whole(document: Document, cell: int | None, text: str) -> Span:
    lines = text.split("\n")
    return Span(document.path, cell, 1, 1, len(lines), len(lines[-1]) + 1)


FIX_ALL = f"{types.CodeActionKind.SourceFixAll.value}.{SOURCE}"
