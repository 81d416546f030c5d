"""The long tail: code as people write it, in documents, with the findings that it must and must not give.

``# error: CODE`` ends a line where a finding is expected, ``# or: CODE`` a line that is equally right for
it. A block without markers is clean: nothing in it deserves an error or a warning. The first lines of a
block may be directives: ``# file: net.py`` (the blocks of one heading form a project), ``# select: ALL``
(advice of the rule that the document is about counts too) and ``# xfail: reason``.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from relucheck.config import Settings
from relucheck.engine import load_rules, run_rules
from relucheck.finding import Finding, Severity
from relucheck.selection import ALL
from relucheck.source.files import Document, from_text
from relucheck.source.project import read_project

RULES = load_rules()
DOCUMENTS = sorted((Path(__file__).parent / "cases").glob("*.md"))
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"# (file|select|xfail): (.+)")
MARKER = re.compile(r"# (error|or): (RLU\d{3})")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, and the rule that speaks there."""

    path: str
    row: int
    code: str


@dataclass(frozen=True, slots=True)
class Case:
    """The files under one heading, or one block that names no file."""

    name: str
    rule: str
    files: tuple[tuple[str, str], ...]

    def directive(self, word: str) -> str | None:
        """What the first directive of this kind says, if any block has one."""
        found = (value for _, text in self.files for key, value in directives(text) if key == word)
        return next(found, None)

    def marked(self, kind: str) -> list[Place]:
        """The places that carry a marker of this kind."""
        return [
            Place(path, row, code)
            for path, text in self.files
            for row, line in enumerate(text.splitlines(), 1)
            for word, code in MARKER.findall(line)
            if word == kind
        ]


def directives(text: str) -> Iterator[tuple[str, str]]:
    """The directives that a block begins with."""
    for line in text.splitlines():
        match = DIRECTIVE.fullmatch(line)
        if match is None:
            return
        yield match.group(1), match.group(2)


def cases() -> Iterator[Case]:
    """Every case of every document."""
    for document in DOCUMENTS:
        parts = HEADING.split(document.read_text(encoding="utf-8"))
        for heading, text in zip(parts[1::2], parts[2::2], strict=True):
            yield from cases_under(document.stem, heading, CODE.findall(text))


def cases_under(rule: str, heading: str, blocks: list[str]) -> Iterator[Case]:
    """The project that the blocks under a heading form, or each block that stands alone."""
    files = [(dict(directives(block)).get("file"), block) for block in blocks]
    project = tuple((path, block) for path, block in files if path)
    if project:
        yield Case(f"{rule}: {heading}", rule, project)
    for path, block in files:
        if path is None:
            yield Case(f"{rule}: {heading}", rule, (("case.py", block),))


def findings_in(case: Case) -> list[Finding]:
    """What the rules say about a case, as its selection shows it."""
    documents = [from_text(path, text) for path, text in case.files]
    modules = [(d, ast.parse(d.text)) for d in documents if isinstance(d, Document)]
    outcome = run_rules(
        read_project(modules), RULES, configuration=Settings(select=(ALL,) if advised(case) else ())
    )
    assert outcome.crashes == ()
    return [f for f in outcome.findings if f.severity is not Severity.ADVICE or f.name == case.rule]


def advised(case: Case) -> bool:
    return case.directive("select") == ALL


def mismatch(case: Case, findings: list[Finding]) -> list[str]:
    """What the findings lack and what they have too much, in words."""
    found = Counter(Place(f.span.path, f.span.row, f.code) for f in findings if f.span)
    others = case.marked("or")
    allowed = {*case.marked("error"), *others}
    wrong = [f"not expected: {place}" for place in found if place not in allowed]
    for place in case.marked("error"):
        rights = [place, *(other for other in others if other.code == place.code)]
        met = next((right for right in rights if found[right] > 0), None)
        if met is None:
            wrong.append(f"missing: {place}")
        else:
            found[met] -= 1
    return wrong


def report(case: Case, findings: list[Finding], wrong: list[str]) -> str:
    """The mismatch, the numbered code and the findings."""
    said = [f"{f.span}: {f.code} {f.severity.value}: {f.message}" for f in findings]
    code = [
        f"{path}:{row}: {line}" for path, text in case.files for row, line in enumerate(text.splitlines(), 1)
    ]
    return "\n".join(["", *wrong, "", *said, "", *code])


def parameters() -> Iterator[object]:
    for case in cases():
        reason = case.directive("xfail")
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        yield pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", list(parameters()))
def test_the_findings_are_the_marked_ones(case: Case) -> None:
    findings = findings_in(case)
    wrong = mismatch(case, findings)
    assert not wrong, report(case, findings, wrong)


def test_every_document_is_about_a_rule_and_has_bad_and_clean_cases() -> None:
    names = {module.rule.name for module in RULES}
    for document in DOCUMENTS:
        own = [case for case in cases() if case.rule == document.stem]
        assert document.stem in names
        assert sum(bool(case.marked("error")) for case in own) >= 3, document.stem
        assert sum(not case.marked("error") for case in own) >= 3, document.stem
