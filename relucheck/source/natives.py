"""Methods of torch modules that the interpreter carries out itself: ``apply``, ``parameters``, ``append`` ..."""

from __future__ import annotations

from collections.abc import Callable

from relucheck.source.binding import Arguments
from relucheck.source.builtins import dict_method
from relucheck.source.drafts import NodeDraft
from relucheck.source.hooks import register_forward_hook, seen_by_hooks
from relucheck.source.iteration import get_item, is_open, iterate, named_parameters
from relucheck.source.layers import FLUENT, apply_layer, forget_params, freeze, layer_class, layers_in
from relucheck.source.machine import Machine, tensors_in
from relucheck.source.objects import (
    adopt,
    bind_attribute,
    children_of,
    container_items,
    fill_container,
    fill_fields,
    fill_table,
    has_weights,
    is_dataclass,
    modules_of,
    note_repeated,
    own,
    plain_attribute,
    set_attribute,
)
from relucheck.source.rows import pop_module
from relucheck.source.values import (
    NONE,
    UNK,
    Const,
    External,
    Flow,
    Instance,
    LayerVal,
    Mapping,
    OneOf,
    ParamsOf,
    Seq,
    Value,
    mapping,
    same,
    seq,
)

Handler = Callable[[Machine, Value, Arguments], Value]


def _itself(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    return receiver


def _nothing(_m: Machine, _receiver: Value, _a: Arguments) -> Value:
    return NONE


def _requires_grad(_m: Machine, receiver: Value, a: Arguments) -> Value:
    """``module.requires_grad_(False)`` freezes all layers inside."""
    if a.get(0, "requires_grad") not in (None, Const(True)):
        for layer in layers_in(receiver):
            freeze(layer)
    return receiver


def _apply(m: Machine, receiver: Value, a: Arguments) -> Value:
    """``module.apply(fn)`` calls fn on every module inside."""
    if a.args:
        for _, module in modules_of(receiver):
            m.call(m, a.args[0], Arguments((module,)))
    return receiver


def _parameters(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    return ParamsOf(receiver)


def _named_parameters(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    return seq(list(named_parameters(receiver)), "list", not is_open(receiver))


def _modules(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    return seq([v for _, v in modules_of(receiver)], "list", not is_open(receiver))


def _named_modules(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    rows = [seq([Const(k), v], "tuple") for k, v in modules_of(receiver)]
    return seq(rows, "list", not is_open(receiver))


def _children(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    children = children_of(receiver) if isinstance(receiver, Instance) else []
    return seq([v for _, v in children], "list", not is_open(receiver))


def _named_children(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    children = children_of(receiver) if isinstance(receiver, Instance) else []
    return seq([seq([Const(k), v], "tuple") for k, v in children], "list", not is_open(receiver))


def _add_module(m: Machine, receiver: Value, a: Arguments) -> Value:
    name, module = a.get(0, "name"), a.get(1, "module")
    if not isinstance(receiver, Instance) or module is None:
        return NONE
    if receiver.container in ("Sequential", "ModuleList"):
        _note_again(m, receiver, module)
    if isinstance(name, Const) and isinstance(name.value, str):
        set_attribute(m, receiver, name.value, module)
    else:  # registered under a name that is not known
        set_attribute(m, receiver, f"?{len(receiver.attrs)}", module)
    if receiver.container == "ModuleList":
        _extend(m, receiver, (module,), True)
    elif receiver.container == "Sequential" and not holds(receiver, module):
        _extend(m, receiver, (module,), True)  # not known to be a module, but surely an element
    elif receiver.container == "ModuleDict" and isinstance(name, Const):
        _put_named(m, receiver, name, module)
    return NONE


def holds(receiver: Instance, module: Value) -> bool:
    """Whether a container has a value among its elements."""
    return any(item is module for _, item in container_items(receiver))


def _put_named(m: Machine, receiver: Instance, name: Const, module: Value) -> None:
    items = receiver.attrs.get("_items")
    if isinstance(items, Mapping):
        adopt(m, module, str(name.value))
        grown = mapping({**items.items, name.value: module}, items.closed, items.rest)
        m.heap.store(receiver.attrs, "_items", grown)


def _append(m: Machine, receiver: Value, a: Arguments) -> Value:
    if isinstance(receiver, Instance) and a.args:
        _note_again(m, receiver, a.args[0])
        _extend(m, receiver, (a.args[0],), True)
    return receiver


def _note_again(m: Machine, receiver: Instance, module: Value) -> None:
    """Note a module with weights that a container gets again: right behind itself, or behind layers without weights."""
    for _, item in reversed(container_items(receiver)):
        if has_weights(module) and same(item, module):
            note_repeated(m, module, receiver.container == "ModuleList")
            return
        if has_weights(item) or not isinstance(item, LayerVal):
            return


def _extend_with(m: Machine, receiver: Value, a: Arguments) -> Value:
    if isinstance(receiver, Instance) and a.args:
        items, exact = iterate(m, a.args[0])
        _extend(m, receiver, items, exact)
    return receiver


def _pop(m: Machine, receiver: Value, a: Arguments) -> Value:
    return pop_module(m, receiver, a.get(0, "key") or Const(-1)) if isinstance(receiver, Instance) else UNK


def _insert(m: Machine, receiver: Value, a: Arguments) -> Value:
    row = receiver.attrs.get("_items") if isinstance(receiver, Instance) else None
    if isinstance(row, Seq) and isinstance(receiver, Instance) and len(a.args) == 2:
        at = a.args[0]
        items = list(row.items)
        known = isinstance(at, Const) and isinstance(at.value, int)
        items.insert(
            at.value if known and isinstance(at, Const) and isinstance(at.value, int) else len(items),
            a.args[1],
        )
        adopt(m, a.args[1], "?")
        own(receiver, a.args[1])
        m.heap.store(receiver.attrs, "_items", seq(items, "list", row.exact and known))
    return NONE


def _extend(m: Machine, receiver: Instance, values: tuple[Value, ...], exact: bool) -> None:
    row = receiver.attrs.get("_items")
    if isinstance(row, Seq):
        for i, value in enumerate(values):
            key = str(len(row.items) + i)
            adopt(m, value, f"{receiver.name}.{key}" if receiver.name else key)
            own(receiver, value)
        m.heap.store(row.state, "items", (*row.items, *values))
        m.heap.store(row.state, "exact", row.exact and exact)


def _items_of(receiver: Value) -> list[tuple[str, Value]]:
    return container_items(receiver) if isinstance(receiver, Instance) else []


def _exact(receiver: Value) -> bool:
    items = receiver.attrs.get("_items") if isinstance(receiver, Instance) else None
    return isinstance(items, Seq | Mapping) and items.exact


def _items(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    rows = [seq([Const(k), v], "tuple") for k, v in _items_of(receiver)]
    return seq(rows, "list", _exact(receiver))


def _keys(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    return seq([Const(k) for k, _ in _items_of(receiver)], "list", _exact(receiver))


def _values(_m: Machine, receiver: Value, _a: Arguments) -> Value:
    return seq([v for _, v in _items_of(receiver)], "list", _exact(receiver))


def _update(m: Machine, receiver: Value, a: Arguments) -> Value:
    if isinstance(receiver, Instance) and a.args and isinstance(a.args[0], Mapping):
        for key, value in a.args[0].items.items():
            _put_named(m, receiver, Const(key), value)
    return NONE


def _register_tensor(m: Machine, receiver: Value, a: Arguments) -> Value:
    name, value = a.get(0, "name"), a.get(1, "tensor") or a.get(1, "param")
    if isinstance(receiver, Instance) and isinstance(name, Const) and isinstance(name.value, str):
        set_attribute(m, receiver, name.value, value if value is not None else NONE)
    return NONE


def _load_state(m: Machine, receiver: Value, _a: Arguments) -> Value:
    """``net.load_state_dict(...)`` before any training: what its parameters were set to counts no more."""
    trained = {id(layer) for optimiser in m.tape.optimisers for layer in optimiser.layers}
    if not m.maybe:
        forget_params(m, (layer for layer in layers_in(receiver) if id(layer) not in trained))
    return NONE


def _reset(m: Machine, receiver: Value, _a: Arguments) -> Value:
    """``layer.reset_parameters()``: torch's default initialisation."""
    forget_params(m, layers_in(receiver))
    return NONE


def _train(_m: Machine, receiver: Value, a: Arguments) -> Value:
    """``dropout.train(self.training)``: the mode that a layer is given is the caller's choice."""
    if isinstance(receiver, LayerVal) and (a.args or a.kwargs):
        receiver.layer.args["mode_given"] = True
    return receiver


def _forward(m: Machine, receiver: Value, a: Arguments) -> Value:
    return call_module(m, receiver, a)


_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(FLUENT, _itself),
    "requires_grad_": _requires_grad,
    "train": _train,
    "reset_parameters": _reset,
    "apply": _apply,
    "parameters": _parameters,
    "named_parameters": _named_parameters,
    "modules": _modules,
    "named_modules": _named_modules,
    "children": _children,
    "named_children": _named_children,
    "add_module": _add_module,
    "register_module": _add_module,
    "append": _append,
    "extend": _extend_with,
    "insert": _insert,
    "pop": _pop,
    "items": _items,
    "keys": _keys,
    "values": _values,
    "update": _update,
    "register_buffer": _register_tensor,
    "register_parameter": _register_tensor,
    "register_forward_hook": register_forward_hook,
    "forward": _forward,
    "__call__": _forward,
    "zero_grad": _nothing,
    "load_state_dict": _load_state,
    "save_hyperparameters": _nothing,
    "log": _nothing,
    "log_dict": _nothing,
}


def call_native(m: Machine, name: str, receiver: Value, arguments: Arguments) -> Value:
    """Call a method of a torch module, or of ``super()`` where that is torch's."""
    if name.startswith("super."):
        return _call_super(m, name[6:], receiver, arguments)
    handler = _HANDLERS.get(name)
    return handler(m, receiver, arguments) if handler is not None else UNK


def _call_super(m: Machine, name: str, receiver: Value, arguments: Arguments) -> Value:
    if not isinstance(receiver, Instance):
        return UNK
    if name == "__init__":
        _init_base(m, receiver, arguments)
        return NONE
    if name in ("forward", "__call__"):
        base = receiver.attrs.get("_base")
        if isinstance(base, LayerVal):
            return apply_layer(m, base.layer, arguments)
        if receiver.container == "Sequential":
            return run_sequential(m, receiver, arguments)
        return m.opaque(*arguments.values())
    if name in ("__getattribute__", "__getattr__"):
        asked = arguments.get(0, "name")
        known = isinstance(asked, Const) and isinstance(asked.value, str)
        return plain_attribute(m, receiver, str(asked.value)) if known and isinstance(asked, Const) else UNK
    table = receiver.attrs.get("_table")
    if isinstance(table, Mapping):
        first = arguments.args[0] if arguments.args else UNK
        return get_item(m, table, first) if name == "__getitem__" else dict_method(m, table, name, arguments)
    return call_native(m, name, receiver, arguments) if name in _HANDLERS else UNK


def _init_base(m: Machine, receiver: Instance, arguments: Arguments) -> None:
    if receiver.container:
        fill_container(m, receiver, arguments)
        return
    if "_table" in receiver.attrs:
        fill_table(m, receiver, arguments)
        return
    if receiver.cls is None:
        return
    base = next((c for c in receiver.cls.mro() if is_dataclass(c) and "__init__" not in c.attrs), None)
    if base is not None:
        fill_fields(m, receiver, base, arguments)
    for name in receiver.cls.outside():
        if layer_class(name) is not None:
            m.heap.store(receiver.attrs, "_base", m.call(m, External(name), arguments))
            return


# -- running modules ----------------------------------------------------------------------------


def call_module(m: Machine, value: Value, arguments: Arguments) -> Value:
    """Apply a module: run its forward, or its elements one after the other."""
    return seen_by_hooks(m, value, _call_unhooked(m, value, arguments))


def _call_unhooked(m: Machine, value: Value, arguments: Arguments) -> Value:
    if isinstance(value, LayerVal):
        return apply_layer(m, value.layer, arguments)
    if not isinstance(value, Instance):
        return m.opaque(*arguments.values())
    value.applied = True
    own: Value | None = value.attrs.get("forward")  # self.forward = self.forward_of_this_kind
    forward = own if own is not None or value.cls is None else value.cls.find("forward")
    if forward is not None:
        return _run_forward(m, value, forward, arguments)
    if value.container == "Sequential":
        return run_sequential(m, value, arguments)
    base = value.attrs.get("_base")
    if isinstance(base, LayerVal):
        return apply_layer(m, base.layer, arguments)
    if value.last in value.attrs and arguments.args:
        features = m.node("unknown", m.input_of(arguments.args[0]), spelling=value.last)
        return m.call(m, value.attrs[value.last], Arguments((features,)))
    return m.opaque(*arguments.values(), spelling=value.class_name)


def _run_forward(m: Machine, module: Instance, forward: Value, arguments: Arguments) -> Value:
    outer, m.container_span = m.container_span, None
    m.forwards.append(module)
    m.scope_path.append(module.name or module.class_name)
    try:
        return m.call(m, bind_attribute(m, forward, module), arguments)
    finally:
        m.scope_path.pop()
        m.forwards.pop()
        m.container_span = outer


def run_sequential(m: Machine, module: Instance, arguments: Arguments) -> Value:
    """The elements of a Sequential, each on the result of the one before."""
    value = arguments.args[0] if arguments.args else next((v for _, v in arguments.kwargs), UNK)
    before, is_open = value, not _exact(module)
    outer = m.container_span
    if outer is None:
        m.container_span = m.here()
    m.forwards.append(module)
    m.scope_path.append(module.name or module.class_name)
    m.maybe += is_open
    try:
        for _, item in container_items(module):
            value = run_item(m, item, value)
        return m.join([before, value], "loop") if is_open else value  # which elements are there is not known
    finally:
        m.maybe -= is_open
        m.scope_path.pop()
        m.forwards.pop()
        m.container_span = outer


def run_item(m: Machine, item: Value, value: Value) -> Value:
    """One element; one that may be absent may leave the value as it is."""
    if not isinstance(item, OneOf):
        return value if item == NONE else m.call(m, item, Arguments((value,)))
    results: list[Value] = []

    def attempt(choice: Value) -> Callable[[], str]:
        def run() -> str:
            results.append(value if choice == NONE else m.call(m, choice, Arguments((value,))))
            return Flow.NORMAL

        return run

    m.branch([attempt(choice) for choice in item.values])
    return m.join(results)


def output_nodes(value: Value) -> list[NodeDraft]:
    """The nodes that a returned value holds."""
    return [t.node for t in tensors_in(value, 3)]
