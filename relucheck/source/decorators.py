"""Decorators of the top level, run for what they do: they fill registries.

What a decorator returns is not followed: nearly all return the function or class itself, or a wrapper that calls
it, and the function without its wrapper is what can be read.
"""

from __future__ import annotations

import ast

from relucheck.source.binding import Arguments
from relucheck.source.expressions import lookup
from relucheck.source.machine import Exhausted, Machine
from relucheck.source.modules import Definition
from relucheck.source.values import Bound, Class, Frame, Function, Instance, ScopeVal

DECORATOR_STEPS = 4_000


def run_decorators(m: Machine, node: Definition, decorated: Function | Class, frame: Frame) -> None:
    """Call the project's own decorators of a function or class of the top level, the innermost first."""
    if frame.names is not frame.scope.names:
        return
    for decorator in reversed(node.decorator_list):
        if _is_of_project(m, decorator, frame):
            _run(m, decorator, decorated, frame)


def _is_of_project(m: Machine, decorator: ast.expr, frame: Frame) -> bool:
    root = decorator
    while isinstance(root, ast.Call | ast.Attribute):
        root = root.func if isinstance(root, ast.Call) else root.value
    found = lookup(m, root.id, frame) if isinstance(root, ast.Name) else None
    return isinstance(found, Function | Class | Instance | ScopeVal | Bound)


def _run(m: Machine, decorator: ast.expr, decorated: Function | Class, frame: Frame) -> None:
    """One decorator within its budget, which is not that of the file; one that does not finish records nothing."""
    marks = m.tape.marks()
    outer, m.place = m.place, (frame.scope, decorator)
    with m.apart():
        try:
            with m.budget(min(DECORATOR_STEPS, frame.scope.decorator_steps)):
                begun = m.steps
                m.call(m, m.evaluate(m, decorator, frame), Arguments((decorated,)))
        except (Exhausted, RecursionError):
            m.tape.cut(marks)
            m.covered.pop(id(decorated.node), None)
        finally:
            frame.scope.decorator_steps -= m.steps - begun
            m.place = outer
