"""All findings as one JSON list."""

from __future__ import annotations

import json

from relucheck.report import View
from relucheck.report._record import record


def render(view: View) -> str:
    """The list, indented."""
    return json.dumps([record(finding, view) for finding in view.findings], indent=2) + "\n"
