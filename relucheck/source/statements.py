"""Statements: how each runs, what it leaves behind, and how the block ends."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from relucheck.source.binding import Arguments
from relucheck.source.builtins import put_item, seq_method
from relucheck.source.decorators import run_decorators
from relucheck.source.drafts import NodeDraft
from relucheck.source.expressions import assign, attribute
from relucheck.source.externals import import_name, star_names
from relucheck.source.iteration import iterate
from relucheck.source.layers import replace_param
from relucheck.source.machine import Machine, names_in, turns_gradients_off
from relucheck.source.modules import Definition, ModuleScope, make_function
from relucheck.source.natives import call_native
from relucheck.source.operators import binary
from relucheck.source.overwriting import overwrite, put_entries
from relucheck.source.rows import delete_attribute, delete_item, put_element, put_module
from relucheck.source.syntax import walk
from relucheck.source.values import (
    NONE,
    UNK,
    Class,
    Const,
    External,
    Flow,
    Frame,
    Function,
    Instance,
    LayerVal,
    Mapping,
    Native,
    OneOf,
    OptimiserVal,
    ParamOf,
    ScopeVal,
    Seq,
    Tensor,
    Value,
    truth,
)


def execute(m: Machine, body: list[ast.stmt], frame: Frame) -> str:
    """Run a block until it ends; the answer says how."""
    for at, statement in enumerate(body, 1):
        handler = _HANDLERS.get(type(statement))
        if handler is None:
            continue
        m.tick()
        flow = handler(m, statement, frame)
        if flow != Flow.NORMAL:
            return flow
        if isinstance(statement, ast.If) and _leaves_by_mode(statement):
            with m.under(statement.test):
                return execute(m, body[at:], frame)
    return Flow.NORMAL


def _leaves_by_mode(node: ast.If) -> bool:
    """Whether what follows belongs to one mode only: ``if not self.training: return x``."""
    leaves = isinstance(node.body[-1], ast.Return) and not node.orelse
    return leaves and "training" in names_in(node.test)


def _expression(m: Machine, node: ast.Expr, frame: Frame) -> str:
    if isinstance(node.value, ast.Constant):
        return Flow.NORMAL
    outer, m.discarding = m.discarding, node.value
    try:
        value = m.evaluate(m, node.value, frame)
    finally:
        m.discarding = outer
    if isinstance(value, Tensor) and isinstance(node.value, ast.Call):
        _write_out(m, node.value, value, frame)
    if isinstance(value, Tensor) and _changes_input(value.node):
        overwrite(m, Tensor(value.node.inputs[0]), value)
    return Flow.NORMAL


def _write_out(m: Machine, node: ast.Call, value: Tensor, frame: Frame) -> None:
    """``torch.tanh(x, out=y)`` as a statement: its result is not thrown away, y holds it."""
    out = next((keyword.value for keyword in node.keywords if keyword.arg == "out"), None)
    target = m.evaluate(m, out, frame) if out is not None else None
    if isinstance(target, Tensor):
        value.node.discarded = False
        overwrite(m, target, value)


def _changes_input(node: NodeDraft) -> bool:
    """Whether an expression statement is an in-place call: its input now holds the result."""
    return node.discarded and node.args.get("inplace") is True and bool(node.inputs)


def _assign(m: Machine, node: ast.Assign, frame: Frame) -> str:
    value = m.evaluate(m, node.value, frame)
    for target in node.targets:
        assign(m, target, value, frame, node.value)
    return Flow.NORMAL


def _annotated(m: Machine, node: ast.AnnAssign, frame: Frame) -> str:
    if node.value is not None:
        assign(m, node.target, m.evaluate(m, node.value, frame), frame, node.value)
    return Flow.NORMAL


def _augmented(m: Machine, node: ast.AugAssign, frame: Frame) -> str:
    old = m.evaluate(m, node.target, frame)
    value = m.evaluate(m, node.value, frame)
    outer, m.place = m.place, (frame.scope, node)
    try:
        if isinstance(old, Seq) and old.kind == "list" and isinstance(node.op, ast.Add):
            seq_method(m, old, "extend", Arguments((value,)))
            return Flow.NORMAL
        if isinstance(old, Instance) and old.container and isinstance(node.op, ast.Add):
            call_native(m, "extend", old, Arguments((value,)))
            return Flow.NORMAL
        result = binary(m, type(node.op), old, value, inplace=True)
    finally:
        m.place = outer
    assign(m, node.target, result, frame)
    return Flow.NORMAL


def _return(m: Machine, node: ast.Return, frame: Frame) -> str:
    value = m.evaluate(m, node.value, frame) if node.value is not None else NONE
    frame.returns.append(value)
    return Flow.RETURN


# ``if activation is not None: layers.append(activation())``, with a call that asks for none.
_ACTIVATION = re.compile(r"^(?:act|activ|nonlin|non_lin)", re.IGNORECASE)


def _asks_for_activation(test: ast.expr) -> bool:
    """Whether a test is about an activation by its name."""
    return any(_ACTIVATION.search(name) for name in names_in(test))


def _if(m: Machine, node: ast.If, frame: Frame) -> str:
    answer = truth(m.evaluate(m, node.test, frame))
    if answer is False and not node.orelse and _asks_for_activation(node.test):
        m.decline()
    with m.under(node.test):
        if answer is not None:
            return execute(m, node.body if answer else node.orelse, frame)
        outer, m.place = m.place, (frame.scope, node.test)
        try:
            return m.branch([lambda: execute(m, node.body, frame), lambda: execute(m, node.orelse, frame)])
        finally:
            m.place = outer


# -- loops --------------------------------------------------------------------------------------

MAX_FORWARD_ROUNDS = 24
MAX_NETWORKS = 8
MAX_PARAMETERS = 64


def _for(m: Machine, node: ast.For | ast.AsyncFor, frame: Frame) -> str:
    value = m.evaluate(m, node.iter, frame)
    items, exact = iterate(m, value)
    if m.forwards or _builds(node, frame.scope):
        start = _common_start(value)
        if start is not None:
            sure, perhaps = start
            flow = _known_rounds(m, node, sure, frame)
            return flow if flow != Flow.NORMAL else _unknown_rounds(m, node, perhaps, frame)
        if exact and (not m.forwards or len(items) <= MAX_FORWARD_ROUNDS):
            return _known_rounds(m, node, items, frame)
        return _unknown_rounds(m, node, items[:2], frame)
    if exact and (_are_parameters(items) or len(items) <= MAX_NETWORKS) and any(map(_is_object, items)):
        return _known_rounds(m, node, items, frame)
    return _unknown_rounds(m, node, items[:1], frame)  # a training loop does the same every round


def _common_start(value: Value) -> tuple[tuple[Value, ...], tuple[Value, ...]] | None:
    """The items of a list that may go on, and those that may follow: ``names += ("size",)`` under an unknown test."""
    rows = (
        [v.items for v in value.values if isinstance(v, Seq) and v.exact] if isinstance(value, OneOf) else []
    )
    if not isinstance(value, OneOf) or len(rows) != len(value.values):
        return None
    shortest, longest = min(rows, key=len), max(rows, key=len)
    if any(row != longest[: len(row)] for row in rows):
        return None
    return shortest, longest[len(shortest) :]


def _is_object(value: Value) -> bool:
    """Whether a loop over such values does something else every round: networks, layers, losses."""
    if isinstance(value, Seq) and value.kind == "tuple":
        return any(_is_object(item) for item in value.items)
    return isinstance(value, Instance | LayerVal | Class | Function | External | OptimiserVal | ParamOf)


def _are_parameters(items: tuple[Value, ...]) -> bool:
    """Whether a loop is about a network's parameters, perhaps with their names: it initialises them."""
    last = (item.items[-1] if isinstance(item, Seq) and item.items else item for item in items)
    return len(items) <= MAX_PARAMETERS and all(isinstance(item, ParamOf) for item in last)


def _builds(node: ast.For | ast.AsyncFor, scope: ModuleScope) -> bool:
    """Whether a loop outside any forward builds something, rather than trains."""
    known = scope.building.get(id(node))
    if known is None:
        known = scope.building[id(node)] = _grows_something(node)
    return known


def _grows_something(node: ast.For | ast.AsyncFor) -> bool:
    inner = list(walk(node))
    words = {n.attr for n in inner if isinstance(n, ast.Attribute)}
    if words & {"backward", "zero_grad", "step"}:
        return False
    grows = any(isinstance(n, ast.AugAssign | ast.Subscript) for n in inner)
    return grows or bool(words & {"append", "extend", "insert", "add_module", "setdefault", "update"})


def _known_rounds(m: Machine, node: ast.For | ast.AsyncFor, items: tuple[Value, ...], frame: Frame) -> str:
    for item in items:
        assign(m, node.target, item, frame)
        flow = execute(m, node.body, frame)
        if flow == Flow.BREAK:
            return Flow.NORMAL
        if flow in (Flow.RETURN, Flow.RAISE):
            return flow
    return execute(m, node.orelse, frame)


def _unknown_rounds(m: Machine, node: ast.For | ast.AsyncFor, items: tuple[Value, ...], frame: Frame) -> str:
    def rounds() -> str:
        for item in items:
            assign(m, node.target, item, frame)
            if execute(m, node.body, frame) not in (Flow.NORMAL, Flow.CONTINUE):
                break
        return Flow.NORMAL

    return _loop(m, node, rounds, frame)


def _loop(m: Machine, node: ast.stmt, rounds: Callable[[], str], frame: Frame) -> str:
    _, written = m.heap.fork(rounds)
    outer, m.place = m.place, (frame.scope, node)
    try:
        m.finish_loop(written)
    finally:
        m.place = outer
    return Flow.NORMAL


def _while(m: Machine, node: ast.While, frame: Frame) -> str:
    """Rounds while the condition is known to hold; two where it is not known."""
    for _ in range(MAX_FORWARD_ROUNDS):
        answer = truth(m.evaluate(m, node.test, frame))
        if answer is False:
            return Flow.NORMAL
        if answer is None or isinstance(node.test, ast.Constant):
            break
        flow = execute(m, node.body, frame)
        if flow == Flow.BREAK:
            return Flow.NORMAL
        if flow in (Flow.RETURN, Flow.RAISE):
            return flow

    def rounds() -> str:
        for _ in range(2):
            if execute(m, node.body, frame) not in (Flow.NORMAL, Flow.CONTINUE):
                break
        return Flow.NORMAL

    return _loop(m, node, rounds, frame)


# -- blocks -------------------------------------------------------------------------------------


def _with(m: Machine, node: ast.With | ast.AsyncWith, frame: Frame) -> str:
    for item in node.items:
        value = m.evaluate(m, item.context_expr, frame)
        if item.optional_vars is not None:
            assign(m, item.optional_vars, value if isinstance(value, Instance) else UNK, frame)
    off = any(turns_gradients_off(item.context_expr) for item in node.items)
    m.no_grad += off
    try:
        return execute(m, node.body, frame)
    finally:
        m.no_grad -= off


def _try(m: Machine, node: ast.Try, frame: Frame) -> str:
    """The body runs; a handler only where the body surely raises."""
    flow = execute(m, node.body, frame)
    if flow == Flow.RAISE and node.handlers:
        flow = execute(m, node.handlers[0].body, frame)
    elif flow == Flow.NORMAL:
        flow = execute(m, node.orelse, frame)
    last = execute(m, node.finalbody, frame)
    return last if last != Flow.NORMAL else flow


def _match(m: Machine, node: ast.Match, frame: Frame) -> str:
    subject = m.evaluate(m, node.subject, frame)
    possible: list[list[ast.stmt]] = []
    certain = False
    for case in node.cases:
        answer = _matches(m, case, subject, frame)
        if answer is False:
            continue
        possible.append(case.body)
        if answer is True:
            certain = True
            break
    if certain and len(possible) == 1:
        return execute(m, possible[0], frame)
    bodies = possible if certain else [*possible, []]
    return m.branch([lambda body=body: execute(m, body, frame) for body in bodies])  # type: ignore[misc]


def _matches(m: Machine, case: ast.match_case, subject: Value, frame: Frame) -> bool | None:
    pattern = case.pattern
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
        if pattern.name is not None:
            m.heap.store(frame.names, pattern.name, subject)
        return None if case.guard is not None else True
    patterns = pattern.patterns if isinstance(pattern, ast.MatchOr) else [pattern]
    answers = [_matches_value(m, p, subject, frame) for p in patterns]
    if True in answers and case.guard is None:
        return True
    return None if None in answers or True in answers else False


def _matches_value(m: Machine, pattern: ast.pattern, subject: Value, frame: Frame) -> bool | None:
    if isinstance(pattern, ast.MatchValue):
        wanted = m.evaluate(m, pattern.value, frame)
    elif isinstance(pattern, ast.MatchSingleton):
        wanted = Const(pattern.value)
    else:
        return None
    both = isinstance(wanted, Const) and isinstance(subject, Const)
    return wanted == subject if both else None


def _raise(_m: Machine, _node: ast.Raise, _frame: Frame) -> str:
    return Flow.RAISE


def _break(_m: Machine, _node: ast.Break, _frame: Frame) -> str:
    return Flow.BREAK


def _continue(_m: Machine, _node: ast.Continue, _frame: Frame) -> str:
    return Flow.CONTINUE


def _global(_m: Machine, node: ast.Global, frame: Frame) -> str:
    frame.globals_declared |= frozenset(node.names)
    return Flow.NORMAL


def _delete(m: Machine, node: ast.Delete, frame: Frame) -> str:
    for target in node.targets:
        if isinstance(target, ast.Attribute):
            owner = m.evaluate(m, target.value, frame)
            if isinstance(owner, Instance):
                delete_attribute(m, owner, target.attr)
        elif isinstance(target, ast.Subscript):
            owner = m.evaluate(m, target.value, frame)
            delete_item(m, owner, m.evaluate(m, target.slice, frame))
    return Flow.NORMAL


# -- definitions and imports --------------------------------------------------------------------


def _function(m: Machine, node: ast.FunctionDef | ast.AsyncFunctionDef, frame: Frame) -> str:
    run_decorators(m, node, _bind_function(m, node, frame), frame)
    return Flow.NORMAL


def _bind_function(m: Machine, node: ast.FunctionDef | ast.AsyncFunctionDef, frame: Frame) -> Function:
    function = make_function(node, frame.scope)
    if frame.names is not frame.scope.names:
        function.closure = frame
    m.heap.store(frame.names, node.name, function)
    return function


def _class(m: Machine, node: ast.ClassDef, frame: Frame) -> str:
    run_decorators(m, node, _bind_class(m, node, frame), frame)
    return Flow.NORMAL


def _bind_class(m: Machine, node: ast.ClassDef, frame: Frame) -> Class:
    bases = tuple(m.evaluate(m, base, frame) for base in node.bases)
    cls = Class(node, frame.scope, bases)
    inner = Frame(frame.scope, cls.attrs, frame if frame.names is not frame.scope.names else None)
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            method = make_function(statement, frame.scope, cls)
            method.closure = inner.parent
            cls.attrs[statement.name] = method
        else:
            execute(m, [statement], inner)
    if frame.names is frame.scope.names:
        frame.scope.classes.append(cls)
    m.heap.store(frame.names, node.name, cls)
    return cls


def define(m: Machine, node: Definition, frame: Frame) -> None:
    """Bind a function or class of the top level before its statement has run; its decorators wait for that."""
    m.tick()
    if isinstance(node, ast.ClassDef):
        _bind_class(m, node, frame)
    else:
        _bind_function(m, node, frame)


def _import(m: Machine, node: ast.Import, frame: Frame) -> str:
    for alias in node.names:
        whole = frame.scope.project.find(alias.name, frame.scope)
        if alias.asname is not None:
            value: Value = ScopeVal(whole) if whole is not None else import_name(alias.name)
            m.heap.store(frame.names, alias.asname, value)
            continue
        first = alias.name.partition(".")[0]
        package = frame.scope.project.find(first, frame.scope)
        value = ScopeVal(package) if package is not None else import_name(first)
        m.heap.store(frame.names, first, value)
    return Flow.NORMAL


def _import_from(m: Machine, node: ast.ImportFrom, frame: Frame) -> str:
    scope = frame.scope.project.find(node.module or "", frame.scope, node.level)
    for alias in node.names:
        if alias.name == "*":
            _import_star(m, node, frame)
            continue
        if scope is not None:
            value = attribute(m, ScopeVal(scope), alias.name)
        elif node.level:
            inner = frame.scope.project.find(
                f"{node.module or ''}.{alias.name}".strip("."), frame.scope, node.level
            )
            value = ScopeVal(inner) if inner is not None else UNK
        else:
            value = attribute(m, import_name(node.module or ""), alias.name)
        m.heap.store(frame.names, alias.asname or alias.name, value)
    return Flow.NORMAL


def _import_star(m: Machine, node: ast.ImportFrom, frame: Frame) -> None:
    scope = frame.scope.project.find(node.module or "", frame.scope, node.level)
    if scope is None:
        names = star_names(node.module or "") if not node.level else {}
        for name, value in names.items():
            m.heap.store(frame.names, name, value)
        return
    m.load(m, scope)
    for name in [*scope.definitions, *scope.names]:
        if not name.startswith("_"):
            m.heap.store(frame.names, name, attribute(m, ScopeVal(scope), name))


def put(m: Machine, owner: Value, key: Value, value: Value) -> None:
    """``owner[key] = value``."""
    if isinstance(owner, Mapping):
        put_item(m, owner, key, value)
    elif isinstance(owner, Instance) and owner.container:
        if not put_module(m, owner, key, value):
            call_native(m, "add_module", owner, Arguments((key, value)))
    elif isinstance(owner, Native) and owner.name == "_modules":
        call_native(m, "add_module", owner.receiver, Arguments((key, value)))
    elif isinstance(owner, Seq):
        put_element(m, owner, key, value)
    elif isinstance(owner, Tensor):
        put_entries(m, owner, key, value)
    elif isinstance(owner, ParamOf):
        replace_param(m, owner, value if _is_whole(key) else UNK)  # a part of it is set to who knows what


def _is_whole(key: Value) -> bool:
    """Whether a subscript means all entries: ``[:]``."""
    return isinstance(key, Seq) and key.kind == "slice" and all(bound == NONE for bound in key.items)


_HANDLERS: dict[type[ast.stmt], Callable[[Machine, Any, Frame], str]] = {
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.Return: _return,
    ast.If: _if,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.Match: _match,
    ast.Raise: _raise,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Global: _global,
    ast.Nonlocal: _global,
    ast.Delete: _delete,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
}
