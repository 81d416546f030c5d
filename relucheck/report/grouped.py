"""Findings under the name of their file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from relucheck.finding import Finding
from relucheck.report import View
from relucheck.report._text import COLOURS, one_line, painted, place_of, printable, summary


def render(view: View) -> str:
    """A block a file, with places in a column, then the summary."""
    groups = groupby(view.findings, key=lambda f: f.span.path if f.span else "")
    blocks = [_block(path, tuple(findings), view) for path, findings in groups]
    return "\n".join([*blocks, summary(view.findings, view)]) + "\n"


def _block(path: str, findings: Sequence[Finding], view: View) -> str:
    places = [_place(finding) for finding in findings]
    width = max(map(len, places))
    lines = [_line(f, place.rjust(width), view) for f, place in zip(findings, places, strict=True)]
    title = painted(printable(path) or "(no source line)", view, bold=True)
    return "\n".join([f"{title}:", *lines, ""])


def _place(finding: Finding) -> str:
    span = finding.span
    return place_of(finding) if span is None else place_of(finding)[len(printable(span.path)) + 1 :]


def _line(finding: Finding, place: str, view: View) -> str:
    code = painted(f"{finding.code} {finding.severity.value}", view, COLOURS[finding.severity])
    return f"  {place} {code}: {one_line(finding.message)} [{finding.name}]"
