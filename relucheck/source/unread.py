"""Parameters that ask for an activation and that nothing reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from relucheck.net import UnreadParameter
from relucheck.source.machine import Machine
from relucheck.source.syntax import walk
from relucheck.source.values import Class, Function

_ACTIVATION_NAMES = frozenset(
    [
        "act",
        "activation",
        "act_layer",
        "act_fn",
        "act_func",
        "act_cls",
        "activation_fn",
        "activation_layer",
        "activation_func",
        "activation_function",
        "nonlinearity",
        "non_linearity",
        "non_linear",
        "act_type",
        "act_name",
        "activ",
        "hidden_act",
        "hidden_activation",
        "activation_type",
        "activation_name",
    ]
)


def unread_parameters(m: Machine, cls: Class) -> Iterator[UnreadParameter]:
    """The parameters of a class that name an activation and that its ``__init__`` never reads."""
    init = cls.attrs.get("__init__")
    if not isinstance(init, Function) or not isinstance(init.node, ast.FunctionDef):
        return
    spec = init.node.args
    asked = [a for a in [*spec.args[1:], *spec.kwonlyargs] if a.arg in _ACTIVATION_NAMES]
    if not asked or init.node.decorator_list or is_stub(init.node) or _is_template(cls, init.node):
        return
    names = {n.id for s in init.node.body for n in walk(s) if isinstance(n, ast.Name)}
    words = {n.attr for s in init.node.body for n in walk(s) if isinstance(n, ast.Attribute)}
    if names & {"locals", "vars"} or words & {"save_hyperparameters", "currentframe", "stack"}:
        return
    for parameter in asked:
        if parameter.arg not in names and not _subclass_reads(cls, parameter.arg):
            yield UnreadParameter(parameter.arg, m.span_of(parameter, cls.scope))


def is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Whether a body does nothing but document or raise."""
    if isinstance(node, ast.Lambda):
        return False
    rest = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return all(isinstance(s, ast.Pass | ast.Raise) for s in rest)


def _subclass_reads(cls: Class, parameter: str) -> bool:
    """Whether a class in the same file inherits from this one, and reads its own parameter of that name."""
    below = (c.attrs.get("__init__") for c in cls.scope.classes if cls in c.mro() and c is not cls)
    inits = (init.node for init in below if isinstance(init, Function))
    return any(_asks_and_reads(node, parameter) for node in inits if isinstance(node, ast.FunctionDef))


def _asks_and_reads(node: ast.FunctionDef, parameter: str) -> bool:
    """Whether a method has a parameter and uses it for more than to hand it to ``super().__init__``."""
    handed = [
        n for s in node.body for n in walk(s) if isinstance(n, ast.Call) and "super()" in ast.unparse(n.func)
    ]
    to_super = {id(n) for call in handed for n in walk(call)}
    read = (n for s in node.body for n in walk(s) if isinstance(n, ast.Name) and id(n) not in to_super)
    return parameter in {a.arg for a in [*node.args.args, *node.args.kwonlyargs]} and parameter in {
        n.id for n in read
    }


def _is_template(cls: Class, node: ast.FunctionDef) -> bool:
    """Whether ``super().__init__()`` leaves out what the base class requires, so that it cannot be meant to run.

    Files that a generator completes (modular_*.py in transformers) are written like that.
    """
    above = next((c.attrs["__init__"] for c in cls.mro()[1:] if "__init__" in c.attrs), None)
    if not isinstance(above, Function):
        return False
    spec = above.node.args
    required = len(spec.posonlyargs) + len(spec.args) - 1 - len(spec.defaults)
    bare = (n for s in node.body for n in walk(s) if isinstance(n, ast.Call) and not (n.args or n.keywords))
    return required > 0 and any(ast.unparse(call.func) == "super().__init__" for call in bare)
