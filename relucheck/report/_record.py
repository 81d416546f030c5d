"""A finding as a JSON object, in ruff's schema with a name, a severity and related places."""

from __future__ import annotations

from typing import Any

from relucheck.finding import Finding
from relucheck.report import TextEdit, View, absolute, url
from relucheck.span import Span


def record(finding: Finding, view: View) -> dict[str, Any]:
    """The JSON object of one finding; places are null where a measured finding has none."""
    span = finding.span
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "message": finding.message,
        "help": finding.help or None,
        "filename": absolute(span.path) if span else None,
        "cell": span.cell if span else None,
        "location": _start(span),
        "end_location": _end(span),
        "layer": finding.layer or None,
        "related": [
            {
                "filename": absolute(related.span.path),
                "cell": related.span.cell,
                "location": _start(related.span),
                "end_location": _end(related.span),
                "message": related.message,
            }
            for related in finding.related
        ],
        "fix": _fix(finding, view),
        "noqa_row": _noqa_row(span, view),
        "url": url(finding.name),
    }


def _start(span: Span | None) -> dict[str, int] | None:
    return None if span is None else {"row": span.row, "column": span.column}


def _end(span: Span | None) -> dict[str, int] | None:
    return None if span is None else {"row": span.end_row, "column": span.end_column}


def _fix(finding: Finding, view: View) -> dict[str, Any] | None:
    edits = view.edits(finding) if finding.fix else ()
    if finding.fix is None or not edits:
        return None
    return {
        "applicability": finding.fix.safety.value,
        "message": finding.fix.message,
        "edits": [_edit(edit) for edit in edits],
    }


def _edit(edit: TextEdit) -> dict[str, Any]:
    return {
        "filename": absolute(edit.span.path),
        "content": edit.content,
        "location": _start(edit.span),
        "end_location": _end(edit.span),
    }


def _noqa_row(span: Span | None, view: View) -> int | None:
    """The row for a suppression comment: the first, or the last where the first cannot hold one."""
    if span is None:
        return None
    line = view.read_line(span.path, span.cell, span.row) or ""
    return span.end_row if line.endswith("\\") else span.row
