"""What a fix changes, as the lines before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from itertools import groupby

from relucheck.finding import Finding
from relucheck.report import TextEdit, View


def fix_lines(finding: Finding, view: View) -> list[str]:
    """The lines that a finding's fix takes out and puts in, marked as in a diff."""
    edits = sorted(view.edits(finding), key=lambda edit: edit.span.sort_key)
    pages = groupby(edits, key=lambda edit: (edit.span.path, edit.span.cell))
    return [line for (path, cell), group in pages for line in _page(path, cell, tuple(group), view)]


def _page(path: str, cell: int | None, edits: Sequence[TextEdit], view: View) -> Iterator[str]:
    first, last = edits[0].span.row, max(edit.span.end_row for edit in edits)
    before = [view.read_line(path, cell, row) or "" for row in range(first, last + 1)]
    after = _edited(before, edits, first)
    for line in unified_diff(before, after, n=0, lineterm=""):
        if line[0] in "+-" and not line.startswith(("+++", "---")):
            yield f"{line[0]} {line[1:]}"


def _edited(lines: Sequence[str], edits: Sequence[TextEdit], first: int) -> list[str]:
    """The lines, of which ``first`` is the number of the first, with edits made from the last one on."""
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    text = "\n".join(lines)
    for edit in reversed(edits):
        start = starts[edit.span.row - first] + edit.span.column - 1
        end = starts[edit.span.end_row - first] + edit.span.end_column - 1
        text = text[:start] + edit.content + text[end:]
    return text.split("\n")
