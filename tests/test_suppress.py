"""Suppression comments: which there are, what they reach, which are reported as unused."""

import json

import pytest

from relucheck.finding import Finding, Severity
from relucheck.selection import Known
from relucheck.source.files import from_text
from relucheck.span import Span
from relucheck.suppress import suppressions, unused

KNOWN = Known(
    frozenset({"RLU000", "RLU001", "RLU201", "RLU202", "RLU601"}),
    frozenset({"linear-stack", "double-activation", "dead-units", "syntax-error", "unused-suppression"}),
)
NAMES = {"RLU201": "linear-stack", "RLU202": "double-activation"}


def finding(code, row, end_row=None, path="m.py", cell=None):
    span = Span(path, cell, row, 1, end_row or row, 5)
    return Finding(code, NAMES[code], Severity.WARNING, "m", span)


def comments(text, path="m.py"):
    return suppressions(from_text(path, text))


def hidden(text, *findings):
    found = comments(text)
    return [any(comment.hides(f) for comment in found) for f in findings]


def complaints(text, *findings):
    return [u.message for u in unused(comments(text), findings, KNOWN, frozenset({"RLU601"}))]


@pytest.mark.parametrize(
    "comment",
    [
        "# relucheck: ignore[RLU201] on purpose",
        "# relucheck: ignore[linear-stack]",
        "# relucheck:ignore[RLU202, RLU201]",
        "# relucheck: ignore[RLU2]",
        "# relucheck: ignore",
        "# relucheck: ignore because it is a test",
        "# noqa: RLU201",
        "# noqa:RLU201",
        "# NOQA: E501, RLU201",
        "# noqa: E501 RLU201",
        "# noqa",
        "# type: ignore  # noqa: RLU201",
        "# type: ignore  # relucheck: ignore[RLU201]",
    ],
)
def test_comments_that_hide(comment):
    assert hidden(f"x = f()  {comment}\n", finding("RLU201", 1)) == [True]


@pytest.mark.parametrize(
    "comment",
    [
        "# relucheck: ignore[RLU202]",
        "# relucheck: ignore[]",
        "# relucheck: ignored",
        "# noqa: E501",
        "# noqa: see the paper",
        "# noqa-ish",
        "# the word noqa alone",
        "# flake8: noqa",
        "# nothing",
    ],
)
def test_comments_that_do_not_hide(comment):
    assert hidden(f"x = f()  {comment}\n", finding("RLU201", 1)) == [False]


def test_a_string_is_no_comment():
    assert comments("x = '# relucheck: ignore'\ny = '''\n# noqa\n'''\n") == ()


def test_only_the_first_and_the_last_row_of_an_expression_count():
    text = "x = f(  # noqa: RLU201\n  1,\n  2,\n)\n"
    assert hidden(text, finding("RLU201", 1, 4)) == [True]
    text = "x = f(\n  1,  # noqa: RLU201\n  2,\n)\n"
    assert hidden(text, finding("RLU201", 1, 4)) == [False]
    text = "x = f(\n  1,\n  2,\n)  # noqa: RLU201\n"
    assert hidden(text, finding("RLU201", 1, 4)) == [True]


def test_a_comment_on_its_own_row_speaks_about_the_next_row_of_code():
    text = "# relucheck: ignore[RLU201] a long reason\n# that goes on\n\nx = f()\ny = f()\n"
    assert hidden(text, finding("RLU201", 4), finding("RLU201", 5)) == [True, False]


def test_ignore_file():
    text = "# relucheck: ignore-file\nx = 1\ny = 2\n"
    assert hidden(text, finding("RLU201", 3), finding("RLU202", 2)) == [True, True]
    text = "# relucheck: ignore-file[RLU201]\nx = 1\ny = 2\n"
    assert hidden(text, finding("RLU201", 3), finding("RLU202", 2)) == [True, False]
    assert hidden(text, finding("RLU201", 3, path="other.py")) == [False]


def test_comments_before_a_syntax_error_count():
    assert hidden("x = f()  # noqa\ny = (\n", finding("RLU201", 1)) == [True]


def test_a_comment_in_a_notebook_reaches_its_own_cell():
    cells = [{"cell_type": "code", "source": f"a = 1\nb = 2{end}"} for end in ("", "  # noqa: RLU201")]
    text = json.dumps({"cells": cells})
    (comment,) = comments(text, "n.ipynb")
    assert (comment.span.cell, comment.row) == (2, 2)
    assert comment.hides(finding("RLU201", 2, path="n.ipynb", cell=2))
    assert not comment.hides(finding("RLU201", 2, path="n.ipynb", cell=1))


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("# relucheck: ignore", "this comment suppresses nothing"),
        ("# relucheck: ignore-file", "this comment suppresses nothing"),
        ("# relucheck: ignore[]", "this comment names no rule; write the code in the brackets"),
        ("# relucheck: ignore[RLU202]", "RLU202 suppresses nothing here"),
        ("# relucheck: ignore[RLU202, linear-stack]", "RLU202, linear-stack suppress nothing here"),
        ("# relucheck: ignore[RLU999]", "no rule is called RLU999"),
        ("# noqa: E501, RLU202", "RLU202 suppresses nothing here"),
    ],
)
def test_unused_comments_are_reported(comment, message):
    assert complaints(f"x = f()  {comment}\n") == [message]


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# noqa: E501",
        "# relucheck: ignore[RLU601] only a real pass can tell",
        "# relucheck: ignore[RLU202, RLU001]",
        "# nothing about relucheck: here",
    ],
)
def test_comments_that_are_not_judged(comment):
    assert complaints(f"x = f()  {comment}\n") == []


def test_a_needed_comment_is_not_reported_and_its_idle_codes_are():
    text = "x = f()  # relucheck: ignore[RLU201, RLU202]\n"
    assert complaints(text, finding("RLU201", 1), finding("RLU202", 1)) == []
    assert complaints(text, finding("RLU201", 1)) == ["RLU202 suppresses nothing here"]
