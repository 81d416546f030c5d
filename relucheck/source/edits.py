"""Fixes carried out: from intents on the network to replacements of text, and the text they give.

The places are found with libcst; what is not replaced stays as it is, character for character.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relucheck.finding import Fix
from relucheck.source.cst import tree_of
from relucheck.source.files import Document
from relucheck.source.imports import imports_of
from relucheck.source.rewrites import rewrite
from relucheck.source.splices import CannotEdit, Rows, Splice, consistent, spliced
from relucheck.source.subjects import Source
from relucheck.span import Span


@dataclass(frozen=True, slots=True)
class Replacement:
    """The text at ``span`` becomes ``content``."""

    span: Span
    content: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A fix that was not carried out, and why; ``later``: another one came first in its place."""

    fix: Fix
    reason: str
    later: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A fix and the replacements that carry it out; ``tidy`` are those that may be needed as well."""

    fix: Fix
    splices: tuple[Splice, ...]
    tidy: tuple[Splice, ...] = ()

    @property
    def tidied(self) -> Planned:
        """The fix with all that it can take out."""
        return Planned(self.fix, (*self.splices, *self.tidy))


@dataclass(frozen=True, slots=True)
class Edited:
    """A document's text with fixes made: those that are in it, and those that are not."""

    text: str
    applied: tuple[Planned, ...] = ()
    refused: tuple[Refused, ...] = ()


def apply(document: Document, fixes: Iterable[Fix]) -> Edited:
    """The document with its fixes; where two meet, the first in reading order is made."""
    planned, refused = plan(document, fixes)
    chosen, later = _compatible(planned)
    if not _parses(spliced(document.text, splices_in(chosen))):
        chosen, broken = _parsing(document, chosen)
        refused += broken
    return Edited(spliced(document.text, splices_in(chosen)), tuple(chosen), (*refused, *later))


def plan(document: Document, fixes: Iterable[Fix]) -> tuple[list[Planned], list[Refused]]:
    """Each fix alone: its replacements in reading order, and those that the text has no room for."""
    planned: list[Planned] = []
    refused: list[Refused] = []
    fixes = tuple(fixes)
    try:
        source = Source(tree_of(document), imports_of(document.text)) if fixes else None
    except CannotEdit as problem:
        return [], [Refused(fix, str(problem)) for fix in fixes]
    for fix in fixes:
        assert source is not None
        try:
            planned.append(Planned(fix, splices := _splices(fix, source), _tidy(fix, source, splices)))
        except CannotEdit as problem:
            refused.append(Refused(fix, str(problem)))
    planned.sort(key=lambda p: [(s.start, s.end) for s in p.splices])
    return planned, refused


def _splices(fix: Fix, source: Source) -> tuple[Splice, ...]:
    """The replacements of one fix."""
    if any(edit.span.path != source.tree.document.path for edit in fix.edits):
        raise CannotEdit("it would change another file as well")
    splices = tuple(dict.fromkeys(splice for edit in fix.edits for splice in rewrite(edit, source)))
    if not splices or not consistent(splices):
        raise CannotEdit("its parts are in each other's way")
    return splices


def _tidy(fix: Fix, source: Source, splices: tuple[Splice, ...]) -> tuple[Splice, ...]:
    """The replacements that take out what nothing reads after a fix; none where there is no room for them."""
    try:
        more = tuple(splice for edit in fix.tidy for splice in rewrite(edit, source))
    except CannotEdit:
        return ()
    return more if consistent((*splices, *more)) else ()


def _compatible(planned: Iterable[Planned]) -> tuple[list[Planned], list[Refused]]:
    """The fixes that do not meet an earlier one, and the others, which wait."""
    chosen: list[Planned] = []
    later: list[Refused] = []
    for one in planned:
        taken = splices_in(chosen)
        if any(mine.touches(other) for mine in one.splices for other in taken):
            later.append(Refused(one.fix, "another fix changes the same place", later=True))
        else:
            chosen.append(one)
    return chosen, later


def splices_in(planned: Iterable[Planned]) -> list[Splice]:
    """The replacements of all these fixes."""
    return [splice for one in planned for splice in one.splices]


def _parsing(document: Document, planned: Sequence[Planned]) -> tuple[list[Planned], list[Refused]]:
    """The fixes after which the text is still Python, and the others."""
    chosen: list[Planned] = []
    broken: list[Refused] = []
    for one in planned:
        if _parses(spliced(document.text, splices_in([*chosen, one]))):
            chosen.append(one)
        else:
            broken.append(Refused(one.fix, "the file would not be Python any more"))
    return chosen, broken


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def replacements(document: Document, planned: Iterable[Planned]) -> tuple[Replacement, ...]:
    """The replacements of fixes, with places as reports give them."""
    rows = Rows.of(document.lines)
    splices = sorted(splices_in(planned), key=lambda s: (s.start, s.end))
    return tuple(Replacement(_span(document, rows, splice), splice.text) for splice in splices)


def _span(document: Document, rows: Rows, splice: Splice) -> Span:
    return document.place(*rows.place(splice.start), *rows.place(splice.end))
