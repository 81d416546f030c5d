"""GitLab's Code Quality report."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from relucheck.finding import Finding, Severity
from relucheck.report import View

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.ADVICE: "info"}


def render(view: View) -> str:
    """A JSON list with a fingerprint for each finding."""
    return json.dumps(list(_issues(view.findings)), indent=2) + "\n"


def _issues(findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for finding in findings:
        path = finding.span.path.replace(os.sep, "/") if finding.span else ""
        # no row in it: an edit further up must not make an old issue a new one
        identity = f"{finding.code}\n{path}\n{finding.layer}\n{finding.message}"
        number = seen[identity] = seen.get(identity, -1) + 1
        yield {
            "description": f"{finding.code}: {finding.message}",
            "check_name": finding.name,
            "fingerprint": hashlib.sha256(f"{identity}\n{number}".encode("utf-8", "replace")).hexdigest(),
            "severity": _SEVERITIES[finding.severity],
            "location": {"path": path, "positions": _positions(finding)},
        }


def _positions(finding: Finding) -> dict[str, dict[str, int]]:
    """Where a finding begins and ends; row 1 where a row of the file is not known."""
    span = finding.span
    if span is None or span.cell is not None:
        return {"begin": {"line": 1, "column": 1}, "end": {"line": 1, "column": 1}}
    return {
        "begin": {"line": span.row, "column": span.column},
        "end": {"line": span.end_row, "column": span.end_column},
    }
