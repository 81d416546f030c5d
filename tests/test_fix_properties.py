"""Fixing commutes with all that is around a mistake: what no fix replaces stays byte for byte."""

import ast
import json
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relucheck.engine import lint_documents
from relucheck.fixing import fix
from relucheck.source.files import from_bytes
from tests.test_fix_examples import ALL, FIXABLE, PAGES, RULES, block

NAMES = tuple(name for name in FIXABLE if "```python" in PAGES[name])


def lint(documents):
    return lint_documents(documents, ALL, RULES)


def fixed(path, content):
    """The content after all fixes, and the results before and after them."""
    before = lint([from_bytes(path, content)])
    result = fix(before, lint, lambda _: content, unsafe=True)
    return result.contents.get(path, content), before, result


@cache
def plain(name):
    """The example of a rule, before and after its fixes, as LF and UTF-8 have it."""
    text = block(PAGES[name], "Example")
    return text, fixed("m.py", text.encode())[0].decode()


AROUND = (
    "",
    "# café: 'single' and \"double\"  \n",
    "x_ = 'it''s'  ;  y_ = \"it's\"\n\n\n\n",
    '"""nn.ReLU()\n\tF.relu(x)\n"""\n',
    "def  odd ( a,b ) :\n\treturn a  # \x0c tab\n",
    "values_ = [\n  1,2 ,\n  # nn.Softmax(dim=1)\n]\n",
)
"""Statements and comments that no fix has anything to do with, laid out as nobody would format them."""


ENCODED = [(n, e) for n in ("\n", "\r\n", "\r") for e in ("utf-8", "utf-8-sig", "latin-1")]
ENCODED.remove(("\r", "latin-1"))  # Python itself looks for the encoding in the first line, up to a line feed


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    around=st.tuples(st.sampled_from(AROUND), st.sampled_from(AROUND)),
    encoded=st.sampled_from(ENCODED),
    last=st.booleans(),
)
@example("softmax-before-cross-entropy", AROUND[1:3], ("\r\n", "utf-8-sig"), False)
def test_in_a_file(name, around, encoded, last):
    mistaken, right = plain(name)
    newline, encoding = encoded
    head = f"# coding: {encoding.removesuffix('-sig')}\n"

    def written(text):
        whole = head + around[0] + text + around[1]
        return (whole if last else whole.rstrip("\n")).replace("\n", newline).encode(encoding)

    content, linted, result = fixed("m.py", written(mistaken))
    assert content == written(right)
    check(name, linted, result)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    around=st.tuples(st.sampled_from(AROUND), st.sampled_from(AROUND)),
    layout=st.fixed_dictionaries(
        {
            "indent": st.sampled_from([None, 1, 2, "\t"]),
            "ensure_ascii": st.booleans(),
            "sort_keys": st.booleans(),
        }
    ),
    joined=st.booleans(),
)
def test_in_a_notebook(name, around, layout, joined):
    mistaken, right = plain(name)

    def written(text):
        sources = ("# Überschrift nn.ReLU()", around[0] + "%matplotlib inline\n", text, around[1])
        cells = [
            {
                "metadata": {},
                "cell_type": "code" if number else "markdown",
                "outputs": [{"text": "nn.ReLU()\u2028"}],
                "source": source.rstrip("\n") if joined else source.rstrip("\n").splitlines(keepends=True),
            }
            for number, source in enumerate(sources)
        ]
        return (json.dumps({"nbformat": 4, "cells": cells}, **layout) + "\n").encode()

    content, linted, result = fixed("n.ipynb", written(mistaken))
    assert content == written(right)
    check(name, linted, result)


def check(name, before, result):
    """The finding is gone, none is new, and the text is Python."""
    (document,) = result.lint.documents.values()
    ast.parse(document.text)
    assert name in {finding.name for finding in result.fixed}
    known = [finding.name for finding in (*before.findings, *before.silent)]
    for finding in result.lint.findings:
        assert finding.name in known
        known.remove(finding.name)
    assert not [f for f in result.lint.findings if f.name == name and f.fix]


@pytest.mark.parametrize("name", NAMES)
def test_comments_behind_and_between_the_lines_stay(name):
    """Every line gets a comment; only those on lines that a fix takes out may go with them."""
    mistaken, right = plain(name)
    marked = "".join(
        f"{line}  # {number}\n" if line.strip() else f"# {number}\n"
        for number, line in enumerate(mistaken.splitlines())
    )
    content, _, result = fixed("m.py", marked.encode())
    assert name in {finding.name for finding in result.fixed}
    assert ast.dump(ast.parse(content)) == ast.dump(ast.parse(right))
    lost = sum(f"# {number}\n" not in content.decode() for number in range(len(mistaken.splitlines())))
    assert lost <= max(0, len(mistaken.splitlines()) - len(right.splitlines()))
