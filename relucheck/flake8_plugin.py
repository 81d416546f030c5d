"""The plugin for flake8: relucheck's findings among those of flake8, which selects and suppresses them too."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from relucheck.checked import Checker
from relucheck.config import Discovered
from relucheck.engine import known_rules, load_rules
from relucheck.finding import Finding
from relucheck.neighbours import from_disk
from relucheck.selection import SYNTAX_ERROR
from relucheck.version import __version__

Report = tuple[int, int, str, type]
"""A row from 1, a column from 0, a text that begins with its code, and the plugin."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One file as flake8 hands it over; what it imports is read from disk."""

    name: ClassVar[str] = "relucheck"
    version: ClassVar[str] = __version__

    tree: ast.Module
    filename: str
    lines: Sequence[str]

    def run(self) -> Iterator[Report]:
        """What flake8 shows: the findings, or what kept the file from being judged."""
        rules = load_rules()
        checker = Checker(rules, lambda: Discovered(known_rules(rules)), from_disk)
        checked = checker.check(os.path.abspath(self.filename), "".join(self.lines))
        for failure in checked.failures:
            yield 1, 0, f"{SYNTAX_ERROR} the file is not judged: {failure}", type(self)
        yield from map(_report, checked.result.findings)


def _report(finding: Finding) -> Report:
    row, column = (finding.span.row, finding.span.column - 1) if finding.span else (1, 0)
    return row, column, f"{finding.code} {finding.message} [{finding.name}]", Plugin
