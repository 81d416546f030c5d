"""``pytest --relucheck-lint``: every collected Python file is a test that fails on its findings.

All files are read together, as ``relucheck lint`` reads them: what a class is used for in one file
decides what is said about it in another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relucheck.finding import Finding, Severity

FAILING = Severity.WARNING
"""The severity from which a file fails, as in ``relucheck lint``."""


@dataclass(slots=True)
class Linting:
    """The plugin object of one run with ``--relucheck-lint``."""

    paths: list[Path] = field(default_factory=list)
    found: dict[str, list[Finding]] | None = None

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """A Python file as one test, beside the tests in it."""
        if file_path.suffix != ".py":
            return None
        self.paths.append(file_path)
        return LintFile.of(parent, file_path, self)

    def findings(self, path: Path) -> list[Finding]:
        """The findings of one file; the first call reads all files."""
        if self.found is None:
            from relucheck.api import findings_in

            self.found = {}
            for finding in findings_in(sorted(map(str, set(self.paths)))):
                if finding.span is not None:
                    self.found.setdefault(os.path.abspath(finding.span.path), []).append(finding)
        return self.found.get(str(path), [])


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
    """The test that a file has no finding."""

    def runtest(self) -> None:
        """Raises LintError where there are some."""
        assert isinstance(self.parent, LintFile)
        found = self.parent.linting.findings(self.path)
        failing = [finding for finding in found if finding.severity.rank >= FAILING.rank]
        if failing:
            raise LintError(failing)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The findings as text; a fault as pytest shows it."""
        if isinstance(excinfo.value, LintError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The heading of a failure."""
        return self.path, None, f"relucheck lint {self.path.name}"


class LintError(AssertionError):
    """What was found in one file, one line each."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(_line, findings)))


def _line(finding: Finding) -> str:
    return f"{finding.span}: {finding.code} {finding.severity.value}: {finding.message}"
