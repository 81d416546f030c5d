"""JUnit's XML: a suite a file, a failed case a finding."""

from __future__ import annotations

import os
import re
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from relucheck.finding import Finding
from relucheck.report import View

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(view: View) -> str:
    """The document; one passed case where nothing is found, since some readers refuse none."""
    groups = groupby(view.findings, key=lambda f: f.span.path if f.span else "relucheck")
    suites = [_suite(path, [_case(finding) for finding in group]) for path, group in groups]
    if not suites:
        suites = [_suite("relucheck", ['<testcase name="No mistakes found" classname="relucheck"/>'], 0)]
    total = len(view.findings)
    head = f'<testsuites name="relucheck" tests="{max(total, 1)}" failures="{total}" errors="0">'
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', head, *suites, "</testsuites>"]) + "\n"


def _suite(name: str, cases: list[str], failures: int | None = None) -> str:
    failed = len(cases) if failures is None else failures
    counts = f'tests="{len(cases)}" failures="{failed}" errors="0" skipped="0"'
    lines = [
        f"  <testsuite name={_attribute(name)} {counts}>",
        *(f"    {c}" for c in cases),
        "  </testsuite>",
    ]
    return "\n".join(lines)


def _case(finding: Finding) -> str:
    span = finding.span
    classname = os.path.splitext(span.path)[0] if span else finding.layer or "relucheck"
    place = f' file={_attribute(span.path)} line="{span.row}" column="{span.column}"' if span else ""
    where = f"{span}: " if span else ""
    return (
        f"<testcase name={_attribute(f'{finding.code} {finding.name}')} "
        f"classname={_attribute(classname)}{place}>"
        f'<failure message={_attribute(finding.message)} type="{finding.severity.value}">'
        f"{escape(_clean(where + finding.message))}</failure></testcase>"
    )


def _clean(text: str) -> str:
    """A text without the characters that XML has no way to write."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))
