"""One line a finding, as compilers write it."""

from __future__ import annotations

from relucheck.finding import Finding
from relucheck.report import View
from relucheck.report._text import COLOURS, one_line, painted, place_of, summary


def render(view: View) -> str:
    """``path:row:column: CODE severity: message``, then the summary."""
    lines = [_line(finding, view) for finding in view.findings]
    return "\n".join([*lines, summary(view.findings, view)]) + "\n"


def _line(finding: Finding, view: View) -> str:
    code = painted(f"{finding.code} {finding.severity.value}", view, COLOURS[finding.severity], bold=True)
    return (
        f"{painted(place_of(finding), view, bold=True)}: {code}: {one_line(finding.message)} [{finding.name}]"
    )
