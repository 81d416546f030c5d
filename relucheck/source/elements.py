"""Elements of calls and lists: taking one out and putting one in, in the layout of the others."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relucheck.source.cst import Tree, has_comma, is_call, last_name
from relucheck.source.splices import CannotEdit, Splice

if TYPE_CHECKING:
    import libcst as cst

_CONTAINERS = frozenset({"Sequential", "ModuleList"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an element stands: its number among its siblings, or alone in a statement.

    ``pair``: the element is a ``("name", module)`` of an OrderedDict. ``statement``: the element is
    the last argument of this ``layers.append(...)`` or ``add_module("name", ...)``.
    """

    siblings: Sequence[cst.Arg | cst.BaseElement] = ()
    index: int = 0
    pair: str = ""
    statement: cst.Call | None = None


def place_of(tree: Tree, node: cst.BaseExpression) -> Place:
    """The place of an element of a container; CannotEdit where it stands anywhere else."""
    import libcst as cst

    holder = tree.parent(node)
    around = tree.parent(holder)
    if isinstance(holder, cst.Element) and isinstance(around, cst.List):
        return Place(around.elements, _index(around.elements, holder))
    if isinstance(holder, cst.Element) and isinstance(around, cst.Tuple) and _is_pair(around, holder):
        return _named(place_of(tree, around), tree.source(around.elements[0].value))
    if isinstance(holder, cst.Arg) and is_call(around) and not holder.star and holder.keyword is None:
        if _is_container(tree, around):
            return Place(around.args, _index(around.args, holder))
        if _adds(tree, around, holder):
            return Place(statement=around, pair=_name_argument(tree, around))
    raise CannotEdit("it does not stand in a list of layers")


def _index(siblings: Sequence[object], item: object) -> int:
    return next(i for i, sibling in enumerate(siblings) if sibling is item)


def _is_pair(pair: cst.Tuple, element: cst.Element) -> bool:
    """Whether a tuple is a name and the element."""
    import libcst as cst

    first = pair.elements[0].value
    return len(pair.elements) == 2 and pair.elements[1] is element and isinstance(first, cst.SimpleString)


def _named(place: Place, name: str) -> Place:
    if place.statement is not None:
        raise CannotEdit("it does not stand in a list of layers")
    return Place(place.siblings, place.index, name)


def _is_container(tree: Tree, call: cst.Call) -> bool:
    """Whether a call makes a Sequential or a ModuleList, or is the ``__init__`` of a subclass."""
    import libcst as cst

    if last_name(call) in _CONTAINERS:
        return True
    if tree.source(call.func) != "super().__init__":
        return False
    node: cst.CSTNode = call
    while not isinstance(node, cst.ClassDef | cst.Module):
        node = tree.parent(node)
    bases = node.bases if isinstance(node, cst.ClassDef) else ()
    return any(tree.source(base.value).rpartition(".")[2] in _CONTAINERS for base in bases)


def _adds(tree: Tree, call: cst.Call, holder: cst.Arg) -> bool:
    """Whether a call is a statement that adds its last argument to a list of layers."""
    import libcst as cst

    arity = {"append": 1, "add_module": 2}.get(last_name(call), 0)
    last = len(call.args) == arity and call.args[-1] is holder
    return last and isinstance(call.func, cst.Attribute) and isinstance(tree.parent(call), cst.Expr)


def _name_argument(tree: Tree, call: cst.Call) -> str:
    """The name under which a statement adds a layer, as written; empty for ``append``."""
    import libcst as cst

    if last_name(call) != "add_module":
        return ""
    name = call.args[0].value
    if not isinstance(name, cst.SimpleString):
        raise CannotEdit("the name of the layer is worked out as the program runs")
    return tree.source(name)


def dropped(tree: Tree, node: cst.BaseExpression) -> tuple[Splice, ...]:
    """An element taken out, with its line where it stands alone on it."""
    place = place_of(tree, node)
    if place.statement is not None:
        return dropped_statement(tree, place.statement)
    return without(tree, place.siblings, place.index)


def dropped_statement(tree: Tree, call: cst.BaseExpression) -> tuple[Splice, ...]:
    """The statement that an expression is the value of taken out with its line; ``pass`` for a block's only one."""
    import libcst as cst

    statement = tree.parent(call)
    line = tree.parent(statement)
    block = tree.parent(line)
    if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        raise CannotEdit("other statements stand in its line")
    start, end = tree.ranges(statement)
    body = getattr(block, "body", ())
    if len(body) == 1:
        return (Splice(start, end, "pass"),)
    return (_rows(tree, start, end),)


def _rows(tree: Tree, start: int, end: int) -> Splice:
    """The rows from one offset to another taken out."""
    return Splice(tree.row_start(start), min(tree.row_end(end) + 1, len(tree.text)), "")


def without(tree: Tree, siblings: Sequence[cst.Arg | cst.BaseElement], index: int) -> tuple[Splice, ...]:
    """The siblings without one of them."""
    start, end = tree.ranges(siblings[index])
    with_comma = _after_comma(tree, siblings[index])
    last = index + 1 == len(siblings)
    if _alone(tree, start, with_comma):
        return (*_no_comma_before(tree, siblings, index), _rows(tree, start, with_comma))
    if not last and _same_row(tree, start, following := tree.ranges(siblings[index + 1])[0]):
        return (Splice(start, following, ""),)
    if index == 0:
        return (Splice(start, with_comma, ""),)
    return _joined(tree, siblings[index - 1], start, with_comma if not last else end)


def _joined(tree: Tree, previous: cst.Arg | cst.BaseElement, start: int, end: int) -> tuple[Splice, ...]:
    """What stands between the sibling before and the end of an element taken out, comments kept."""
    keep_comma = tree.text[end - 1 : end] == ","
    gap_start = _after_comma(tree, previous) if keep_comma else tree.ranges(previous)[1]
    if "#" not in tree.text[gap_start:start]:
        return (Splice(gap_start, end, ""),)
    comma = () if keep_comma else _comma(tree, previous)
    return (*comma, Splice(start, end, ""))


def _no_comma_before(
    tree: Tree, siblings: Sequence[cst.Arg | cst.BaseElement], index: int
) -> tuple[Splice, ...]:
    """The comma before a last element that had none behind it goes as well."""
    last = index + 1 == len(siblings)
    return _comma(tree, siblings[index - 1]) if last and index and not has_comma(siblings[index]) else ()


def _comma(tree: Tree, item: cst.Arg | cst.BaseElement) -> tuple[Splice, ...]:
    """The comma behind an item taken out."""
    end = _after_comma(tree, item)
    return (Splice(end - 1, end, ""),) if has_comma(item) else ()


def _after_comma(tree: Tree, item: cst.Arg | cst.BaseElement) -> int:
    """The offset behind an item's comma, or behind the item where it has none."""
    import libcst as cst

    return tree.ranges(item.comma)[1] if isinstance(item.comma, cst.Comma) else tree.ranges(item)[1]


def _alone(tree: Tree, start: int, end: int) -> bool:
    """Whether a stretch has its rows for itself but for a comment behind it."""
    rest = tree.text[end : tree.row_end(end)].strip()
    return tree.leads(start) and (not rest or rest.startswith("#"))


def _same_row(tree: Tree, one: int, other: int) -> bool:
    return "\n" not in tree.text[one:other]


def inserted(tree: Tree, node: cst.BaseExpression, code: str) -> tuple[Splice, ...]:
    """A new element before another one, laid out like it."""
    place = place_of(tree, node)
    if place.pair:
        name = _fresh_name(tree, code, place.pair)
        code = f"({name}, {code})" if place.statement is None else f"{name}, {code}"
    if place.statement is not None:
        start = tree.outer(place.statement)[0]
        code = f"{tree.source(place.statement.func)}({code})"
        return (Splice(start, start, f"{code}\n{_indent_of_statement(tree, start)}"),)
    start = tree.ranges(place.siblings[place.index])[0]
    gap = f"\n{tree.indent(start)}" if tree.leads(start) else " "
    return (Splice(start, start, f"{code},{gap}"),)


def _indent_of_statement(tree: Tree, start: int) -> str:
    if not tree.leads(start):
        raise CannotEdit("other statements stand in its line")
    return tree.indent(start)


def _fresh_name(tree: Tree, code: str, like: str) -> str:
    """A string that names a new layer, quoted as its neighbour is, and written nowhere in the file."""
    called = ast.parse(code, mode="eval").body
    while isinstance(called, ast.Call):
        called = called.func
    base = ast.unparse(called).rpartition(".")[2].lower()
    quote = like[-1]
    names = (base if number == 1 else f"{base}{number}" for number in range(1, len(tree.text) + 2))
    return next(
        f"{quote}{n}{quote}" for n in names if f"'{n}'" not in tree.text and f'"{n}"' not in tree.text
    )
