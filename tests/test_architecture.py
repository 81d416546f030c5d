"""The shape of the code: which part may import which, and that nothing swallows the rest."""

import ast
from pathlib import Path

import pytest

import relucheck

ROOT = Path(relucheck.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST_FUNCTION = 60
LONGEST_FILE = 600
TABLES = {"ops.py"}  # one row an operation; cutting the table in two would help nobody
BOUNDARIES = {"boundary.py", "source/project.py"}  # of rules and of files


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_layers():
    """The contracts of pyproject.toml, as ``lint-imports`` checks them."""
    importlinter = pytest.importorskip("importlinter.cli")
    pyproject = ROOT.parent / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("installed without its pyproject.toml")
    assert importlinter.lint_imports(config_filename=str(pyproject), cache_dir=None, no_cache=True) == 0


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_swallows_the_others(path):
    rows = len(path.read_text(encoding="utf-8").splitlines())
    assert rows <= LONGEST_FILE or name_of(path) in TABLES


def rows_of(function):
    """The rows of a function without its docstring, which may be as long as it needs."""
    rows = function.end_lineno - function.lineno + 1
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return rows - (first.end_lineno - first.lineno + 1 if documented else 0)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_function_swallows_the_others(path):
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f"{f.name}: {rows_of(f)} rows" for f in functions if rows_of(f) > LONGEST_FUNCTION] == []


def broad(handler):
    names = ast.walk(handler.type) if handler.type else ()
    return handler.type is None or any(
        isinstance(n, ast.Name) and n.id in ("Exception", "BaseException") for n in names
    )


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p) not in BOUNDARIES], ids=name_of)
def test_faults_are_caught_at_the_boundary_only(path):
    handlers = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.ExceptHandler)]
    assert [handler.lineno for handler in handlers if broad(handler)] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_begins_with_a_sentence_about_itself(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body
