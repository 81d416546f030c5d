"""What a call is applied to: its first argument, or the tensor whose method it is."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relucheck.source.cst import Tree, dotted
from relucheck.source.imports import Imports
from relucheck.source.splices import CannotEdit

if TYPE_CHECKING:
    import libcst as cst


@dataclass(frozen=True, slots=True)
class Source:
    """A file to edit: its tree and its imports."""

    tree: Tree
    imports: Imports


def subject(call: cst.Call, imports: Imports) -> cst.BaseExpression:
    """The value that a call is applied to: its first argument, or the tensor whose method it is."""
    import libcst as cst

    func = call.func
    first = call.args[0] if call.args and not call.args[0].star else None
    plainly = first is not None and first.keyword is None and not _is_number(first.value)
    if isinstance(func, cst.Attribute) and not plainly and not is_imported(func, imports):
        return func.value
    names = ("input", "tensor")
    named = next((a.value for a in call.args if a.keyword is not None and a.keyword.value in names), None)
    if first is not None and first.keyword is None:
        return first.value
    if named is None:
        raise CannotEdit("the value that it is applied to is not plain to see")
    return named


def is_imported(func: cst.Attribute, imports: Imports) -> bool:
    """Whether a dotted name starts with a module."""
    return dotted(func).partition(".")[0] in imports.bound


def _is_number(node: cst.BaseExpression) -> bool:
    import libcst as cst

    return isinstance(node, cst.BaseNumber | cst.UnaryOperation)


def assigns_itself(tree: Tree, call: cst.BaseExpression, inner: cst.BaseExpression) -> bool:
    """Whether ``x = f(x)`` would become ``x = x``."""
    import libcst as cst

    statement = tree.parent(call)
    if not isinstance(statement, cst.Assign) or len(statement.targets) != 1:
        return False
    return isinstance(inner, cst.Name) and dotted(statement.targets[0].target) == inner.value


def needs_parentheses(tree: Tree, call: cst.BaseExpression, inner: cst.BaseExpression, text: str) -> bool:
    """Whether an argument would bind otherwise, or end its line, once its call is gone."""
    import libcst as cst

    if call.lpar or inner.lpar:
        return False
    free = (cst.Arg, cst.Assign, cst.AnnAssign, cst.AugAssign, cst.Return, cst.Element, cst.Index)
    tight = not isinstance(tree.parent(call), free) and not is_atom(inner)
    return tight or ("\n" in text and not _is_whole(text))


def is_atom(node: cst.BaseExpression) -> bool:
    """Whether an expression binds more tightly than any operator around it."""
    import libcst as cst

    atoms = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.BaseNumber, cst.List, cst.Dict)
    return bool(node.lpar) or isinstance(node, atoms)


def _is_whole(text: str) -> bool:
    """Whether a text of several lines is an expression without brackets around it."""
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True
