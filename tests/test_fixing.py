"""The fix loop, with a rule of three lines: what is applied, what waits, and what is taken back."""

import re

import pytest

from relucheck.engine import LintResult
from relucheck.finding import Drop, Finding, Fix, Rule, Safety, SetArg, Severity
from relucheck.fixing import fix, objection
from relucheck.net import Net
from relucheck.source.files import from_text

RULE = Rule("RLU202", "double-activation", Severity.WARNING, Net)
OTHER = Rule("RLU101", "relu-output", Severity.WARNING, Net)
HEAD = "import torch.nn.functional as F\n"


def spans(document, pattern):
    for match in re.finditer(pattern, document.text):
        row = document.text.count("\n", 0, match.start()) + 1
        start = match.start() - (document.text.rfind("\n", 0, match.start()) + 1)
        yield document.place(row, start, row, start + len(match.group()))


def finding(rule, span, edit, safety=Safety.SAFE):
    return rule.at(span, f"{rule.name} here", fix=Fix("remove it", safety, (edit,)))


def linted(documents, *checks):
    documents = tuple(documents)
    found = [f for document in documents for check in checks for f in check(document)]
    return LintResult(tuple(found), documents={d.path: d for d in documents})


def run(texts, *checks, unsafe=False):
    """The result of fixing files that hold these texts."""
    documents = [from_text(path, text) for path, text in texts.items()]
    lint = lambda these: linted(these, *checks)  # noqa: E731
    return fix(lint(documents), lint, lambda path: texts[path].encode(), unsafe=unsafe)


def relu(document):
    """Every call of relu is to be dropped, also those inside others."""
    patterns = (r"F\.relu\(\w+\)", r"F\.relu\(F\.relu\(\w+\)\)", r"F\.relu\(F\.relu\(F\.relu\(\w+\)\)\)")
    return [finding(RULE, span, Drop(span)) for pattern in patterns for span in spans(document, pattern)]


def test_nested_mistakes_are_fixed_in_rounds():
    result = run({"m.py": HEAD + "y = F.relu(F.relu(F.relu(x)))\n"}, relu)
    assert result.contents == {"m.py": (HEAD + "y = x\n").encode()}
    assert (len(result.fixed), result.lint.findings, result.rejected) == (3, (), ())


def test_several_files_and_lines_in_one_round():
    texts = {
        "a.py": HEAD + "y = F.relu(x)\nz = F.relu(x)\n",
        "b.py": HEAD + "y = F.relu(x)\n",
        "c.py": "x = 1\n",
    }
    rounds = []

    def counting(document):
        rounds.append(document.path)
        return relu(document)

    result = run(texts, counting)
    assert sorted(result.contents) == ["a.py", "b.py"]
    assert len(rounds) == 6


def test_unsafe_fixes_are_made_when_asked_for():
    def unsafe(document):
        return [finding(RULE, s, Drop(s), Safety.UNSAFE) for s in spans(document, r"F\.relu\(\w+\)")]

    texts = {"m.py": HEAD + "y = F.relu(x)\n"}
    assert run(texts, unsafe).contents == {}
    assert list(run(texts, unsafe, unsafe=True).contents) == ["m.py"]


def test_a_fix_that_leaves_its_finding_is_taken_back():
    def stubborn(document):
        return [finding(RULE, s, SetArg(s, "inplace", "True")) for s in spans(document, r"F\.relu\(.*\)")]

    result = run({"m.py": HEAD + "y = F.relu(x)\n"}, stubborn)
    assert result.contents == {}
    assert [r.reason for r in result.rejected] == ["RLU202 would stay"]
    assert len(result.lint.findings) == 1


def causes_another(document):
    return [OTHER.at(s, "a bare x") for s in spans(document, r"= x$")] or [
        OTHER.at(s, "a bare x") for s in spans(document, r"= x\n")
    ]


def test_a_fix_that_causes_a_finding_is_taken_back_and_the_others_are_made():
    text = HEAD + "a = F.relu(p)\nb = F.relu(x)\nc = F.relu(q)\n"
    result = run({"m.py": text}, relu, causes_another)
    assert result.contents["m.py"].decode() == HEAD + "a = p\nb = F.relu(x)\nc = q\n"
    assert [r.reason for r in result.rejected] == ["the result would have a new RLU101 in m.py"]
    assert [r.finding.span.row for r in result.rejected] == [3]


def test_what_another_finding_kept_silent_is_not_new():
    one = from_text("m.py", "x = 1\n").place(1, 0, 1, 1)
    cause, consequence = RULE.at(one, "cause"), OTHER.at(one, "consequence")
    before = LintResult((cause,), silent=(consequence,))
    assert objection(before, LintResult((consequence,)), [cause]) == ""
    assert "new RLU101" in objection(LintResult((cause,)), LintResult((consequence,)), [cause])


def test_a_fix_without_room_is_said():
    def misplaced(document):
        return [finding(RULE, s, Drop(s)) for s in spans(document, r"ReLU\(\)")]

    result = run({"m.py": "act = ReLU()\n"}, misplaced)
    assert [r.reason for r in result.rejected] == ["it does not stand in a list of layers"]


def test_a_file_that_changed_meanwhile_is_left_alone():
    documents = [from_text("m.py", HEAD + "y = F.relu(x)\n")]
    lint = lambda these: linted(these, relu)  # noqa: E731
    result = fix(lint(documents), lint, lambda path: b"other\n", unsafe=False)
    assert (result.contents, [r.reason for r in result.rejected]) == ({}, ["the file is not what was read"])


def test_a_file_that_is_gone_is_left_alone():
    def gone(path):
        raise FileNotFoundError(path)

    documents = [from_text("m.py", HEAD + "y = F.relu(x)\n")]
    lint = lambda these: linted(these, relu)  # noqa: E731
    assert fix(lint(documents), lint, gone, unsafe=False).contents == {}


def test_fixing_ends_even_where_fixes_undo_each_other():
    def flips(document):
        for s in spans(document, r"f\(a=\d\)"):
            value = "2" if "a=1" in document.text else "1"
            yield Finding(
                "RLU202", "x", Severity.WARNING, value, s, fix=Fix("", Safety.SAFE, (SetArg(s, "a", value),))
            )

    result = run({"m.py": "y = f(a=1)\n"}, flips)
    assert result.contents == {}


@pytest.mark.parametrize("path", ["m.py", "n.ipynb"])
def test_line_ends_survive(path):
    import json

    text = HEAD + "y = F.relu(x)\n"
    cells = {"cells": [{"cell_type": "code", "source": text}]}
    content = json.dumps(cells) if path == "n.ipynb" else text.replace("\n", "\r\n")
    result = run({path: content}, relu)
    assert result.contents[path] == content.replace("F.relu(x)", "x").encode()
