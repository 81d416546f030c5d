"""Files with fixes made: every byte that no fix replaces is as it was."""

import codecs
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relucheck.finding import Drop, Fix, Insert, Safety, SetArg
from relucheck.source.edits import apply, splices_in
from relucheck.source.files import Document, from_bytes
from relucheck.source.patch import patched
from relucheck.source.splices import CannotEdit
from relucheck.span import Span

HEAD = "from torch import nn\n"
NET = HEAD + "net = nn.Sequential(\n    nn.Linear(3, 4),\n    nn.ReLU(),  # é\n    nn.Linear(4, 2),\n)\n"
RELU = (4, 5, 4, 14)
LAST = (5, 5, 5, 20)


def fixed(content, edit, place, path="m.py", cell=None):
    """The content after one edit at a place."""
    document = from_bytes(path, content)
    assert isinstance(document, Document)
    made = apply(document, [Fix("", Safety.SAFE, (edit(Span(path, cell, *place)),))])
    assert not made.refused, made.refused
    return patched(content, document, splices_in(made.applied))


def insert(span):
    return Insert(span, "nn.Tanh()")


@pytest.mark.parametrize(
    ("newline", "encoding"),
    [
        (n, e)
        for n in ("\n", "\r\n", "\r")
        for e in ("utf-8", "utf-8-sig", "latin-1")
        if (n, e) != ("\r", "latin-1")
    ],
)
def test_line_ends_and_encodings_stay(newline, encoding):
    head = f"# coding: {encoding.removesuffix('-sig')}\n"
    before, after = head + NET, head + NET.replace("    nn.ReLU(),  # é\n", "")
    place = (RELU[0] + 1, RELU[1], RELU[2] + 1, RELU[3])
    content = before.replace("\n", newline).encode(encoding)
    assert fixed(content, Drop, place) == after.replace("\n", newline).encode(encoding)


def test_a_mixed_file_stays_mixed():
    lines = NET.splitlines()
    content = "\r\n".join(lines[:4]) + "\n" + "\n".join(lines[4:]) + "\n"
    expected = content.replace("    nn.Linear(4, 2)", "    nn.Tanh(),\n    nn.Linear(4, 2)")
    assert fixed(content.encode(), insert, LAST) == expected.encode()


def test_a_byte_order_mark_stays():
    assert fixed(codecs.BOM_UTF8 + NET.encode(), Drop, RELU).startswith(codecs.BOM_UTF8 + b"from torch")


def test_a_file_that_changed_is_left_alone():
    document = from_bytes("m.py", NET.encode())
    with pytest.raises(CannotEdit, match="not what was read"):
        patched(b"other\n", document, ())


# ---------------------------------------------------------------- notebooks

CODE = NET.splitlines(keepends=True)


def notebook(source, **options):
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ['# Net ["x"]\n']},
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source},
        {"cell_type": "code", "execution_count": 3, "metadata": {"a": 1.50}, "outputs": [], "source": "net"},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, **options) + "\n"


LAYOUTS = [{"indent": 1, "ensure_ascii": False}, {"indent": 1}, {"indent": 4}, {}, {"separators": (",", ":")}]


@pytest.mark.parametrize("options", LAYOUTS)
@pytest.mark.parametrize("joined", [True, False])
def test_only_the_changed_lines_of_a_notebook_change(options, joined):
    def written(lines):
        return notebook("".join(lines) if joined else lines, **options).encode()

    dropped = CODE[:3] + CODE[4:]
    assert fixed(written(CODE), Drop, RELU, "n.ipynb", 2) == written(dropped)
    inserted = [*CODE[:4], "    nn.Tanh(),\n", *CODE[4:]]
    assert fixed(written(CODE), insert, LAST, "n.ipynb", 2) == written(inserted)


def test_spellings_in_a_notebook_that_no_fix_touches_stay():
    content = notebook(CODE, indent=1).replace("from torch", "from\\u0020torch").encode()
    assert b"from\\u0020torch" in fixed(content, Drop, RELU, "n.ipynb", 2)


def test_a_cell_with_magics_is_edited_around_them():
    lines = ["%matplotlib inline\n", *CODE, "!ls\n"]
    row, *rest = RELU
    result = fixed(
        notebook(lines, indent=1).encode(), Drop, (row + 1, rest[0], row + 1, rest[2]), "n.ipynb", 2
    )
    assert result == notebook([*lines[:4], *lines[5:]], indent=1).encode()


def test_a_last_statement_of_a_cell_goes():
    lines = [HEAD, "layers = []\n", "layers.append(nn.ReLU())"]
    content = notebook(lines, indent=1).encode()
    expected = notebook(lines[:2], indent=1).encode()
    assert fixed(content, Drop, (3, 15, 3, 24), "n.ipynb", 2) == expected


def test_a_notebook_keeps_its_mark_and_its_line_ends():
    content = codecs.BOM_UTF8 + notebook(CODE, indent=1).replace("\n", "\r\n").encode()
    expected = codecs.BOM_UTF8 + notebook(CODE[:3] + CODE[4:], indent=1).replace("\n", "\r\n").encode()
    assert fixed(content, Drop, RELU, "n.ipynb", 2) == expected


# --------------------------------------------------------------- everything

LINES = st.sampled_from(
    [
        "",
        "# é comment",
        "x = 'single' + \"double\"",
        "y = 1;z = 2",
        "s = '''\n  two\n'''",
        "if x:\n\ty = 2",
        "w = [1,\n 2,]",
    ]
)
TARGET = "act = nn.LeakyReLU(True)"


@settings(deadline=None)  # a test must not be timed
@given(
    before=st.lists(LINES, max_size=6),
    after=st.lists(LINES, max_size=6),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    ends=st.booleans(),
)
def test_what_no_fix_touches_stays(before, after, newline, encoding, ends):
    rows = [HEAD.rstrip("\n"), *before, TARGET, *after]
    text = "\n".join(rows) + "\n" * ends
    row = "\n".join(rows[: len(before) + 1]).count("\n") + 2
    start = TARGET.index("nn.") + 1
    content = text.replace("\n", newline).encode(encoding)
    result = fixed(
        content, lambda span: SetArg(span, "inplace", "True", 0), (row, start, row, len(TARGET) + 1)
    )
    assert result == content.replace(b"LeakyReLU(True)", b"LeakyReLU(inplace=True)")
