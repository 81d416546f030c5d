"""What the formats for people share: colours, source excerpts and the closing line."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import click

from relucheck.finding import Finding, Severity
from relucheck.report import View
from relucheck.span import Span

COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.ADVICE: "cyan"}


def painted(text: str, view: View, colour: str | None = None, *, bold: bool = False) -> str:
    """A text in a colour, where the view has colours."""
    return click.style(text, fg=colour, bold=bold) if view.colour else text


def place_of(finding: Finding) -> str:
    """Where a finding is, as ``path:cell 2:row:column``; the layer where no line is known."""
    if finding.span is not None:
        return printable(str(finding.span))
    return f"layer {finding.layer}" if finding.layer else "(no source line)"


def printable(text: str) -> str:
    """A text that cannot steer the terminal: control characters are replaced."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


def one_line(text: str) -> str:
    """A text in one line, for formats of one line a finding."""
    return printable(" ".join(text.split()))


def expanded(line: str, column: int) -> tuple[str, int]:
    """A source line as printed, and the width of what stands before a column (from 1)."""
    before = _visible(line[: column - 1])
    return _visible(line), sum(_width(character) for character in before)


def _visible(text: str) -> str:
    return printable(text.replace("\t", "    "))


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def underline(line: str, span: Span) -> tuple[int, int]:
    """The indentation and the length of the marks under a span's first row."""
    end = span.end_column if span.end_row == span.row else len(line.rstrip()) + 1
    start = expanded(line, span.column)[1]
    return start, max(1, expanded(line, end)[1] - start)


def summary(findings: Sequence[Finding], view: View) -> str:
    """The closing lines: how much was found of each severity, in how many files, and what the view adds."""
    if not findings and view.partial:
        return "No mistakes found in what could be read."
    if not findings:
        return painted("No mistakes found.", view, "green")
    counts = Counter(finding.severity for finding in findings)
    parts = [_counted(counts[s], s.value) for s in sorted(counts, key=lambda s: -s.rank)]
    files = {finding.span.path for finding in findings if finding.span}
    where = f" in {_counted(len(files), 'file')}" if files else ""
    found = f"Found {_joined(parts)}{where}."
    return f"{found}\n{view.closing}" if view.closing else found


def _counted(number: int, word: str) -> str:
    plural = word if word == "advice" or number == 1 else f"{word}s"
    return f"{number} {plural}"


def _joined(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
