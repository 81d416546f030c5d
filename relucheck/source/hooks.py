"""Forward hooks: they look at what a module returns, and some return another value in its place."""

from __future__ import annotations

import ast

from relucheck.source.binding import Arguments
from relucheck.source.machine import Machine
from relucheck.source.syntax import walk
from relucheck.source.values import UNK, Bound, Function, Instance, LayerVal, Value

HOOKED = "hooked"
"""The argument of a layer, or attribute of a module, that holds whether a hook may replace its result."""

_RETURN_NOTHING = frozenset({"append", "extend", "update", "add", "insert", "setdefault", "copy_", "write"})


def register_forward_hook(m: Machine, receiver: Value, arguments: Arguments) -> Value:
    """``module.register_forward_hook(hook)``."""
    hook = arguments.get(0, "hook")
    replaces = hook is not None and _replaces(hook)
    if isinstance(receiver, LayerVal):
        receiver.layer.args[HOOKED] = replaces or receiver.layer.args.get(HOOKED) is True
    elif isinstance(receiver, Instance) and replaces:
        m.heap.store(receiver.attrs, HOOKED, receiver)
    return UNK


def seen_by_hooks(m: Machine, module: Value, result: Value) -> Value:
    """What a call of a module gives: unknown where a hook may return something else."""
    if isinstance(module, LayerVal):
        return m.opaque(result) if module.layer.args.get(HOOKED) is True else result
    replaced = isinstance(module, Instance) and HOOKED in module.attrs
    return m.opaque(result) if replaced else result


def _replaces(hook: Value) -> bool:
    """Whether a function returns anything; one that is not known only looks, as nearly all do."""
    function = hook.function if isinstance(hook, Bound) else hook
    if not isinstance(function, Function):
        return False
    if isinstance(function.node, ast.Lambda):
        return not _returns_nothing(function.node.body)
    returns = (n.value for s in function.node.body for n in walk(s) if isinstance(n, ast.Return))
    return any(value is not None and not _returns_nothing(value) for value in returns)


def _returns_nothing(value: ast.expr) -> bool:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return value.func.attr in _RETURN_NOTHING
    return isinstance(value, ast.Constant) and value.value is None
