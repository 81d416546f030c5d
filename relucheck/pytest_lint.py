"""``pytest --relucheck-lint``: every collected Python file is a test that fails on its findings.

All files are read together, as ``relucheck lint`` reads them: what a class is used for in one file
decides what is said about it in another.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relucheck.finding import Finding
from relucheck.paths import place
from relucheck.problems import UsageProblem

_EVERYWHERE = ""
"""The path of what keeps every file from being judged."""


@dataclass(slots=True)
class Linting:
    """The plugin object of one run with ``--relucheck-lint``."""

    paths: list[Path] = field(default_factory=list)
    said: Mapping[str, Sequence[str]] | None = None

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """A Python file as one test, beside the tests in it."""
        if file_path.suffix != ".py":
            return None
        self.paths.append(file_path)
        return LintFile.of(parent, file_path, self)

    def complaints(self, path: Path) -> list[str]:
        """What is wrong with one file, a line each; the first call reads all files.

        Raises UsageProblem where the settings cannot be followed.
        """
        if self.said is None:
            self.said = _complaints(sorted(map(str, set(self.paths))))
        return [*self.said.get(str(path), ()), *self.said.get(_EVERYWHERE, ())]


def _complaints(paths: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """By file: what fails as it would fail ``relucheck lint``, and what kept it from being judged."""
    from relucheck.config import Discovered
    from relucheck.engine import failing, known_rules, lint_paths, load_rules

    rules = load_rules()
    configuration = Discovered(known_rules(rules))
    result = lint_paths(paths, configuration, rules)
    said: defaultdict[str, list[str]] = defaultdict(list)
    for problem in result.problems:
        if problem.fatal:
            said[os.path.abspath(problem.path)].append(str(problem))
    for crash in result.crashes:
        where = os.path.abspath(crash.path) if crash.path else _EVERYWHERE
        said[where].append(f"internal error: {crash.message}")
    for finding in result.findings:
        if finding.span is not None and failing([finding], configuration):
            said[os.path.abspath(finding.span.path)].append(_line(finding))
    return said


class LintFile(pytest.File):
    """One source file."""

    linting: Linting

    @classmethod
    def of(cls, parent: pytest.Collector, path: Path, linting: Linting) -> LintFile:
        """The file's node under its folder's."""
        node: LintFile = cls.from_parent(parent, path=path)
        node.linting = linting
        return node

    def collect(self) -> Iterator[pytest.Item]:
        """One test."""
        yield LintItem.from_parent(self, name="relucheck-lint")


class LintItem(pytest.Item):
    """The test that a file can be judged and has no finding."""

    def runtest(self) -> None:
        """Raises LintError where it is not so."""
        assert isinstance(self.parent, LintFile)
        complaints = self.parent.linting.complaints(self.path)
        if complaints:
            raise LintError("\n".join(complaints))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was found as text; a fault as pytest shows it."""
        if isinstance(excinfo.value, LintError | UsageProblem):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The heading of a failure."""
        return self.path, None, f"relucheck lint {self.path.name}"


class LintError(AssertionError):
    """What was found in one file, one line each."""


def _line(finding: Finding) -> str:
    return f"{place(finding.span)}{finding.code} {finding.severity.value}: {finding.message}"
