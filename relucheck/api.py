"""``relucheck.lint``: the command line's ``lint`` for Python programs."""

from __future__ import annotations

from collections.abc import Sequence

from relucheck.config import Discovered
from relucheck.engine import known_rules, lint_paths, load_rules
from relucheck.finding import Finding


class LintError(Exception):
    """Files that could not be read or judged; the message names each."""


def findings_in(paths: Sequence[str]) -> list[Finding]:
    """The findings in files and folders; LintError where any could not be read or judged."""
    rules = load_rules()
    result = lint_paths(paths or ["."], Discovered(known_rules(rules)), rules)
    failures = [str(problem) for problem in result.problems if problem.fatal]
    failures += [f"{crash.path}: internal error: {crash.message}" for crash in result.crashes]
    if failures:
        raise LintError("\n".join(failures))
    return list(result.findings)
