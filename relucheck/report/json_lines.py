"""One JSON object a line for each finding."""

from __future__ import annotations

import json

from relucheck.report import View
from relucheck.report._record import record


def render(view: View) -> str:
    """The lines; nothing at all where nothing is found."""
    return "".join(json.dumps(record(finding, view)) + "\n" for finding in view.findings)
