"""Workflow commands that GitHub turns into annotations of a pull request."""

from __future__ import annotations

from relucheck.finding import Finding, Severity
from relucheck.report import View

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.ADVICE: "notice"}


def render(view: View) -> str:
    """One ``::error file=...::message`` line for each finding."""
    return "".join(_line(finding) + "\n" for finding in view.findings)


def _line(finding: Finding) -> str:
    fields = {"title": f"relucheck ({finding.code})", **_place(finding)}
    properties = ",".join(f"{name}={_property(value)}" for name, value in fields.items())
    where = f"{finding.span}: " if finding.span else ""
    text = f"{where}{finding.code} {finding.message} [{finding.name}]"
    return f"::{_COMMANDS[finding.severity]} {properties}::{_data(text)}"


def _place(finding: Finding) -> dict[str, str]:
    """The properties of a place; GitHub wants columns only where a span lies in one row.

    Rows of a notebook's cell are no rows of its file, so an annotation of a notebook names the file.
    """
    span = finding.span
    if span is None:
        return {}
    if span.cell is not None:
        return {"file": span.path}
    rows = {"file": span.path, "line": str(span.row), "endLine": str(span.end_row)}
    if span.row != span.end_row:
        return rows
    return {**rows, "col": str(span.column), "endColumn": str(span.end_column)}


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
