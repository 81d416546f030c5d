"""Text that Python's parser does not take.

What it does:
Reports a file, or a notebook's code cells, that cannot be parsed, at the place where the parser
gave up. The other files are still read.

Why is this bad?
A file that is not parsed is not checked either.

Example:
    loss = criterion(model(x), y

Use instead:
    loss = criterion(model(x), y)

Silent on:
IPython's magics, shell lines and help requests in notebooks, which are no Python but meant so.

References:
https://docs.python.org/3/reference/grammar.html
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.problems import SyntaxProblem

RULE = Rule("RLU000", "syntax-error", Severity.ERROR, SyntaxProblem)


def check(problem: SyntaxProblem) -> Iterator[Finding]:
    """One finding for the problem, at its place."""
    yield RULE.at(problem.span, problem.message)
