"""Which lines git says have changed, and the findings that are about them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from relucheck.engine import LintResult
from relucheck.finding import Finding
from relucheck.problems import UsageProblem
from relucheck.span import Span

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Changes:
    """The changed rows of each file, by its real path; None for a file that is new as a whole."""

    rows: Mapping[str, tuple[range, ...] | None] = field(default_factory=dict)

    def touch(self, finding: Finding) -> bool:
        """Whether a finding, or a place that proves it, is on a changed line."""
        spans = (finding.span, *(related.span for related in finding.related))
        return any(span is not None and self._holds(span) for span in spans)

    def _holds(self, span: Span) -> bool:
        """Whether a place is changed; in a changed notebook, whose rows git does not see, every place is."""
        path = os.path.realpath(span.path)
        if path not in self.rows:
            return False
        ranges = self.rows[path]
        if ranges is None or span.cell is not None:
            return True
        return any(span.row < changed.stop and changed.start <= span.end_row for changed in ranges)


def unchanged(result: LintResult, changes: Changes) -> tuple[Finding, ...]:
    """The findings that are about unchanged lines only."""
    return tuple(finding for finding in result.findings if not changes.touch(finding))


def changes_since(base: str | None) -> Changes:
    """What differs from a commit, in the working tree: from HEAD, or from where HEAD left ``base``."""
    root = _git("rev-parse", "--show-toplevel").rstrip("\n")
    start = "HEAD" if base is None else _git("merge-base", "--", base, "HEAD").strip()
    options = (
        "--unified=0",
        "--no-color",
        "--no-ext-diff",
        "--no-renames",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    )
    files = _names(_git("diff", "--name-only", "-z", "--no-renames", "--diff-filter=d", start))
    rows = {
        _real(root, file): _changed_rows(_git("diff", *options, start, "--", f":(top,literal){file}"))
        for file in files
    }
    new = _names(_git("ls-files", "-z", "--others", "--exclude-standard", "--full-name", "--", ":/"))
    return Changes({**rows, **{_real(root, file): None for file in new}})


def _names(output: str) -> Iterable[str]:
    return (name for name in output.split("\0") if name)


def _real(root: str, file: str) -> str:
    return os.path.realpath(os.path.join(root, file))


def _changed_rows(diff: str) -> tuple[range, ...]:
    """The rows that a diff without context adds or changes."""
    starts = ((int(start), int(count or 1)) for start, count in _HUNK.findall(diff))
    return tuple(range(start, start + count) for start, count in starts if count)


def _git(*arguments: str) -> str:
    command = ("git", "-c", "core.quotePath=false", *arguments)
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except OSError:
        raise UsageProblem("--changed-only: needs git, which is not installed") from None
    except subprocess.CalledProcessError as error:
        said = os.fsdecode(error.stderr).strip().partition("\n")[0]
        raise UsageProblem(f"--changed-only: git {arguments[0]} failed: {said}") from None
    return os.fsdecode(done.stdout)
