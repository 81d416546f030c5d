"""Tests: functions that build networks to assert something about them, not to train them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from relucheck.source.syntax import walk

_ASSERTION = re.compile(r"assert|raises|warns|fail(?![a-z])|testing")
"""What a test calls: ``self.assertEqual``, ``pytest.raises``, ``torch.testing.assert_close``."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def trials(tree: ast.Module) -> Iterator[Function]:
    """The tests of a file as pytest and unittest collect them, if they assert something.

    A ``test_epoch(model, loader)`` that the file calls itself is part of a training, whatever it asserts.
    """
    candidates = [f for f in _collected(tree) if any(_asserts(node) for node in walk(f))]
    if candidates:
        named = {node.id for node in walk(tree) if isinstance(node, ast.Name)}
        yield from (f for f in candidates if f.name not in named)


def _collected(tree: ast.Module) -> Iterator[Function]:
    for statement in tree.body:
        inside = (
            statement.body if isinstance(statement, ast.ClassDef) and _holds_tests(statement) else [statement]
        )
        for node in inside:
            if isinstance(node, Function) and node.name.startswith("test"):
                yield node


def _holds_tests(node: ast.ClassDef) -> bool:
    """Whether pytest looks for tests in a class: by its name, or as a ``TestCase``."""
    bases = (base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases)
    return node.name.startswith("Test") or any("Test" in base for base in bases)


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return bool(_ASSERTION.search(ast.unparse(node.func)))
    return isinstance(node, ast.Assert)
