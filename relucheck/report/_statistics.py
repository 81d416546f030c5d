"""How often each rule found something."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from relucheck.finding import Finding


def _counted(findings: Sequence[Finding]) -> list[tuple[tuple[str, str, str], int]]:
    """Code, name and severity with their counts, the most frequent first."""
    counts = Counter((f.code, f.name, f.severity.value) for f in findings)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def as_text(findings: Sequence[Finding]) -> str:
    """A line a rule: count, code, severity, name."""
    counted = _counted(findings)
    width = max((len(str(count)) for _, count in counted), default=0)
    return "".join(
        f"{count:>{width}}  {code}  {severity:7}  {name}\n" for (code, name, severity), count in counted
    )


def as_json(findings: Sequence[Finding]) -> str:
    """A JSON list of objects with code, name, severity and count."""
    rows = [
        {"code": code, "name": name, "severity": severity, "count": count}
        for (code, name, severity), count in _counted(findings)
    ]
    return json.dumps(rows, indent=2) + "\n"
