"""Suppression comments: ``# relucheck: ignore[...]``, ``# noqa: RLU...`` and ``ignore-file``."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relucheck.finding import Finding
from relucheck.problems import UnusedSuppression
from relucheck.selection import UNUSED_SUPPRESSION, Known, canonical, specificity
from relucheck.span import Span

if TYPE_CHECKING:
    from relucheck.source.files import Document

_MARKER = re.compile(r"relucheck\s*:|noqa", re.IGNORECASE)
_OURS = re.compile(r"#\s*relucheck\s*:\s*ignore(?P<file>-file)?(?![\w-])\s*(?:\[(?P<codes>[^\]]*)\])?")
_NOQA = re.compile(
    r"#\s*noqa(?![\w-])(?P<colon>\s*:\s*(?P<codes>[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*)?)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Suppression:
    """One suppression comment.

    ``row`` is the row of its cell that it speaks about, None for the whole file. ``codes`` are its
    selectors; with ``everything``, it speaks about every rule. ``judged``: it is reported where
    nothing needs it (a bare ``# noqa`` may be meant for other tools).
    """

    span: Span
    row: int | None
    codes: tuple[str, ...]
    everything: bool
    judged: bool

    def reaches(self, finding: Finding) -> bool:
        """Whether the comment stands where it speaks about a finding's place."""
        place = finding.span
        if place is None or place.path != self.span.path:
            return False
        if self.row is None:
            return True
        return place.cell == self.span.cell and self.row in (place.row, place.end_row)

    def needed(self, finding: Finding) -> tuple[str, ...]:
        """The codes of the comment that name a finding's rule."""
        return tuple(c for c in self.codes if specificity(c, finding.code, finding.name) >= 0)

    def hides(self, finding: Finding) -> bool:
        """Whether the comment suppresses a finding."""
        return self.reaches(finding) and (self.everything or bool(self.needed(finding)))


def suppressions(document: Document) -> tuple[Suppression, ...]:
    """The suppression comments of a document; the marker words in strings are none."""
    if not _MARKER.search(document.text):
        return ()
    return tuple(
        found for row, column, text in _comments(document) for found in _read(document, row, column, text)
    )


def _comments(document: Document) -> Iterator[tuple[int, int, str]]:
    """The row, column and text of each comment that holds a marker word."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(document.text).readline):
            if token.type == tokenize.COMMENT and _MARKER.search(token.string):
                yield (*token.start, token.string)
    except (tokenize.TokenError, SyntaxError):
        return  # the text is not Python from here on; that is reported elsewhere


def _read(document: Document, row: int, column: int, comment: str) -> Iterator[Suppression]:
    """The suppressions in one comment; there may be one of ours beside a noqa."""
    for pattern in (_OURS, _NOQA):
        match = pattern.search(comment)
        if match is None:
            continue
        span = document.place(row, column + match.start(), row, column + match.end())
        if pattern is _OURS:
            yield _ours(document, row, span, match)
        else:
            yield from _noqa(span, match)


def _ours(document: Document, row: int, span: Span, match: re.Match[str]) -> Suppression:
    listed = match.group("codes")
    target = None if match.group("file") else span.row + _rows_ahead(document, row)
    codes = tuple(canonical(code) for code in re.split(r"[,\s]+", listed or "") if code)
    return Suppression(span, target, codes, everything=listed is None, judged=True)


def _rows_ahead(document: Document, row: int) -> int:
    """How many rows ahead the code is that a comment on a row of its own speaks about."""
    following = document.lines[row - 1 :]
    if not following[0].lstrip().startswith("#"):
        return 0
    is_code = (bool(line.strip()) and not line.lstrip().startswith("#") for line in following)
    return next((ahead for ahead, found in enumerate(is_code) if found), 0)


def _noqa(span: Span, match: re.Match[str]) -> Iterator[Suppression]:
    listed = match.group("codes")
    if match.group("colon") is None:
        yield Suppression(span, span.row, (), everything=True, judged=False)
    elif listed is not None:
        codes = tuple(c.upper() for c in re.split(r"[,\s]+", listed) if c.upper().startswith("RLU"))
        if codes:  # the codes of other tools are theirs
            yield Suppression(span, span.row, codes, everything=False, judged=True)


def unused(
    comments: Iterable[Suppression], findings: Sequence[Finding], known: Known, measured: frozenset[str]
) -> Iterator[UnusedSuppression]:
    """The comments, or codes in them, that no finding needs.

    ``findings`` are all findings, shown or not. ``measured`` holds the codes that only real passes
    report, about which a reading of the source says nothing.
    """
    for comment in comments:
        if comment.judged and UNUSED_SUPPRESSION not in comment.codes:
            reached = [finding for finding in findings if comment.reaches(finding)]
            idle = _idle(comment, reached, measured)
            message = _complaint(comment, reached, idle, known)
            if message:
                yield UnusedSuppression(comment.span, message, idle, comment.everything)


def _idle(comment: Suppression, reached: Sequence[Finding], measured: frozenset[str]) -> tuple[str, ...]:
    """The codes of a comment that no finding at its place needs."""
    needed = {code for finding in reached for code in comment.needed(finding)}
    return tuple(c for c in comment.codes if c not in needed and not _may_be_measured(c, measured))


def _complaint(comment: Suppression, reached: Sequence[Finding], idle: Sequence[str], known: Known) -> str:
    """What is wrong with a comment, given the findings at its place; empty where nothing is."""
    if comment.everything:
        return "" if reached else "this comment suppresses nothing"
    if not comment.codes:
        return "this comment names no rule; write the code in the brackets"
    if not idle:
        return ""
    strange = [code for code in idle if code not in known]
    if strange:
        return f"no rule is called {', '.join(strange)}"
    return f"{', '.join(idle)} {'suppresses' if len(idle) == 1 else 'suppress'} nothing here"


def _may_be_measured(selector: str, measured: frozenset[str]) -> bool:
    return any(specificity(selector, code, "") >= 0 for code in measured)
