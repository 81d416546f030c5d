"""Findings with the source they are about: the place to change, the places that prove it, the help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from relucheck.finding import Finding
from relucheck.report import View, url
from relucheck.report._fix import fix_lines
from relucheck.report._text import COLOURS, expanded, painted, place_of, printable, summary, underline
from relucheck.span import Span


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place to underline, with what to say there; the primary one has carets."""

    span: Span
    text: str
    primary: bool

    @property
    def page(self) -> tuple[str, int | None]:
        """What rows are counted in: a file, or a cell of one."""
        return self.span.path, self.span.cell


def render(view: View) -> str:
    """A block a finding, then the summary."""
    blocks = [_block(finding, view) for finding in view.findings]
    return "\n".join([*blocks, summary(view.findings, view)]) + "\n"


def _block(finding: Finding, view: View) -> str:
    marks = _marks(finding)
    width = max((len(str(mark.span.row + 1)) for mark in marks), default=1)
    gutter = painted(" " * width + " |", view, "blue")
    lines = [_title(finding, view)]
    if not marks:
        lines.append(f"{' ' * width}{painted('-->', view, 'blue')} {place_of(finding)}")
    for number, (_, group) in enumerate(groupby(marks, key=lambda mark: mark.page)):
        lines += _page(tuple(group), width, gutter, view, arrow="-->" if number == 0 else ":::")
    lines += [gutter] if marks else []
    if finding.help:
        lines.append(_footer("help", finding.help, width, view))
    fix = fix_lines(finding, view)
    if fix and finding.fix:
        shown = (painted(printable(line), view, "red" if line.startswith("-") else "green") for line in fix)
        lines.append(_footer("fix", "\n".join([f"{finding.fix.message}:", *shown]), width, view))
    lines.append(_footer("see", url(finding.name), width, view))
    return "\n".join(lines) + "\n"


def _title(finding: Finding, view: View) -> str:
    code = painted(f"{finding.severity.value}[{finding.code}]", view, COLOURS[finding.severity], bold=True)
    return f"{code} {finding.name}: {painted(finding.message, view, bold=True)}"


def _footer(word: str, text: str, width: int, view: View) -> str:
    continued = text.replace("\n", "\n" + " " * (width + 3))
    return f"{' ' * width} {painted('=', view, 'blue')} {painted(word, view, bold=True)}: {continued}"


def _marks(finding: Finding) -> tuple[_Mark, ...]:
    """The places of a finding, those in its own file first, in reading order inside each file."""
    if finding.span is None:
        own: tuple[_Mark, ...] = ()
    else:
        own = (_Mark(finding.span, "", primary=True),)
    marks = own + tuple(_Mark(r.span, r.message, primary=False) for r in finding.related)
    first = marks[0].page if marks else None
    return tuple(sorted(marks, key=lambda m: (m.page != first, m.span.sort_key, not m.primary)))


def _page(marks: Sequence[_Mark], width: int, gutter: str, view: View, arrow: str) -> Iterator[str]:
    """The excerpt of one file: where it is, then the marked rows with gaps where rows are left out."""
    place = next((mark.span for mark in marks if mark.primary), marks[0].span)
    yield f"{' ' * width}{painted(arrow, view, 'blue')} {printable(str(place))}"
    yield gutter
    previous = None
    for row in _rows(marks, view):
        line = view.read_line(place.path, place.cell, row)
        here = [mark for mark in marks if mark.span.row == row]
        if line is None:
            yield from (f"{gutter} {mark.text}" for mark in here if mark.text)
            continue
        if previous is not None and row > previous + 1:
            yield painted("." * width + "...", view, "blue")
        yield f"{painted(f'{row:>{width}} |', view, 'blue')} {expanded(line, 1)[0]}".rstrip()
        yield from (_underlined(line, mark, gutter, view) for mark in here)
        previous = row


def _rows(marks: Iterable[_Mark], view: View) -> list[int]:
    """The rows to show: the marked ones, and the neighbours of the primary one."""
    rows = {mark.span.row for mark in marks}
    for mark in marks:
        if mark.primary:
            rows |= {row for row in (mark.span.row - 1, mark.span.row + 1) if _has_text(mark.span, row, view)}
    return sorted(rows)


def _has_text(span: Span, row: int, view: View) -> bool:
    return bool((view.read_line(span.path, span.cell, row) or "").strip()) if row > 0 else False


def _underlined(line: str, mark: _Mark, gutter: str, view: View) -> str:
    start, length = underline(line, mark.span)
    sign, colour = ("^", "red") if mark.primary else ("-", "blue")
    text = f"{sign * length} {mark.text}".rstrip()
    return f"{gutter} {' ' * start}{painted(text, view, colour, bold=mark.primary)}"
