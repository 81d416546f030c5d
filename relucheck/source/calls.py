"""Calling values: functions run, modules are applied, layers become nodes."""

from __future__ import annotations

import ast

from relucheck.ops import Kind
from relucheck.source.binding import Arguments
from relucheck.source.builtins import BUILTINS, dict_method, seq_method, text_method
from relucheck.source.drafts import OutputDraft
from relucheck.source.externals import call_external
from relucheck.source.hooks import seen_by_hooks
from relucheck.source.layers import apply_layer, param_method
from relucheck.source.machine import Machine
from relucheck.source.natives import call_module, call_native, output_nodes
from relucheck.source.objects import instantiate, is_module_class
from relucheck.source.tensors import call_method, note_backward
from relucheck.source.values import (
    NONE,
    UNK,
    Bound,
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
    ParamOf,
    Partial,
    Seq,
    State,
    Tensor,
    Unk,
    Value,
    mapping,
    seq,
)

MAX_SAME = 3


def call(m: Machine, callee: Value, arguments: Arguments) -> Value:
    """The result of calling a value."""
    m.tick()
    if isinstance(callee, Bound):
        return _call_bound(m, callee, arguments)
    if isinstance(callee, Function):
        return call_function(m, callee, arguments, None)
    if isinstance(callee, LayerVal):
        return seen_by_hooks(m, callee, apply_layer(m, callee.layer, arguments))
    if isinstance(callee, External):
        return call_external(m, callee.name, arguments)
    if isinstance(callee, Class):
        return instantiate(m, callee, arguments)
    if isinstance(callee, Instance):
        return call_instance(m, callee, arguments)
    if isinstance(callee, Native):
        return _call_native(m, callee, arguments)
    if isinstance(callee, Builtin):
        handler = BUILTINS.get(callee.name)
        return handler(m, arguments) if handler is not None else m.opaque(*arguments.values())
    if isinstance(callee, Partial):
        return _call_partial(m, callee, arguments)
    if isinstance(callee, OneOf):
        return _call_one_of(m, callee, arguments)
    return m.opaque(*arguments.values())


def _call_bound(m: Machine, callee: Bound, arguments: Arguments) -> Value:
    """A method; ``model.forward(x)`` from outside is a call of the model."""
    receiver = callee.receiver
    is_forward = callee.function.name == "forward" and isinstance(receiver, Instance) and receiver.is_module
    if is_forward and isinstance(receiver, Instance) and not any(module is receiver for module in m.forwards):
        return call_instance(m, receiver, arguments)
    return call_function(m, callee.function, arguments.after(receiver), receiver)


def _call_partial(m: Machine, callee: Partial, arguments: Arguments) -> Value:
    given = {k for k, _ in arguments.kwargs}
    kept = tuple((k, v) for k, v in callee.kwargs if k not in given)
    whole = Arguments((*callee.args, *arguments.args), (*kept, *arguments.kwargs), arguments.open)
    return m.call(m, callee.callee, whole)


def _call_one_of(m: Machine, callee: OneOf, arguments: Arguments) -> Value:
    """Call each alternative in a branch of its own; None cannot be called, so it is not the one."""
    results: list[Value] = []
    choices = [choice for choice in callee.values if choice != NONE]
    if len(choices) == 1:
        return m.call(m, choices[0], arguments)
    if any(_is_chosen_here(m, choice) for choice in choices):
        return m.opaque(*arguments.values())

    def attempt(choice: Value) -> str:
        results.append(m.call(m, choice, arguments))
        return Flow.NORMAL

    m.guessing += 1
    try:
        m.branch([lambda choice=choice: attempt(choice) for choice in choices])  # type: ignore[misc]
    finally:
        m.guessing -= 1
    return m.join(results) if results else UNK


def _is_chosen_here(m: Machine, choice: Value) -> bool:
    """Whether a loss was made under a test of the same name as that which the call stands under.

    Both know which loss it is, so ``if kind == "ce": self.loss(logits, y)`` is a call of one of them only.
    """
    if not isinstance(choice, LayerVal) or choice.layer.info.kind is not Kind.LOSS:
        return False
    made_under = choice.layer.args.get("under")
    return isinstance(made_under, tuple) and not m.names_tested().isdisjoint(made_under)


def call_instance(m: Machine, instance: Instance, arguments: Arguments) -> Value:
    """``instance(...)``: a module's forward, or ``__call__``."""
    own_call = instance.cls.find("__call__") if instance.cls is not None else None
    if isinstance(own_call, Function) and not instance.is_module:
        return call_function(m, own_call, arguments.after(instance), instance)
    if not instance.is_module:
        return m.opaque(*arguments.values(), spelling=instance.class_name)
    outermost = not m.forwards and not any(_is_of_module(function) for function in m.running)
    result = call_module(m, instance, _with_input(m, arguments))
    if outermost:
        record_output(m, instance, "forward", result)
    return result


def _is_of_module(function: Function) -> bool:
    """Whether a function is a method of a network: what it calls stays inside the network."""
    return function.owner is not None and is_module_class(function.owner)


def _with_input(m: Machine, arguments: Arguments) -> Arguments:
    """What goes into a network first is a tensor, also where it is not known which."""
    if arguments.args and isinstance(arguments.args[0], Unk) and not arguments.args[0].name:
        return Arguments((m.node("input"), *arguments.args[1:]), arguments.kwargs, arguments.open)
    return arguments


def record_output(m: Machine, instance: Instance, method: str, result: Value) -> None:
    """Note what a network returns to code outside any network."""
    cls = instance.cls
    bases = cls.outside() if cls is not None else ()
    for returned in output_nodes(result):
        node = m.resolve(Tensor(returned)).node
        m.tape.outputs.append(
            OutputDraft(node, instance.class_name, method, m.here(), _is_contained(m, instance), bases)
        )


def _is_contained(m: Machine, instance: Instance) -> bool:
    return instance.cls is not None and id(instance.cls.node) in m.contained


def _call_native(m: Machine, callee: Native, arguments: Arguments) -> Value:
    receiver, name = callee.receiver, callee.name
    if isinstance(receiver, Tensor):
        return note_backward(m, receiver) if name == "backward" else call_method(m, receiver, name, arguments)
    if isinstance(receiver, LayerVal | Instance):
        return call_native(m, name, receiver, arguments)
    if isinstance(receiver, Seq):
        return seq_method(m, receiver, name, arguments)
    if isinstance(receiver, Mapping):
        return dict_method(m, receiver, name, arguments)
    if isinstance(receiver, Const) and isinstance(receiver.value, str):
        return text_method(m, receiver.value, name, arguments)
    if isinstance(receiver, ParamOf):
        return param_method(m, receiver, name, arguments)
    if isinstance(receiver, Item):
        return receiver
    return m.opaque(*arguments.values())


# -- functions ----------------------------------------------------------------------------------


def call_function(m: Machine, function: Function, arguments: Arguments, receiver: Value | None) -> Value:
    """Run a function of the project on its arguments; too deep, it is not followed."""
    if m.too_deep or m.running.count(function) >= MAX_SAME:
        return m.opaque(*arguments.values(), spelling=function.name)
    frame = Frame(function.scope, State(), function.closure, function, receiver)
    _bind_parameters(m, function, arguments, frame)
    sites, site = m.sites, m.here()
    if site is not None:
        m.sites = (*sites, site)
    m.depth += 1
    m.running.append(function)
    m.making.append([])
    m.covered.setdefault(id(function.node))
    outer = m.place, m.discarding
    try:
        return _run(m, function, frame)
    finally:
        m.place, m.discarding = outer
        m.running.pop()
        m.making.pop()
        m.depth -= 1
        m.sites = sites


def _run(m: Machine, function: Function, frame: Frame) -> Value:
    node = function.node
    if isinstance(node, ast.Lambda):
        return m.evaluate(m, node.body, frame)
    flow = m.execute(m, node.body, frame)
    if frame.yields is not None:
        return seq(frame.yields, "list")
    if not frame.returns:
        return NONE if flow != Flow.RAISE else UNK
    values = [*frame.returns] if flow != Flow.NORMAL else [*frame.returns, NONE]
    return m.join(values)


def _bind_parameters(m: Machine, function: Function, arguments: Arguments, frame: Frame) -> None:
    spec = function.node.args
    positional = [*spec.posonlyargs, *spec.args]
    names = frame.names
    given = dict(arguments.kwargs)
    for i, parameter in enumerate(positional):
        if i < len(arguments.args):
            names[parameter.arg] = arguments.args[i]
        elif parameter.arg in given:
            names[parameter.arg] = given.pop(parameter.arg)
        else:
            names[parameter.arg] = _default(m, function, parameter.arg, arguments.open)
    if spec.vararg is not None:
        names[spec.vararg.arg] = seq(arguments.args[len(positional) :], "tuple", not arguments.open)
    for parameter in spec.kwonlyargs:
        value = given.pop(parameter.arg, None)
        names[parameter.arg] = (
            value if value is not None else _default(m, function, parameter.arg, arguments.open)
        )
    if spec.kwarg is not None:
        names[spec.kwarg.arg] = mapping(dict(given), not arguments.open)  # type: ignore[arg-type]


def _default(m: Machine, function: Function, name: str, is_open: bool) -> Value:
    """The default of a parameter; a star among the arguments may hide another value."""
    expression = default_of(function.node.args, name)
    if expression is None or is_open:
        return Unk(name)
    if name not in function.defaults:
        frame = function.closure or Frame(function.scope, function.scope.names)
        function.defaults[name] = m.evaluate(m, expression, frame)
    return function.defaults[name]


def default_of(spec: ast.arguments, name: str) -> ast.expr | None:
    """The expression of a parameter's default."""
    positional = [*spec.posonlyargs, *spec.args]
    first = len(positional) - len(spec.defaults)
    for i, parameter in enumerate(positional):
        if parameter.arg == name:
            return spec.defaults[i - first] if i >= first else None
    for parameter, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        if parameter.arg == name:
            return default
    return None
