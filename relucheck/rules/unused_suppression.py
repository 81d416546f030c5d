"""A suppression comment that suppresses nothing.

What it does:
Reports `# relucheck: ignore`, `# relucheck: ignore[...]`, `# relucheck: ignore-file` and
`# noqa: RLU...` where no rule finds anything at that place, selected or not, and codes that no rule
has. Codes of measured rules are left alone: reading the source cannot tell whether they are needed.

Why is this bad?
The comment outlives the mistake that it excused and will hide the next one.

Example:
    self.act = nn.GELU()  # relucheck: ignore[RLU202]

Use instead:
    self.act = nn.GELU()

Fix:
The safe fix removes the comment, or the codes in it that suppress nothing.

Silent on:
A bare `# noqa` and the codes of other tools; comments that list RLU001 themselves.

References:
https://docs.astral.sh/ruff/rules/unused-noqa/
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, Severity, Unlist
from relucheck.problems import UnusedSuppression

RULE = Rule("RLU001", "unused-suppression", Severity.WARNING, UnusedSuppression)


def check(comment: UnusedSuppression) -> Iterator[Finding]:
    """One finding for the comment."""
    yield RULE.at(
        comment.span,
        comment.message,
        help="remove it, or the codes that are not needed",
        fix=_fix(comment),
    )


def _fix(comment: UnusedSuppression) -> Fix | None:
    """A comment with empty brackets waits for a code that only a person knows."""
    if not comment.idle and not comment.whole:
        return None
    return Fix("Remove what suppresses nothing", Safety.SAFE, (Unlist(comment.span, comment.idle),))
