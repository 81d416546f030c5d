"""What each kind of edit does to the text: one function a kind, from a place to replacements."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

from relucheck.finding import Assign, Drop, Edit, Insert, SetArg, Swap, Unlist
from relucheck.selection import canonical
from relucheck.source.cst import Tree, dotted, has_comma, is_call, last_name, plain
from relucheck.source.elements import dropped, dropped_statement, inserted, without
from relucheck.source.imports import Imports, respelled
from relucheck.source.splices import CannotEdit, Splice

if TYPE_CHECKING:
    import libcst as cst

Splices = tuple[Splice, ...]

_TAKE_INPLACE = frozenset(
    {"celu", "dropout", "elu", "hardsigmoid", "hardswish", "hardtanh", "leakyrelu", "mish", "relu", "relu6"}
    | {"rrelu", "selu", "silu", "threshold"}
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file to edit: its tree and its imports."""

    tree: Tree
    imports: Imports


@singledispatch
def rewrite(edit: Edit, source: Source) -> Splices:
    """The replacements that carry out an edit; CannotEdit where the text has no room for it."""
    raise TypeError(edit)


@rewrite.register
def _drop(edit: Drop, source: Source) -> Splices:
    tree = source.tree
    node = tree.expression(edit.span)
    if is_call(node) and not last_name(node)[:1].isupper():
        return _unwrapped(tree, node, source.imports)
    return dropped(tree, node)


def _unwrapped(tree: Tree, call: cst.Call, imports: Imports) -> Splices:
    """An application that becomes the value it is applied to."""
    import libcst as cst

    if isinstance(tree.parent(call), cst.Expr):
        raise CannotEdit("it is a statement of its own")
    inner = _subject(call, imports)
    if _assigns_itself(tree, call, inner):
        return dropped_statement(tree, call)
    start, end = tree.ranges(call)
    inner_start, inner_end = tree.outer(inner)
    for gone in (tree.text[start:inner_start], tree.text[inner_end:end]):
        if "#" in gone and "\n" in gone:
            raise CannotEdit("a comment would be lost")
    text = tree.text[inner_start:inner_end]
    return (Splice(start, end, f"({text})" if _needs_parentheses(tree, call, inner, text) else text),)


def _assigns_itself(tree: Tree, call: cst.Call, inner: cst.BaseExpression) -> bool:
    """Whether ``x = f(x)`` would become ``x = x``."""
    import libcst as cst

    statement = tree.parent(call)
    if not isinstance(statement, cst.Assign) or len(statement.targets) != 1:
        return False
    return isinstance(inner, cst.Name) and dotted(statement.targets[0].target) == inner.value


def _subject(call: cst.Call, imports: Imports) -> cst.BaseExpression:
    """The value that a call is applied to: its first argument, or the tensor whose method it is."""
    import libcst as cst

    func = call.func
    first = call.args[0] if call.args and not call.args[0].star else None
    plainly = first is not None and first.keyword is None and not _is_number(first.value)
    if isinstance(func, cst.Attribute) and not plainly and not _is_imported(func, imports):
        return func.value
    named = next((a.value for a in call.args if a.keyword is not None and a.keyword.value == "input"), None)
    if first is not None and first.keyword is None:
        return first.value
    if named is None:
        raise CannotEdit("the value that it is applied to is not plain to see")
    return named


def _is_imported(func: cst.Attribute, imports: Imports) -> bool:
    """Whether a dotted name starts with a module."""
    return dotted(func).partition(".")[0] in imports.bound


def _is_number(node: cst.BaseExpression) -> bool:
    import libcst as cst

    return isinstance(node, cst.BaseNumber | cst.UnaryOperation)


def _needs_parentheses(tree: Tree, call: cst.Call, inner: cst.BaseExpression, text: str) -> bool:
    """Whether an argument would bind otherwise, or end its line, once its call is gone."""
    import libcst as cst

    if call.lpar or inner.lpar:
        return False
    atoms = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.BaseNumber, cst.List, cst.Dict)
    free = (cst.Arg, cst.Assign, cst.AnnAssign, cst.AugAssign, cst.Return, cst.Element, cst.Index)
    tight = not isinstance(tree.parent(call), free) and not isinstance(inner, atoms)
    return tight or ("\n" in text and not _is_whole(text))


def _is_whole(text: str) -> bool:
    """Whether a text of several lines is an expression without brackets around it."""
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


@rewrite.register
def _swap(edit: Swap, source: Source) -> Splices:
    import libcst as cst

    tree = source.tree
    node = tree.expression(edit.span)
    if isinstance(node, cst.SimpleString):
        return _swapped_string(tree, node, edit)
    func = node.func if is_call(node) else node
    if edit.new == f"{edit.old}()":
        return _constructed_first(tree, node)
    if isinstance(func, cst.Attribute) and func.attr.value == edit.old:
        if not _is_imported(func, source.imports):
            raise CannotEdit("a method of a tensor has no other function in its place")
        renamed: Splices = (Splice(*tree.ranges(func.attr), edit.new),)
    elif isinstance(func, cst.Name) and source.imports.bound.get(func.value, "").endswith(f".{edit.old}"):
        module = source.imports.bound[func.value].rpartition(".")[0]
        name, more = source.imports.spelled(f"{module}.{edit.new}")
        renamed = (Splice(*tree.ranges(func), name), *more)
    else:
        raise CannotEdit(f"this place does not spell {edit.old}")
    return (*renamed, *_without_inplace(tree, node, edit.new))


def _constructed_first(tree: Tree, node: cst.BaseExpression) -> Splices:
    """A class that is called with a value: made first, then called."""
    if not is_call(node) or len(node.args) != 1 or not plain(node.args):
        raise CannotEdit("the value is passed among other arguments")
    end = tree.outer(node.func)[1]
    return (Splice(end, end, "()"),)


def _swapped_string(tree: Tree, node: cst.SimpleString, edit: Swap) -> Splices:
    if node.raw_value != edit.old:
        raise CannotEdit(f"this place does not spell {edit.old}")
    quoted = f"{node.prefix}{node.quote}{edit.new}{node.quote}"
    return (Splice(*tree.ranges(node), quoted),)


def _without_inplace(tree: Tree, node: cst.BaseExpression, new: str) -> Splices:
    """The call without its ``inplace``, where the new callee takes none."""
    if not is_call(node) or new.lower().replace("_", "") in _TAKE_INPLACE:
        return ()
    index = next((i for i, arg in enumerate(node.args) if _is_inplace(arg)), None)
    return () if index is None else without(tree, node.args, index)


def _is_inplace(arg: cst.Arg) -> bool:
    import libcst as cst

    if arg.keyword is not None:
        return arg.keyword.value == "inplace"
    return isinstance(arg.value, cst.Name) and arg.value.value in ("True", "False")


@rewrite.register
def _set_argument(edit: SetArg, source: Source) -> Splices:
    tree, call = source.tree, source.tree.call(edit.span)
    value, more = respelled(edit.value, source.imports)
    named = next((a for a in call.args if a.keyword is not None and a.keyword.value == edit.name), None)
    if named is not None:
        return (Splice(*tree.outer(named.value), value), *more)
    if not plain(call.args):
        raise CannotEdit("arguments are passed with a star, so they may hold this one")
    positional = [arg for arg in call.args if arg.keyword is None]
    if edit.position is not None and edit.position < len(positional):
        return (Splice(*tree.ranges(positional[edit.position]), f"{edit.name}={value}"), *more)
    return (*_appended(tree, call, f"{edit.name}={value}"), *more)


def _appended(tree: Tree, call: cst.Call, text: str) -> Splices:
    """One more argument at the end of a call, on its own line where the last one has its own."""
    if not call.args:
        opening = tree.text.index("(", tree.outer(call.func)[1])
        return (Splice(opening + 1, opening + 1, text),)
    start, end = tree.ranges(call.args[-1])
    trailing = has_comma(call.args[-1])
    after = tree.text.index(",", end) + 1 if trailing else end
    rest = tree.text[after : (row_end := tree.row_end(after))].strip()
    if not tree.leads(start) or (rest and not rest.startswith("#")):
        return (Splice(after, after, f" {text}," if trailing else f", {text}"),)
    line = f"\n{tree.indent(start)}{text}"
    if trailing:
        return (Splice(row_end, row_end, f"{line},"),)
    return (Splice(end, end, ","), Splice(row_end, row_end, line))


@rewrite.register
def _insert(edit: Insert, source: Source) -> Splices:
    node = source.tree.expression(edit.span)
    if is_call(node) and not last_name(node)[:1].isupper():
        return _wrapped(node, edit.code, source)
    code, more = respelled(edit.code, source.imports)
    return (*inserted(source.tree, node, code), *more)


def _wrapped(call: cst.Call, code: str, source: Source) -> Splices:
    """A function around the value that a call is applied to."""
    subject = _subject(call, source.imports)
    if subject is call.func or not call.args:
        raise CannotEdit("the value that it is applied to is not plain to see")
    start, end = source.tree.outer(subject)
    name, more = respelled(source.imports.function(code), source.imports)
    return (Splice(start, start, f"{name}("), Splice(end, end, ")"), *more)


@rewrite.register
def _assign(edit: Assign, source: Source) -> Splices:
    import libcst as cst

    tree = source.tree
    node = tree.expression(edit.span)
    if not isinstance(tree.parent(node), cst.Expr):
        raise CannotEdit("this place holds no statement whose result is thrown away")
    start = tree.outer(node)[0]
    return (Splice(start, start, f"{edit.target or _target(node, source.imports)} = "),)


def _target(node: cst.BaseExpression, imports: Imports) -> str:
    """The name that a call is applied to, to which its result may be assigned."""
    import libcst as cst

    subject = _subject(node, imports) if is_call(node) else node
    if not isinstance(subject, cst.Name):
        raise CannotEdit("the value that it is applied to has no name of its own")
    return subject.value


_LIST = re.compile(r"\[(?P<ours>[^\]]*)\]|:\s*(?P<noqa>[A-Za-z]+[0-9]+(?:[,\s]+[A-Za-z]+[0-9]+)*)\s*$")


@rewrite.register
def _unlist(edit: Unlist, source: Source) -> Splices:
    tree = source.tree
    start, end = tree.range_of(edit.span)
    match = _LIST.search(tree.text[start:end])
    if match and edit.codes:
        group = "ours" if match.group("ours") is not None else "noqa"
        kept = [c for c in re.split(r"[,\s]+", match.group(group)) if c and canonical(c) not in edit.codes]
        if kept:
            return (Splice(start + match.start(group), start + match.end(group), ", ".join(kept)),)
    return (_without_comment(tree, start, end),)


def _without_comment(tree: Tree, start: int, end: int) -> Splice:
    """A comment taken out with its reason; the row goes with it where nothing else stands there."""
    row_end = tree.row_end(end)
    other = tree.text.find("#", end, row_end)
    if other >= 0:
        return Splice(start, other, "")
    if tree.leads(start):
        return Splice(tree.row_start(start), min(row_end + 1, len(tree.text)), "")
    return Splice(tree.row_start(start) + len(tree.indent(start).rstrip()), row_end, "")
