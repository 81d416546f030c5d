"""Expressions: what each kind of expression evaluates to."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from relucheck.source.binding import Arguments
from relucheck.source.builtins import BUILTINS, class_name
from relucheck.source.externals import external_attribute
from relucheck.source.iteration import get_item, iterate, unpack
from relucheck.source.layers import layer_attribute, schedule
from relucheck.source.machine import Machine
from relucheck.source.modules import ModuleScope
from relucheck.source.objects import class_attribute, get_attribute, set_attribute, super_attribute
from relucheck.source.operators import binary, compare, unary
from relucheck.source.tensors import note_backward, tensor_attribute
from relucheck.source.values import (
    FALSE,
    NONE,
    TRUE,
    UNK,
    Builtin,
    Class,
    Const,
    External,
    Flow,
    Frame,
    Function,
    Instance,
    Item,
    LayerVal,
    Mapping,
    Native,
    OneOf,
    OptimiserVal,
    ParamOf,
    Partial,
    Plain,
    ScopeVal,
    Seq,
    State,
    Super,
    Tensor,
    Unk,
    Value,
    mapping,
    one_of,
    seq,
    truth,
)


def evaluate(m: Machine, node: ast.expr, frame: Frame) -> Value:
    """The value of an expression."""
    m.tick()
    handler = _HANDLERS.get(type(node))
    return handler(m, node, frame) if handler is not None else UNK


def _constant(_m: Machine, node: ast.Constant, _frame: Frame) -> Value:
    value = node.value
    return UNK if value is ... else Const(value)


def _name(m: Machine, node: ast.Name, frame: Frame) -> Value:
    return lookup(m, node.id, frame)


def lookup(m: Machine, name: str, frame: Frame) -> Value:
    """The value of a name: local, enclosing, of the file, a builtin, or torch's in a bare snippet."""
    inner: Frame | None = frame
    while inner is not None:
        if name in inner.names:
            return inner.names[name]
        inner = inner.parent
    scope = frame.scope
    if name in scope.names:
        return scope.names[name]
    if name in scope.definitions:
        m.define(m, scope.definitions[name], Frame(scope, scope.names))
        return scope.names.get(name, UNK)
    if name in BUILTINS:
        return Builtin(name)
    return scope.bare(name) or Unk(name)


def _attribute(m: Machine, node: ast.Attribute, frame: Frame) -> Value:
    return attribute(m, m.evaluate(m, node.value, frame), node.attr)


def attribute(m: Machine, value: Value, name: str) -> Value:
    """``value.name``."""
    if isinstance(value, Instance):
        return get_attribute(m, value, name)
    if isinstance(value, External):
        return external_attribute(value.name, name) if name != "__name__" else class_name(m, value)
    if isinstance(value, Tensor):
        found = tensor_attribute(m, value, name)
        return found if found is not None else Native(name, value)
    if isinstance(value, LayerVal):
        return layer_attribute(m, value.layer, name)
    if isinstance(value, Class):
        return class_attribute(m, value, name)
    if isinstance(value, ScopeVal):
        return module_attribute(m, value.scope, name)
    if isinstance(value, Super):
        return super_attribute(m, value, name)
    if isinstance(value, OneOf):
        found_values = [attribute(m, choice, name) for choice in value.values if choice != NONE]
        return one_of(found_values) if found_values else UNK
    return _other_attribute(value, name)


def _other_attribute(value: Value, name: str) -> Value:
    if isinstance(value, ParamOf):
        return _parameter_attribute(value, name)
    if isinstance(value, Seq | Mapping | Item) or (isinstance(value, Const) and isinstance(value.value, str)):
        return Native(name, value)
    if isinstance(value, OptimiserVal):
        if name == "param_groups":
            schedule(value)
        return UNK
    if isinstance(value, Partial):
        return _partial_attribute(value, name)
    if isinstance(value, Function) and name in ("__name__", "__module__"):
        return Const(value.name if name == "__name__" else value.scope.dotted)
    if isinstance(value, Unk) and value.name and len(value.name) < 60:
        return Unk(f"{value.name}.{name}")
    return UNK


def _parameter_attribute(value: ParamOf, name: str) -> Value:
    if name in ("data", "T"):
        return value
    if name == "requires_grad":
        return UNK if value.layer.args.get("frozen") is True else Const(True)
    return UNK if name in ("shape", "device", "dtype", "grad") else Native(name, value)


def _partial_attribute(value: Partial, name: str) -> Value:
    if name == "func":
        return value.callee
    if name == "keywords":
        return mapping(dict(value.kwargs))
    return seq(value.args, "tuple") if name == "args" else UNK


def module_attribute(m: Machine, scope: ModuleScope, name: str) -> Value:
    """An attribute of an imported file of the project."""
    m.load(m, scope)
    if name in scope.names or name in scope.definitions:
        return lookup(m, name, Frame(scope, scope.names))
    inner = scope.project.submodule(scope, name)
    return ScopeVal(inner) if inner is not None else UNK


# -- calls --------------------------------------------------------------------------------------


def _call(m: Machine, node: ast.Call, frame: Frame) -> Value:
    callee = m.evaluate(m, node.func, frame)
    arguments = _arguments(m, node, frame)
    outer, m.place = m.place, (frame.scope, node)
    try:
        special = _special_call(m, callee, arguments, node, frame)
        return special if special is not None else m.call(m, callee, arguments)
    finally:
        m.place = outer


def _arguments(m: Machine, node: ast.Call, frame: Frame) -> Arguments:
    args: list[Value] = []
    is_open = False
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            items, exact = iterate(m, m.evaluate(m, argument.value, frame))
            args.extend(items)
            is_open = is_open or not exact
        else:
            args.append(m.evaluate(m, argument, frame))
    kwargs: list[tuple[str, Value]] = []
    for keyword in node.keywords:
        value = m.evaluate(m, keyword.value, frame)
        if keyword.arg is not None:
            kwargs.append((keyword.arg, value))
        elif isinstance(value, Mapping):
            kwargs.extend((str(k), v) for k, v in value.items.items())
            is_open = is_open or not value.closed
        else:
            is_open = True
    return Arguments(tuple(args), tuple(kwargs), is_open)


def _special_call(
    m: Machine, callee: Value, arguments: Arguments, node: ast.Call, frame: Frame
) -> Value | None:
    """Calls that need the frame or the name they are written with."""
    if isinstance(callee, Builtin):
        if callee.name == "super":
            return _super(arguments, frame)
        if callee.name == "getattr":
            return _getattr(m, arguments)
        if callee.name == "locals":
            return mapping({name: value for name, value in frame.names.items()})  # noqa: C416 (wider keys)
    if isinstance(node.func, ast.Attribute):
        return _of_trainer(m, callee, arguments, node.func.attr)
    return None


def _of_trainer(m: Machine, callee: Value, arguments: Arguments, name: str) -> Value | None:
    """Methods of what trains a network, known by their names: Lightning, Fabric, Accelerate, GradScaler, autograd."""
    first = arguments.args[0] if arguments.args else None
    of_library = isinstance(callee, Unk | External) or (
        isinstance(callee, Native) and isinstance(callee.receiver, Instance)
    )
    if name in ("backward", "manual_backward") and of_library and isinstance(first, Tensor):
        return note_backward(m, first)
    if name == "scale" and isinstance(callee, Unk) and isinstance(first, Tensor):
        return m.opaque(first, spelling="scale")
    if name == "prepare" and isinstance(callee, Unk):
        return seq(arguments.args, "tuple") if len(arguments.args) > 1 else arguments.get(0, "")
    return None


def _super(arguments: Arguments, frame: Frame) -> Value:
    if len(arguments.args) == 2 and isinstance(arguments.args[0], Class):
        return Super(arguments.args[0], arguments.args[1])
    inner: Frame | None = frame
    while inner is not None:
        if inner.function is not None and inner.function.owner is not None and inner.receiver is not None:
            return Super(inner.function.owner, inner.receiver)
        inner = inner.parent
    return UNK


def _getattr(m: Machine, arguments: Arguments) -> Value:
    if len(arguments.args) < 2:
        return UNK
    owner, name = arguments.args[0], arguments.args[1]
    if isinstance(name, OneOf):
        return m.join(
            [_getattr(m, Arguments((owner, choice, *arguments.args[2:]))) for choice in name.values]
        )
    if not isinstance(name, Const) or not isinstance(name.value, str):
        return UNK
    default = arguments.args[2] if len(arguments.args) > 2 else None
    if isinstance(owner, Instance) and default is not None and not owner.opaque:
        known = name.value in owner.attrs or (
            owner.cls is not None and owner.cls.find(name.value) is not None
        )
        return attribute(m, owner, name.value) if known else default
    found = attribute(m, owner, name.value)
    return one_of([found, default]) if default is not None and not isinstance(owner, External) else found


# -- operators ----------------------------------------------------------------------------------


def _at(m: Machine, node: ast.expr, frame: Frame, run: Callable[[], Value]) -> Value:
    outer, m.place = m.place, (frame.scope, node)
    try:
        return run()
    finally:
        m.place = outer


def _binop(m: Machine, node: ast.BinOp, frame: Frame) -> Value:
    left = m.evaluate(m, node.left, frame)
    right = m.evaluate(m, node.right, frame)
    if isinstance(node.op, ast.Mod) and isinstance(left, Const) and isinstance(left.value, str):
        return _formatted(left.value, right)
    return _at(m, node, frame, lambda: _noted(m, binary(m, type(node.op), left, right), node))


def _formatted(text: str, value: Value) -> Value:
    """``"layer%d" % i``."""
    values = value.items if isinstance(value, Seq) and value.kind == "tuple" else (value,)
    plain = tuple(v.value for v in values if isinstance(v, Const))
    if len(plain) != len(values):
        return UNK
    try:
        return Const(text % plain)
    except (TypeError, ValueError):
        return UNK


def _noted(m: Machine, value: Value, node: ast.BinOp) -> Value:
    if isinstance(value, Seq) and value.state.get("repeated") is True:
        value.state["repeated_at"] = node
    return value


def _unaryop(m: Machine, node: ast.UnaryOp, frame: Frame) -> Value:
    value = m.evaluate(m, node.operand, frame)
    if isinstance(node.op, ast.Not):
        answer = truth(value)
        return UNK if answer is None else Const(not answer)
    return _at(m, node, frame, lambda: unary(m, type(node.op), value))


def _boolop(m: Machine, node: ast.BoolOp, frame: Frame) -> Value:
    stops_at = isinstance(node.op, ast.Or)
    possible: list[Value] = []
    for operand in node.values:
        value = m.evaluate(m, operand, frame)
        answer = truth(value)
        if answer is stops_at:
            return m.join([*possible, value])
        if answer is None or operand is node.values[-1]:
            possible.append(value)
    return m.join(possible) if possible else value


def _compare(m: Machine, node: ast.Compare, frame: Frame) -> Value:
    left = m.evaluate(m, node.left, frame)
    results: list[Value] = []
    for op, expression in zip(node.ops, node.comparators, strict=True):
        right = m.evaluate(m, expression, frame)
        results.append(_at(m, node, frame, lambda op=op, a=left, b=right: compare(m, type(op), a, b)))  # type: ignore[misc]
        left = right
    if len(results) == 1:
        return results[0]
    answers = [truth(r) for r in results]
    return FALSE if False in answers else (TRUE if None not in answers else UNK)


def _ifexp(m: Machine, node: ast.IfExp, frame: Frame) -> Value:
    answer = truth(m.evaluate(m, node.test, frame))
    with m.under(node.test):
        if answer is not None:
            return m.evaluate(m, node.body if answer else node.orelse, frame)
        return _either(m, node, frame)


def _either(m: Machine, node: ast.IfExp, frame: Frame) -> Value:
    """Both sides of a conditional expression whose test is not known, joined."""
    results: list[Value] = []

    def attempt(expression: ast.expr) -> str:
        results.append(m.evaluate(m, expression, frame))
        return Flow.NORMAL

    m.branch([lambda: attempt(node.body), lambda: attempt(node.orelse)])
    return _at(m, node, frame, lambda: m.join(results))


# -- displays -----------------------------------------------------------------------------------


def _display(kind: str) -> Callable[[Machine, Any, Frame], Value]:
    def build(m: Machine, node: ast.List | ast.Tuple | ast.Set, frame: Frame) -> Value:
        items: list[Value] = []
        exact = True
        for element in node.elts:
            if isinstance(element, ast.Starred):
                more, all_of_them = iterate(m, m.evaluate(m, element.value, frame))
                items.extend(more)
                exact = exact and all_of_them
            else:
                items.append(m.evaluate(m, element, frame))
        return seq(items, kind, exact)

    return build


def _dict(m: Machine, node: ast.Dict, frame: Frame) -> Value:
    items: dict[Plain, Value] = {}
    rest: list[Value] = []
    exact = True
    for key, expression in zip(node.keys, node.values, strict=True):
        value = m.evaluate(m, expression, frame)
        name = m.evaluate(m, key, frame) if key is not None else None
        if name is None:
            exact = exact and isinstance(value, Mapping) and value.closed
            items |= value.items if isinstance(value, Mapping) else {}
        elif isinstance(name, Const):
            items[name.value] = value
        else:
            rest.append(value)
            exact = False
    return mapping(items, exact, tuple(rest))


def _joined(m: Machine, node: ast.JoinedStr, frame: Frame) -> Value:
    parts: list[str] = []
    for piece in node.values:
        inner = piece.value if isinstance(piece, ast.FormattedValue) else piece
        value = m.evaluate(m, inner, frame)
        if not isinstance(value, Const) or (isinstance(piece, ast.FormattedValue) and piece.format_spec):
            return UNK
        parts.append(str(value.value))
    return Const("".join(parts))


def _comprehension(kind: str) -> Callable[[Machine, Any, Frame], Value]:
    def build(m: Machine, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, frame: Frame) -> Value:
        items: list[Value] = []
        inner = Frame(frame.scope, State(), frame, frame.function, frame.receiver)

        def collect() -> None:
            items.append(m.evaluate(m, node.elt, inner))

        exact = _generate(m, node.generators, inner, collect)
        return seq(items, kind, exact)

    return build


def _dict_comprehension(m: Machine, node: ast.DictComp, frame: Frame) -> Value:
    items: dict[Plain, Value] = {}
    rest: list[Value] = []
    inner = Frame(frame.scope, State(), frame, frame.function, frame.receiver)

    def collect() -> None:
        key = m.evaluate(m, node.key, inner)
        value = m.evaluate(m, node.value, inner)
        if isinstance(key, Const):
            items[key.value] = value
        else:
            rest.append(value)

    exact = _generate(m, node.generators, inner, collect)
    return mapping(items, exact and not rest, tuple(rest))


def _generate(
    m: Machine, generators: list[ast.comprehension], frame: Frame, collect: Callable[[], None]
) -> bool:
    """Run the loops of a comprehension; False where the number of rounds is not known."""
    if not generators:
        collect()
        return True
    first, rest = generators[0], generators[1:]
    items, exact = iterate(m, m.evaluate(m, first.iter, frame))
    for item in items:
        assign(m, first.target, item, frame)
        answers = [truth(m.evaluate(m, test, frame)) for test in first.ifs]
        if False in answers:
            continue
        exact = exact and None not in answers
        exact = _generate(m, rest, frame, collect) and exact
    return exact


def _subscript(m: Machine, node: ast.Subscript, frame: Frame) -> Value:
    value = m.evaluate(m, node.value, frame)
    key = m.evaluate(m, node.slice, frame)
    return _at(m, node, frame, lambda: get_item(m, value, key))


def _slice(m: Machine, node: ast.Slice, frame: Frame) -> Value:
    bounds = [m.evaluate(m, b, frame) if b is not None else NONE for b in (node.lower, node.upper, node.step)]
    return seq(bounds, "slice")


def _lambda(_m: Machine, node: ast.Lambda, frame: Frame) -> Value:
    return Function(node, frame.scope, frame)


def _walrus(m: Machine, node: ast.NamedExpr, frame: Frame) -> Value:
    value = m.evaluate(m, node.value, frame)
    assign(m, node.target, value, frame)
    return value


def _starred(m: Machine, node: ast.Starred, frame: Frame) -> Value:
    return m.evaluate(m, node.value, frame)


def _await(m: Machine, node: ast.Await, frame: Frame) -> Value:
    return m.evaluate(m, node.value, frame)


def _yield(m: Machine, node: ast.Yield | ast.YieldFrom, frame: Frame) -> Value:
    value = m.evaluate(m, node.value, frame) if node.value is not None else NONE
    if frame.yields is None:
        frame.yields = []
    if isinstance(node, ast.YieldFrom):
        frame.yields.extend(iterate(m, value)[0])
    else:
        frame.yields.append(value)
    return UNK


_HANDLERS: dict[type[ast.expr], Callable[[Machine, Any, Frame], Value]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.BinOp: _binop,
    ast.UnaryOp: _unaryop,
    ast.BoolOp: _boolop,
    ast.Compare: _compare,
    ast.IfExp: _ifexp,
    ast.List: _display("list"),
    ast.Tuple: _display("tuple"),
    ast.Set: _display("set"),
    ast.Dict: _dict,
    ast.JoinedStr: _joined,
    ast.ListComp: _comprehension("list"),
    ast.SetComp: _comprehension("set"),
    ast.GeneratorExp: _comprehension("list"),
    ast.DictComp: _dict_comprehension,
    ast.Subscript: _subscript,
    ast.Slice: _slice,
    ast.Lambda: _lambda,
    ast.NamedExpr: _walrus,
    ast.Starred: _starred,
    ast.Await: _await,
    ast.Yield: _yield,
    ast.YieldFrom: _yield,
}


# -- targets ------------------------------------------------------------------------------------


def assign(m: Machine, target: ast.expr, value: Value, frame: Frame, at: ast.AST | None = None) -> None:
    """``target = value``."""
    if isinstance(target, ast.Name):
        names = frame.scope.names if target.id in frame.globals_declared else frame.names
        m.heap.store(names, target.id, value)
    elif isinstance(target, ast.Attribute):
        owner = m.evaluate(m, target.value, frame)
        outer, m.place = m.place, (frame.scope, target)
        try:
            set_attribute(m, owner, target.attr, value, at)
        finally:
            m.place = outer
    elif isinstance(target, ast.Tuple | ast.List):
        _assign_several(m, target, value, frame)
    elif isinstance(target, ast.Subscript):
        _assign_item(m, target, value, frame)
    elif isinstance(target, ast.Starred):
        assign(m, target.value, value, frame)


def _assign_several(m: Machine, target: ast.Tuple | ast.List, value: Value, frame: Frame) -> None:
    starred = next((i for i, t in enumerate(target.elts) if isinstance(t, ast.Starred)), None)
    outer, m.place = m.place, (frame.scope, target)
    try:
        values = unpack(m, value, len(target.elts), starred)
    finally:
        m.place = outer
    if len(values) != len(target.elts):
        values = [UNK] * len(target.elts)
    for element, item in zip(target.elts, values, strict=True):
        assign(m, element, item, frame)


def _assign_item(m: Machine, target: ast.Subscript, value: Value, frame: Frame) -> None:
    owner = m.evaluate(m, target.value, frame)
    key = m.evaluate(m, target.slice, frame)
    outer, m.place = m.place, (frame.scope, target)
    try:
        m.put(m, owner, key, value)
    finally:
        m.place = outer
