"""Text to syntax tree; whatever the parser does not take is a SyntaxProblem at its place."""

from __future__ import annotations

import ast
import sys
import warnings
from itertools import accumulate

from relucheck.problems import SyntaxProblem
from relucheck.source.files import Document
from relucheck.span import Span


def parse(document: Document) -> ast.Module:
    """The syntax tree of a document, or SyntaxProblem."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes are another linter's business
            return _trimmed(ast.parse(document.text, document.path))
    except SyntaxError as error:
        raise SyntaxProblem(_span(document, error), _message(document, error)) from None
    except (RecursionError, MemoryError):
        raise SyntaxProblem(_start(document), "nested too deeply for Python's parser") from None
    except ValueError as error:  # surrogates
        raise SyntaxProblem(_start(document), f"not Python text: {error}") from None


_Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_Docstring = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def _trimmed(tree: ast.Module) -> ast.Module:
    """The tree without docstrings and annotations of functions, which nothing reads: a tenth of its memory."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, _Function):
            node.returns = None
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        if isinstance(node, _Docstring) and len(body) > 1 and _is_text(body[0]):
            del body[0]
        todo.extend(statement for statement in body if hasattr(statement, "body"))
        todo.extend(statement for statement in getattr(node, "orelse", ()) if hasattr(statement, "body"))
    return tree


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _start(document: Document) -> Span:
    return document.place(1, 0, 1, 1)


def _span(document: Document, error: SyntaxError) -> Span:
    """The place of an error; the parser counts columns from 1 and may point past the end."""
    rows = len(document.lines)
    row = min(max(error.lineno or 1, 1), rows)
    column = max((error.offset or 1) - 1, 0)
    end_row = min(max(error.end_lineno or row, row), rows)
    end_column = max((error.end_offset or 0) - 1, 0)
    if end_row == row:
        end_column = max(end_column, column + 1)
    return document.place(row, column, end_row, end_column)


def _message(document: Document, error: SyntaxError) -> str:
    text = (error.msg or "invalid syntax").strip()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if _newer_syntax(document.text):
        return (
            f"{text}: Python {version}, which runs relucheck, does not know this syntax; "
            "run relucheck with the Python that the project uses"
        )
    return text


def _newer_syntax(text: str) -> bool:
    """Whether libcst, which knows the syntax of newer Pythons, accepts the text."""
    if could_overflow(text):
        return False
    import libcst  # slow to import, so only after an error

    try:
        libcst.parse_module(text)
    except (libcst.ParserSyntaxError, RecursionError):
        return False
    return True


def could_overflow(text: str) -> bool:
    """Whether the nesting may be deep enough to crash libcst's parser, which has no limit of its own."""
    if any(len(line) > _LONGEST_ROW for line in text.split("\n")):
        return True
    steps = (1 if c in "([{" else -1 for c in text if c in "([{)]}")
    return max(accumulate(steps), default=0) > _DEEPEST


_LONGEST_ROW = 2000
_DEEPEST = 100
