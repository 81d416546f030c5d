"""What each kind of edit does to the text: one function a kind, from a place to replacements."""

from __future__ import annotations

import re
from functools import singledispatch
from typing import TYPE_CHECKING

from relucheck.finding import (
    Assign,
    Drop,
    Edit,
    Exchange,
    Forget,
    Inline,
    Insert,
    Omit,
    Recall,
    Register,
    Renew,
    SetArg,
    Swap,
    Unlist,
    Unwrap,
)
from relucheck.ops import FUNCTIONS, METHODS, MODULES
from relucheck.selection import canonical
from relucheck.source.cst import Tree, dotted, has_comma, is_call, last_name, plain
from relucheck.source.elements import dropped, dropped_statement, inserted, without
from relucheck.source.imports import Imports, respelled
from relucheck.source.recasts import (
    exchanged,
    forgotten,
    inlined,
    recalled,
    registered,
    renewed,
    unwrapped_copy,
)
from relucheck.source.splices import CannotEdit, Splice
from relucheck.source.subjects import Source, assigns_itself, is_imported, needs_parentheses, subject

if TYPE_CHECKING:
    import libcst as cst

Splices = tuple[Splice, ...]

_TAKE_INPLACE = frozenset(
    {"celu", "dropout", "elu", "hardsigmoid", "hardswish", "hardtanh", "leakyrelu", "mish", "relu", "relu6"}
    | {"rrelu", "selu", "silu", "threshold"}
)


@singledispatch
def rewrite(edit: Edit, source: Source) -> Splices:
    """The replacements that carry out an edit; CannotEdit where the text has no room for it."""
    raise TypeError(edit)


@rewrite.register
def _drop(edit: Drop, source: Source) -> Splices:
    tree = source.tree
    node = tree.expression(edit.span)
    if is_call(node) and not last_name(node)[:1].isupper():
        return _unwrapped(tree, node, subject(node, source.imports))
    masked = _masked(node)
    return _unwrapped(tree, node, masked) if masked is not None else dropped(tree, node)


def _masked(node: cst.BaseExpression) -> cst.BaseExpression | None:
    """The ``x`` of a rectifier that is written out: ``x * (x > 0)``."""
    import libcst as cst

    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Multiply):
        return None
    for value, mask in ((node.left, node.right), (node.right, node.left)):
        if isinstance(mask, cst.Comparison) and value.deep_equals(mask.left) and dotted(value):
            return value
    return None


def _unwrapped(tree: Tree, call: cst.BaseExpression, inner: cst.BaseExpression) -> Splices:
    """An application that becomes the value it is applied to."""
    import libcst as cst

    if isinstance(tree.parent(call), cst.Expr):
        raise CannotEdit("it is a statement of its own")
    if assigns_itself(tree, call, inner):
        return dropped_statement(tree, call)
    start, end = tree.ranges(call)
    inner_start, inner_end = tree.outer(inner)
    for gone in (tree.text[start:inner_start], tree.text[inner_end:end]):
        if "#" in gone and "\n" in gone:
            raise CannotEdit("a comment would be lost")
    text = tree.text[inner_start:inner_end]
    return (Splice(start, end, f"({text})" if needs_parentheses(tree, call, inner, text) else text),)


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
        if not is_imported(func, source.imports) and edit.new not in METHODS:
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
    names = _parameters(call, source.imports)
    position = _index_of(edit, names)
    if position is not None and position < len(positional):
        last, own = position + 1 == len(positional), names[position : position + 1] == (edit.name,)
        if not last and not own:
            raise CannotEdit("arguments without names follow it")
        text = value if own and (_is_plain_number(value) or not last) else f"{edit.name}={value}"
        return (Splice(*tree.outer(positional[position].value), text), *more)
    return (*_appended(tree, call, f"{edit.name}={value}"), *more)


def _is_plain_number(value: str) -> bool:
    """Whether a value may stand without its name, as the number in its place does; a flag is given by name."""
    return value.lstrip("-")[:1].isdigit()


def _parameters(call: cst.Call, imports: Imports) -> tuple[str, ...]:
    """The arguments that torch's function, class or tensor method takes without their names, in order."""
    import libcst as cst

    func, name = call.func, last_name(call)
    if name in MODULES:
        return MODULES[name].names
    if dotted(func).startswith("self."):
        return ()
    if isinstance(func, cst.Attribute) and not is_imported(func, imports):
        return METHODS[name].names[1:] if name in METHODS else ()
    return FUNCTIONS[name].names if name in FUNCTIONS else ()


def _index_of(edit: SetArg, names: tuple[str, ...]) -> int | None:
    if edit.position is not None:
        return edit.position
    return names.index(edit.name) if edit.name in names else None


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
    value = subject(call, source.imports)
    if value is call.func or not call.args:
        raise CannotEdit("the value that it is applied to is not plain to see")
    start, end = source.tree.outer(value)
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

    value = subject(node, imports) if is_call(node) else node
    if not isinstance(value, cst.Name):
        raise CannotEdit("the value that it is applied to has no name of its own")
    return value.value


@rewrite.register
def _recall(edit: Recall, source: Source) -> Splices:
    return recalled(edit, source)


@rewrite.register
def _exchange(edit: Exchange, source: Source) -> Splices:
    return exchanged(edit, source)


@rewrite.register
def _inline(edit: Inline, source: Source) -> Splices:
    return inlined(edit, source)


@rewrite.register
def _register(edit: Register, source: Source) -> Splices:
    return registered(edit, source)


@rewrite.register
def _renew(edit: Renew, source: Source) -> Splices:
    return renewed(edit, source)


@rewrite.register
def _unwrap(edit: Unwrap, source: Source) -> Splices:
    return unwrapped_copy(source.tree, source.tree.expression(edit.span))


@rewrite.register
def _forget(edit: Forget, source: Source) -> Splices:
    return forgotten(edit, source)


@rewrite.register
def _omit(edit: Omit, source: Source) -> Splices:
    tree, call = source.tree, source.tree.call(edit.span)
    if not plain(call.args) or edit.position >= len(call.args):
        raise CannotEdit("arguments are passed with a star, so they may hold this one")
    return without(tree, call.args, edit.position)


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
