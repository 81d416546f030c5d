"""Every rule's page is true: its examples are linted, and say exactly what they say they say."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import pytest

from relucheck.engine import load_rules, run_rules
from relucheck.finding import Finding, RuleModule, Severity
from relucheck.net import ModuleClass, Net
from relucheck.source.files import Document, from_text
from relucheck.source.project import read_project

RULES = tuple(module for module in load_rules() if module.rule.subject in (Net, ModuleClass))
HEADINGS = ("What it does", "Why is this bad?", "Example", "Use instead", "Silent on", "References")
WITH_FIX = (*HEADINGS[:4], "Fix", *HEADINGS[4:])
MARKER = re.compile(r"#\s*(RLU\d{3})")


@dataclass(frozen=True, slots=True)
class Block:
    """One code block of a rule's page."""

    module: RuleModule
    heading: str
    code: str

    @property
    def id(self) -> str:
        return f"{self.module.rule.name}:{self.heading}"

    @property
    def expected(self) -> list[int]:
        """The rows that are marked with the rule's code."""
        rows = enumerate(self.code.splitlines(), 1)
        return [
            row
            for row, line in rows
            if MARKER.search(line) and MARKER.search(line).group(1) == self.module.rule.code
        ]  # type: ignore[union-attr]


def sections(page: str) -> dict[str, str]:
    """The parts of a page by heading."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks() -> list[Block]:
    """All Python blocks of all pages."""
    found = []
    for module in RULES:
        for heading, text in sections(module.page).items():
            code = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
            found += [Block(module, heading, block) for block in code]
    return found


def findings_in(code: str) -> list[Finding]:
    """Everything that any rule says about some code, advice included."""
    document = from_text("example.py", code)
    assert isinstance(document, Document)
    reading = read_project([(document, ast.parse(code))])
    assert reading.crashes == ()
    raw = [
        f
        for s in (*reading.nets, *reading.classes)
        for m in RULES
        if isinstance(s, m.rule.subject)
        for f in m.check(s)
    ]
    settled = run_rules(reading, RULES).findings
    shown = {(f.code, f.span) for f in settled}
    return [f for f in raw if (f.code, f.span) in shown or f.severity is Severity.ADVICE]


@pytest.mark.parametrize("module", RULES, ids=lambda m: m.rule.name)
def test_every_page_has_its_headings_and_examples(module: RuleModule) -> None:
    parts = sections(module.page)
    assert tuple(parts) in (HEADINGS, WITH_FIX)
    assert module.page.splitlines()[0].endswith(".")
    assert "```python" in parts["Example"]
    assert "```python" in parts["Use instead"]


@pytest.mark.parametrize("block", [b for b in blocks() if b.heading == "Example"], ids=lambda b: b.id)
def test_the_example_gives_the_marked_findings_and_no_other_alarm(block: Block) -> None:
    findings = findings_in(block.code)
    mine = sorted({f.span.row for f in findings if f.code == block.module.rule.code and f.span is not None})
    assert block.expected, "the example marks no line"
    assert mine == block.expected
    others = [f for f in findings if f.code != block.module.rule.code and f.severity is not Severity.ADVICE]
    assert others == []


@pytest.mark.parametrize(
    "block", [b for b in blocks() if b.heading in ("Use instead", "Silent on")], ids=lambda b: b.id
)
def test_what_is_right_gives_no_alarm(block: Block) -> None:
    findings = findings_in(block.code)
    assert [
        f.message for f in findings if f.code == block.module.rule.code and f.severity is not Severity.ADVICE
    ] == []
    assert [f.message for f in findings if f.severity is not Severity.ADVICE] == []
    if block.module.rule.severity is Severity.ADVICE:
        assert [f.message for f in findings if f.code == block.module.rule.code] == []


def test_codes_and_names_are_distinct() -> None:
    rules = [module.rule for module in load_rules()]
    assert len({rule.code for rule in rules}) == len(rules)
    assert len({rule.name for rule in rules}) == len(rules)
    assert all(rule.name.replace("-", "_") == module for rule, module in zip(rules, _modules(), strict=True))


def _modules() -> list[str]:
    return [m.check.__module__.rpartition(".")[2] for m in load_rules()]
