"""Finding files, decoding them, joining notebooks, and places in them."""

import ast
import json
import os

import pytest

from relucheck.config import Settings
from relucheck.problems import Problem, SyntaxProblem
from relucheck.source.files import Document, discover, from_bytes, from_text, read
from relucheck.source.notebook import blank_magics
from relucheck.source.parse import parse
from relucheck.span import Span


def notebook(*cells, language="python"):
    made = [
        cell if isinstance(cell, dict) else {"cell_type": "code", "source": cell.splitlines(keepends=True)}
        for cell in cells
    ]
    return json.dumps({"cells": made, "metadata": {"language_info": {"name": language}}, "nbformat": 4})


def document(text, path="m.py"):
    made = from_text(path, text)
    assert isinstance(made, Document), made
    return made


def write(folder, *names, text="x = 1\n"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(folder, settings=None, *paths):
    discovery = discover(paths or (str(folder),), settings or Settings())
    return [os.path.relpath(path, folder).replace(os.sep, "/") for path in discovery.files]


# ---------------------------------------------------------------- discovery


def test_walk_takes_python_and_notebooks_in_order(tmp_path):
    write(tmp_path, "b.py", "a/z.ipynb", "a/c.py", "notes.md", "stub.pyi")
    assert found(tmp_path) == ["a/c.py", "a/z.ipynb", "b.py"]


def test_walk_skips_what_is_not_the_project(tmp_path):
    write(
        tmp_path, "m.py", ".hidden/a.py", "venv/a.py", "build/a.py", "node_modules/a.py", "__pycache__/a.py"
    )
    assert found(tmp_path) == ["m.py"]


def test_a_file_given_by_name_is_read_whatever_its_name_or_folder(tmp_path):
    write(tmp_path, "build/a.py", "script.txt")
    given = (str(tmp_path / "build/a.py"), str(tmp_path / "script.txt"))
    assert found(tmp_path, Settings(exclude=("*.py", "*.txt")), *given) == ["build/a.py", "script.txt"]


def test_a_default_name_above_the_given_folder_excludes_nothing(tmp_path):
    folder = tmp_path / "site-packages" / "pkg"
    write(folder, "m.py")
    assert found(folder) == ["m.py"]


def test_exclude_by_name_and_by_path(tmp_path):
    write(tmp_path, "a.py", "old/a.py", "models/legacy/a.py", "models/new/a.py", "models/x_gen.py")
    settings = Settings(extend_exclude=("old", "models/legacy", "*_gen.py"), root=str(tmp_path))
    assert found(tmp_path, settings) == ["a.py", "models/new/a.py"]


def test_gitignore_with_negation_in_a_nested_folder(tmp_path):
    write(tmp_path, "a.py", "out/b.py", "gen/c.py", "gen/keep.py")
    write(tmp_path, ".gitignore", text="/out/\ngen/*\n")
    write(tmp_path / "gen", ".gitignore", text="!keep.py\n")
    assert found(tmp_path) == ["a.py", "gen/keep.py"]
    assert "out/b.py" in found(tmp_path, Settings(respect_gitignore=False))


def test_gitignore_above_the_given_folder_holds_inside_a_repository(tmp_path):
    write(tmp_path, "pkg/a.py", "pkg/b_gen.py")
    write(tmp_path, ".gitignore", text="*_gen.py\n")
    (tmp_path / ".git").mkdir()
    assert found(tmp_path / "pkg") == ["a.py"]


def test_an_ignored_folder_that_is_asked_for_is_read(tmp_path):
    write(tmp_path, "out/b.py", "out/sub/c.py")
    write(tmp_path, ".gitignore", text="out/\n")
    (tmp_path / ".git").mkdir()
    assert found(tmp_path / "out") == ["b.py", "sub/c.py"]


def test_links_make_no_loop_and_no_double(tmp_path):
    write(tmp_path, "a.py")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b.py").symlink_to(tmp_path / "a.py")
    assert found(tmp_path) == ["a.py"]
    assert found(tmp_path, None, str(tmp_path), str(tmp_path / "a.py")) == ["a.py"]


def test_what_is_missing_is_fatal_and_what_is_empty_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    problems = discover([str(tmp_path / "none.py"), str(tmp_path / "empty")], Settings()).problems
    assert [(problem.fatal, problem.message) for problem in problems] == [
        (True, "no such file or folder"),
        (False, "holds no Python file or notebook to read"),
    ]


# ----------------------------------------------------------------- decoding


def test_byte_order_mark_and_line_ends():
    made = from_bytes("m.py", b"\xef\xbb\xbfa = 1\r\nb = 2\r\n")
    assert isinstance(made, Document)
    assert (made.text, made.encoding, made.newline) == ("a = 1\nb = 2\n", "utf-8-sig", "\r\n")


def test_declared_encoding():
    made = from_bytes("m.py", "# coding: latin-1\ns = 'é'\n".encode("latin-1"))
    assert isinstance(made, Document)
    assert made.lines[1] == "s = 'é'"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\ns = '\xe9'\n", "is not utf-8: byte 0xe9 in line 2"),
        (b"# coding: klingon\n", "cannot be decoded: unknown encoding: klingon"),
        (b"a = 1\n\0", "holds a NUL character in line 2"),
        (b"\xff\xfea\0", "is not utf-8"),
    ],
)
def test_undecodable_content_says_where_and_what_to_do(content, message):
    made = from_bytes("m.py", content)
    assert isinstance(made, Problem)
    assert made.fatal
    assert message in made.message


def test_empty_file_is_a_document():
    assert from_bytes("m.py", b"") == Document("m.py", "")
    assert ast.dump(parse(document(""))) == ast.dump(ast.parse(""))


def test_unreadable_file(tmp_path):
    made = read(str(tmp_path / "gone.py"))
    assert isinstance(made, Problem)
    assert "cannot be read" in made.message


@pytest.mark.parametrize(
    ("text", "relevant"),
    [
        ("import torch", True),
        ("net = nn.Sequential()", True),
        ("x = F.relu(x)", True),
        ("import pytorch_lightning as pl", True),
        ("print('hello')", False),
        ("PDF.render()", False),
    ],
)
def test_relevant(text, relevant):
    assert document(text).relevant is relevant


# ------------------------------------------------------------------- places


def test_columns_are_characters_and_end_exclusive():
    made = document("s = 'äöü'; net = f(x)\n")
    call = ast.parse(made.text).body[1].value
    span = made.span(call.lineno, call.col_offset, call.end_lineno, call.end_col_offset)
    assert span == Span("m.py", None, 1, 18, 1, 22)
    assert made.text[span.column - 1 : span.end_column - 1] == "f(x)"


def test_form_feed_is_no_line_end():
    made = document("a = 1\n\x0c\nb = f(x)\n")
    call = ast.parse(made.text).body[1].value
    span = made.span(call.lineno, call.col_offset, call.end_lineno, call.end_col_offset)
    assert made.line(None, span.row) == "b = f(x)"


def test_rows_of_a_notebook_count_in_their_cell():
    text = notebook(
        {"cell_type": "markdown", "source": "# hi"}, "a = 1\nb = 2", {"cell_type": "code"}, "c = 3"
    )
    made = document(text, "n.ipynb")
    assert made.text == "a = 1\nb = 2\n\nc = 3\n"
    assert made.span(2, 0, 2, 5) == Span("n.ipynb", 2, 2, 1, 2, 6)
    assert made.span(4, 0, 4, 5) == Span("n.ipynb", 4, 1, 1, 1, 6)
    assert made.line(4, 1) == "c = 3"
    assert made.line(2, 9) is None or made.line(2, 9) == ""


def test_a_notebook_of_another_language_is_empty():
    assert document(notebook("x <- 1", language="R"), "n.ipynb").text == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not an object"),
        ("{}", "no list of cells"),
        ('{"worksheets": []}', "nbconvert"),
    ],
)
def test_what_is_no_notebook(text, message):
    made = from_text("n.ipynb", text)
    assert isinstance(made, Problem)
    assert message in made.message


@pytest.mark.parametrize(
    ("cell", "blanked"),
    [
        ("a = 1\nb = a % 2", "a = 1\nb = a % 2"),
        ("%matplotlib inline\nx = 1", "pass\nx = 1"),
        ("if a:\n    %timeit f(x)\n    !ls", "if a:\n    pass\n    pass"),
        ("!pip install a \\\n  b\nx = 1", "pass\n\nx = 1"),
        ("?help\nx = 1\nnn.Linear??", "pass\nx = 1\npass"),
        ("files = !ls\nx = 1", "files = get_ipython()\nx = 1"),
        ("%%time\nnet = f(x)\n!ls", "pass\nnet = f(x)\npass"),
        ("%%bash\nls\npwd", "\n\n"),
        ("%%writefile m.py\nimport torch", "\n"),
        ("x = (a\n     % b)\n%time f()", "x = (a\n     % b)\npass"),
        ("s = '''\n!not shell\n'''\n!shell", "s = '''\n!not shell\n'''\npass"),
        ("s = '# ('  # '(\n%magic", "s = '# ('  # '(\npass"),
        ("a = 1 \\\n % 2\n%magic", "a = 1 \\\n % 2\npass"),
        ("x = 1  # really?", "x = 1  # really?"),
    ],
)
def test_magics_are_blanked_row_for_row(cell, blanked):
    assert blank_magics(cell) == blanked
    assert cell.count("\n") == blanked.count("\n")


# ------------------------------------------------------------------ parsing


def problem_of(text, path="m.py"):
    with pytest.raises(SyntaxProblem) as caught:
        parse(document(text, path))
    return caught.value


def test_a_syntax_error_has_its_place():
    problem = problem_of("a = 1\nb = (a\n")
    assert (problem.span.row, problem.span.column) == (2, 5)
    assert "never closed" in problem.message


def test_a_syntax_error_in_a_notebook_has_its_cell():
    problem = problem_of(notebook("a = 1", "b = = 2"), "n.ipynb")
    assert (problem.span.cell, problem.span.row) == (2, 1)


def test_indentation_and_end_of_file_have_places_inside_the_file():
    for text in ("if x:\n", "def f():\n  a\n b\n", "'''", "x = [", "\tx\n  y"):
        made = document(text)
        span = problem_of(text).span
        assert 1 <= span.row <= len(made.lines)
        assert (span.end_row, span.end_column) >= (span.row, span.column)


def test_syntax_of_a_newer_python_is_told_apart(monkeypatch):
    from relucheck.source import parse as module

    text = "x = 1 +\n"
    assert "which runs relucheck" not in problem_of(text).message
    monkeypatch.setattr(module, "_newer_syntax", lambda text: True)
    assert "run relucheck with the Python that the project uses" in problem_of(text).message


def test_deep_nesting_is_a_problem_and_no_crash():
    assert problem_of("(" * 5000 + ")" * 5000).message
    assert problem_of("-" * 100_000 + "1").message


def test_warnings_of_the_user_code_are_not_ours(recwarn):
    parse(document("s = '\\d'\nx = 1 is 1\n"))
    assert not recwarn.list
