"""Larger changes of calls: another function, another order, a container around, a copy undone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from relucheck.finding import Exchange, Forget, Inline, Recall, Register, Renew
from relucheck.ops import METHODS
from relucheck.source.cst import Tree, dotted, is_call, last_name, plain
from relucheck.source.elements import Place, dropped_statement, place_of
from relucheck.source.imports import IN_TORCH, Imports, respelled
from relucheck.source.splices import CannotEdit, Splice
from relucheck.source.subjects import Source, assigns_itself, is_atom, needs_parentheses, subject

if TYPE_CHECKING:
    import libcst as cst

Splices = tuple[Splice, ...]


_TORCHS_OWN = frozenset({"F.sigmoid", "F.tanh"})
"""Functions that torch's documentation calls deprecated in ``F``, in favour of those of ``torch``."""


# -- another function ---------------------------------------------------------------------------


def recalled(edit: Recall, source: Source) -> Splices:
    """A call of another function, with the value of the old one or with none."""
    tree, call = source.tree, source.tree.call(edit.span)
    if not plain(call.args):
        raise CannotEdit("arguments are passed with a star")
    given, more = _arguments(edit.arguments, source.imports)
    start, end = tree.ranges(call)
    if not edit.keep:
        _keep_comments(tree.text[start:end])
        name, imports = respelled(edit.code, source.imports)
        return (Splice(start, end, f"{name}({', '.join(given)})"), *imports, *more)
    value = subject(call, source.imports)
    head, tail, imports = _around(edit.code, value is getattr(call.func, "value", None), call, source)
    value_start, value_end = tree.outer(value)
    _keep_comments(tree.text[start:value_start], tree.text[value_end:end])
    rest = "".join(f", {text}" for text in given)
    opened = f"{head}(" if head else ""
    closed = f"{tail}({rest[2:]})" if tail else f"{rest})"
    return (Splice(start, value_start, opened), Splice(value_end, end, closed), *imports, *more)


def _arguments(pairs: Iterable[tuple[str, str]], imports: Imports) -> tuple[list[str], list[Splice]]:
    """Named arguments as the file may write them, with the imports that they need."""
    made: list[str] = []
    more: list[Splice] = []
    for name, value in pairs:
        text, splices = respelled(value, imports)
        made.append(f"{name}={text}")
        more += splices
    return made, more


def _around(code: str, method: bool, call: cst.Call, source: Source) -> tuple[str, str, Splices]:
    """What stands before and behind the value: a function, or a method where the old one was one.

    ``F.tanh`` is ``torch.tanh`` where ``torch.relu`` stood, and ``.tanh()`` behind a tensor.
    """
    imports = source.imports
    module, _, name = code.rpartition(".")
    if method and module == "F" and name in METHODS:
        return "", f".{name}", ()
    old_module = dotted(call.func).rpartition(".")[0]
    if code in IN_TORCH and imports.bound.get(old_module) == "torch":
        return f"{old_module}.{name}", "", ()
    if code in _TORCHS_OWN and "torch" in imports.bound.values():
        code = f"torch.{name}"
    text, more = respelled(imports.function(code), imports)
    return text, "", more


def _keep_comments(*gone: str) -> None:
    if any("#" in text and "\n" in text for text in gone):
        raise CannotEdit("a comment would be lost")


def inlined(edit: Inline, source: Source) -> Splices:
    """A function in place of a module that is made and applied in one expression."""
    tree, made = source.tree, source.tree.call(edit.span)
    applied = tree.parent(made)
    if not is_call(applied) or applied.func is not made or len(applied.args) != 1:
        raise CannotEdit("the module is not applied where it is made")
    if not (plain(made.args) and plain(applied.args)) or applied.args[0].keyword is not None:
        raise CannotEdit("arguments are passed with a star or a name")
    name, imports = respelled(edit.code, source.imports)
    given, more = _arguments(edit.arguments, source.imports)
    start, end = tree.ranges(applied)
    _keep_comments(tree.text[start:end])
    old = [tree.source(arg).rstrip(", ") for arg in made.args]
    value = tree.source(applied.args[0]).rstrip(", ")
    return (Splice(start, end, f"{name}({', '.join([value, *old, *given])})"), *imports, *more)


# -- another order ------------------------------------------------------------------------------


def exchanged(edit: Exchange, source: Source) -> Splices:
    """Two steps in the other order: two elements of a container, or two applications."""
    tree = source.tree
    one, other = tree.expression(edit.span), tree.expression(edit.other)
    if _is_application(one) and _is_application(other):
        return _applications(tree, one, other, source.imports)
    places = place_of(tree, one), place_of(tree, other)
    ranges = [_range_of(tree, node, place) for node, place in zip((one, other), places, strict=True)]
    if places[0].siblings is not places[1].siblings or not _are_neighbours(*places):
        raise CannotEdit("the two do not stand side by side")
    (a, b), (c, d) = sorted(ranges)
    return (Splice(a, b, tree.text[c:d]), Splice(c, d, tree.text[a:b]))


def _is_application(node: cst.BaseExpression) -> bool:
    return is_call(node) and not last_name(node)[:1].isupper()


def _are_neighbours(a: Place, b: Place) -> bool:
    if a.statement is not None or b.statement is not None:
        return a.statement is not None and b.statement is not None
    return abs(a.index - b.index) == 1


def _range_of(tree: Tree, node: cst.BaseExpression, place: Place) -> tuple[int, int]:
    """The text of an element, with its name, or of the statement that adds it."""
    if place.statement is not None:
        return tree.outer(place.statement)
    return tree.outer(place.siblings[place.index].value) if place.siblings else tree.outer(node)


def _applications(
    tree: Tree, one: cst.BaseExpression, other: cst.BaseExpression, imports: Imports
) -> Splices:
    """The functions of two applications exchanged; what they are applied to stays."""
    assert is_call(one)
    assert is_call(other)
    values = subject(one, imports), subject(other, imports)
    if values[0] is other or values[1] is one:
        outer, inner = (one, other) if values[0] is other else (other, one)
        return _nested(tree, outer, inner, subject(inner, imports))
    wraps = [_wrapping(tree, call, value) for call, value in zip((one, other), values, strict=True)]
    if any(not wrap[0] and not is_atom(value) for wrap, value in zip(wraps, reversed(values), strict=True)):
        raise CannotEdit("the value that it is applied to would bind otherwise")
    made: list[Splice] = []
    for call, value, (head, tail) in zip((one, other), values, reversed(wraps), strict=True):
        (start, end), (value_start, value_end) = tree.ranges(call), tree.outer(value)
        made += (Splice(start, value_start, head), Splice(value_end, end, tail))
    return tuple(made)


def _nested(tree: Tree, outer: cst.Call, inner: cst.Call, value: cst.BaseExpression) -> Splices:
    (start, end), (value_start, value_end) = tree.ranges(outer), tree.outer(value)
    outside, inside = _wrapping(tree, outer, inner), _wrapping(tree, inner, value)
    if not outside[0] and not is_atom(value):
        raise CannotEdit("the value that it is applied to would bind otherwise")
    return (
        Splice(start, value_start, inside[0] + outside[0]),
        Splice(value_end, end, outside[1] + inside[1]),
    )


def _wrapping(tree: Tree, call: cst.Call, value: cst.BaseExpression) -> tuple[str, str]:
    """The text of a call before and behind the value that it is applied to."""
    (start, end), (value_start, value_end) = tree.ranges(call), tree.outer(value)
    head, tail = tree.text[start:value_start], tree.text[value_end:end]
    _keep_comments(head, tail)
    return head, tail


# -- containers ---------------------------------------------------------------------------------

_PLAIN_ONLY = "clear|copy|count|get|index|popitem|remove|reverse|setdefault|sort"


def registered(edit: Register, source: Source) -> Splices:
    """Each ``self.name = [...]`` of a class as ``nn.ModuleList([...])``."""
    tree = source.tree
    if re.search(rf"\.{re.escape(edit.name)}\.(?:{_PLAIN_ONLY})\b", tree.text):
        raise CannotEdit(f"nn.{edit.container} has not all the methods that are called")
    name, more = respelled(f"nn.{edit.container}", source.imports)
    values = list(_assigned(tree, edit))
    if not values:
        raise CannotEdit(f"no statement assigns self.{edit.name}")
    return (*(splice for value in values for splice in _wrapped(tree, value, name)), *more)


def _assigned(tree: Tree, edit: Register) -> Iterator[cst.BaseExpression]:
    """The values that the class around a place assigns to an attribute."""
    import libcst as cst

    owner = _class_around(tree, edit)
    for node in tree.parents:
        if not isinstance(node, cst.Assign | cst.AnnAssign) or node.value is None:
            continue
        targets = [t.target for t in node.targets] if isinstance(node, cst.Assign) else [node.target]
        if any(dotted(t) == f"self.{edit.name}" for t in targets) and _class_of(tree, node) is owner:
            yield node.value


def _class_around(tree: Tree, edit: Register) -> cst.CSTNode:
    start, end = tree.range_of(edit.span)
    inside = [node for (a, b), node in tree.expressions.items() if start <= a and b <= end]
    if not inside:
        raise CannotEdit("no expression starts and ends at this place")
    return _class_of(tree, inside[0])


def _class_of(tree: Tree, node: cst.CSTNode) -> cst.CSTNode:
    import libcst as cst

    while not isinstance(node, cst.ClassDef | cst.Module):
        node = tree.parent(node)
    return node


def _wrapped(tree: Tree, value: cst.BaseExpression, name: str) -> Splices:
    """A container around a list or dict, or in place of an empty one."""
    start, end = tree.outer(value)
    if tree.source(value).replace(" ", "") in ("[]", "{}", "list()", "dict()"):
        return (Splice(start, end, f"{name}()"),)
    return (Splice(start, start, f"{name}("), Splice(end, end, ")"))


def renewed(edit: Renew, source: Source) -> Splices:
    """``[layer(...)] * n`` as ``[layer(...) for _ in range(n)]``."""
    import libcst as cst

    tree = source.tree
    start, end = tree.range_of(edit.span)
    rows = [
        node
        for (a, b), node in tree.expressions.items()
        if start <= a and b <= end and isinstance(node, cst.BinaryOperation) and _is_repeated(node)
    ]
    if len(rows) != 1:
        raise CannotEdit("the layer is not made where it is repeated")
    (row,) = rows
    assert isinstance(row, cst.BinaryOperation)
    assert isinstance(row.left, cst.List)
    inner_end = tree.outer(row.left.elements[0].value)[1]
    number = tree.text[slice(*tree.ranges(row.right))]
    row_end = tree.outer(row.right)[1]
    _keep_comments(tree.text[inner_end:row_end])
    return (Splice(inner_end, row_end, f" for _ in range({number})]"),)


def _is_repeated(node: cst.BinaryOperation) -> bool:
    """Whether a list of one call is multiplied."""
    import libcst as cst

    row = node.left
    alone = isinstance(row, cst.List) and len(row.elements) == 1 and not row.lpar
    return (
        alone
        and isinstance(node.operator, cst.Multiply)
        and isinstance(row, cst.List)
        and isinstance(row.elements[0], cst.Element)
        and is_call(row.elements[0].value)
    )


# -- copies and leftovers -----------------------------------------------------------------------

_CUTS = frozenset({"detach", "item", "numpy", "tolist"})
_KEEPS = frozenset({"clone", "cpu", "double", "float", "requires_grad_", "to"})
_COPIES = frozenset({"FloatTensor", "Variable", "as_tensor", "float", "tensor"})


def unwrapped_copy(tree: Tree, node: cst.BaseExpression) -> Splices:
    """The tensor that is copied and cut off its graph, in place of the copy."""
    value, cut = _copied(node)
    if not cut and _is_cut_before(tree, value):
        raise CannotEdit("the value was cut off in another statement")
    if assigns_itself(tree, node, value):
        return dropped_statement(tree, node)
    start, end = tree.ranges(node)
    inner = tree.text[slice(*tree.outer(value))]
    _keep_comments(tree.text[start:end])
    if needs_parentheses(tree, node, value, inner):
        inner = f"({inner})"
    return (Splice(start, end, inner),)


def _copied(node: cst.BaseExpression) -> tuple[cst.BaseExpression, bool]:
    """The innermost value of a copy, and whether the expression itself cuts it off."""
    import libcst as cst

    cut = False
    while True:
        if isinstance(node, cst.Attribute) and node.attr.value == "data":
            node, cut = node.value, True
        elif is_call(node) and isinstance(node.func, cst.Attribute) and last_name(node) in _CUTS | _KEEPS:
            cut = cut or last_name(node) in _CUTS
            node = node.func.value
        elif is_call(node) and last_name(node) in _COPIES and node.args and not node.args[0].star:
            node = node.args[0].value
        else:
            return node, cut


def _is_cut_before(tree: Tree, value: cst.BaseExpression) -> bool:
    """Whether a value is a name to which something cut off is assigned, or may be."""
    name = dotted(value)
    cuts = "|".join(f"\\.{word}\\(" for word in sorted(_CUTS)) + r"|\.data\b|\bfloat\("
    return not name or re.search(rf"\b{re.escape(name)}\s*=[^=\n]*(?:{cuts})", tree.text) is not None


def forgotten(edit: Forget, source: Source) -> Splices:
    """The statement that keeps a module under a name which is written nowhere else any more."""
    import libcst as cst

    tree = source.tree
    call = tree.call(edit.span)
    statement = tree.parent(call)
    target = statement.targets[0].target if isinstance(statement, cst.Assign) else None
    name = dotted(target).removeprefix("self.") if target is not None else ""
    if not name.isidentifier() or len(re.findall(rf"\.{name}\b", tree.text)) > 2:
        raise CannotEdit("the module is used elsewhere too")
    return dropped_statement(tree, call)
