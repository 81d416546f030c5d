"""Objects: making instances of the project's classes and of torch's containers, and their attributes."""

from __future__ import annotations

import ast
import itertools
import re

from relucheck.net import Attribute
from relucheck.ops import Kind
from relucheck.source.binding import NO_ARGUMENTS, Arguments
from relucheck.source.drafts import LayerDraft, Repeated
from relucheck.source.layers import (
    CONTAINERS,
    FLUENT,
    freeze,
    layer_attribute,
    layer_class,
    layers_in,
    replace_param,
    schedule,
)
from relucheck.source.machine import Machine, names_in
from relucheck.source.syntax import walk
from relucheck.source.tensors import make_leaf
from relucheck.source.values import (
    UNK,
    Bound,
    Builtin,
    Class,
    Const,
    External,
    Function,
    Instance,
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
    Super,
    Tensor,
    Unk,
    Value,
    alternatives,
    mapping,
    same,
    seq,
)

MODULE_BASES = frozenset({"torch.nn.Module", "torch.nn.modules.module.Module", "torch.jit.ScriptModule"})
_HARMLESS_BASES = MODULE_BASES | {
    "abc.ABC",
    "object",
    "typing.Generic",
    "typing.Protocol",
    "enum.Enum",
    "torch.nn.Sequential",
    "torch.nn.ModuleList",
    "torch.nn.ModuleDict",
    "collections.OrderedDict",
    "collections.UserDict",
}


def is_module_class(cls: Class) -> bool:
    """Whether a class is a network module: by its bases, or because it has a forward."""
    outside = cls.outside()
    if any(name in MODULE_BASES or name.startswith("torch.nn.") for name in outside):
        return True
    if any(name.rpartition(".")[2].endswith(("Module", "PreTrainedModel")) for name in outside):
        return True
    return bool(outside) and isinstance(cls.find("forward"), Function)


def is_opaque(cls: Class) -> bool:
    """Whether a base that is not known may give the class attributes and methods."""
    return any(name not in _HARMLESS_BASES and layer_class(name) is None for name in cls.outside())


def container_kind(cls: Class) -> str:
    """The torch container that a class derives from."""
    for name in cls.outside():
        last = name.rpartition(".")[2]
        if name.startswith("torch.nn.") and last in CONTAINERS:
            return last
    return ""


_DICTS = frozenset({"dict", "collections.OrderedDict", "collections.UserDict", "collections.defaultdict"})


def is_dict_class(cls: Class) -> bool:
    """Whether a class of the project is a dict with methods of its own: a registry."""
    return any(isinstance(b, Builtin | External) and b.name in _DICTS for c in cls.mro() for b in c.bases)


def new_instance(m: Machine, cls: Class | None, container: str = "") -> Instance:
    """An object before its ``__init__`` has run."""
    kind = container or (container_kind(cls) if cls is not None else "")
    instance = Instance(
        cls,
        container=kind,
        is_module=bool(kind) or (cls is not None and is_module_class(cls)),
        opaque=cls is not None and is_opaque(cls),
        made=m.place,
        in_forward=bool(m.forwards),
    )
    if cls is not None and is_dict_class(cls):
        instance.attrs["_table"] = mapping({})
    if kind:
        instance.attrs["_items"] = mapping({}) if kind == "ModuleDict" else seq([])
    if instance.is_module:
        m.instances.append(instance)
    return instance


def instantiate(m: Machine, cls: Class, arguments: Arguments) -> Value:
    """``Cls(...)``."""
    member = _member(cls, arguments)
    if member is not None:
        return member
    if cls.find("__new__") is not None or _is_function_class(cls):
        return m.opaque(*arguments.values(), spelling=cls.name)
    instance = new_instance(m, cls)
    init = cls.find("__init__")
    if isinstance(init, Function):
        m.call(m, Bound(init, instance), arguments)
    elif instance.container:
        fill_container(m, instance, arguments)
    elif "_table" in instance.attrs:
        fill_table(m, instance, arguments)
    elif is_dataclass(cls) or is_named_tuple(cls):
        fill_fields(m, instance, cls, arguments)
    else:
        _torch_base(m, instance, arguments)
    return instance


def fill_table(m: Machine, instance: Instance, arguments: Arguments) -> None:
    """The entries of a dict subclass."""
    m.heap.store(instance.attrs, "_table", m.call(m, Builtin("dict"), arguments))


def _member(cls: Class, arguments: Arguments) -> Value | None:
    """``Colour("red")``: the member of an enumeration that has this value, which stands for the member."""
    first = arguments.args[0] if len(arguments.args) == 1 else None
    is_enum = any(name.rpartition(".")[2] in ("Enum", "IntEnum", "StrEnum") for name in cls.outside())
    if not is_enum or not isinstance(first, Const):
        return None
    return first if any(same(first, value) for value in cls.attrs.values()) else None


def _is_function_class(cls: Class) -> bool:
    return any("autograd" in name or name.rpartition(".")[2] == "Enum" for name in cls.outside())


def is_named_tuple(cls: Class) -> bool:
    """Whether a class is a tuple whose items have the names of its annotations."""
    return any(name.rpartition(".")[2] == "NamedTuple" for name in cls.outside())


def as_tuple(value: Value) -> Value:
    """A named tuple as the tuple of its items; any other value as it is."""
    if isinstance(value, Instance) and value.cls is not None and is_named_tuple(value.cls):
        return seq(value.attrs.values(), "tuple")
    return value


def is_dataclass(cls: Class) -> bool:
    """Whether a class gets its ``__init__`` from its annotations, as its bases may have decided."""
    return any(
        _last_name(d) in ("dataclass", "define", "frozen") for c in cls.mro() for d in c.node.decorator_list
    )


def _last_name(decorator: ast.expr) -> str:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def fill_fields(m: Machine, instance: Instance, cls: Class, arguments: Arguments) -> None:
    names = [
        s.target.id
        for c in reversed(cls.mro())
        for s in c.node.body
        if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
    ]
    for i, name in enumerate(names):
        value = arguments.get(i, name)
        if value is None:
            value = _default_of_field(m, cls.find(name)) or Unk(name)
        m.heap.store(instance.attrs, name, value)
    after = cls.find("__post_init__")
    if isinstance(after, Function):
        m.call(m, Bound(after, instance), NO_ARGUMENTS)


def _default_of_field(m: Machine, default: Value | None) -> Value | None:
    """The default of a dataclass's field; ``field(default_factory=list)`` makes a new one each time."""
    if isinstance(default, Partial) and default.callee == FIELD:
        return m.call(m, default.args[0], NO_ARGUMENTS)
    return default


FIELD = External("dataclasses.field")


def fields_of(instance: Instance) -> dict[Plain, Value]:
    """The attributes of an object of the project's own, without those of the interpreter."""
    return {k: v for k, v in instance.attrs.items() if k not in ("_items", "_base", "_table")}


def replaced(m: Machine, instance: Instance, changes: tuple[tuple[str, Value], ...]) -> Instance:
    """``dataclasses.replace(instance, **changes)``: another object with some fields changed."""
    copied = new_instance(m, instance.cls, instance.container)
    copied.opaque = instance.opaque
    copied.attrs.update(instance.attrs)
    copied.attrs.update(changes)
    return copied


def _torch_base(m: Machine, instance: Instance, arguments: Arguments) -> None:
    """The layer that a subclass of a torch layer is, as a hidden attribute."""
    if instance.cls is None:
        return
    for name in instance.cls.outside():
        if layer_class(name) is not None:
            m.heap.store(instance.attrs, "_base", m.call(m, External(name), arguments))
            return


def fill_container(m: Machine, instance: Instance, arguments: Arguments) -> None:
    """``nn.Sequential(...)``, ``nn.ModuleList([...])``, ``nn.ModuleDict({...})``."""
    if instance.container == "ModuleDict":
        first = arguments.args[0] if arguments.args else mapping({})
        items = first if isinstance(first, Mapping) else mapping({}, exact=False)
        _name_all(m, items.items)
        m.heap.store(instance.attrs, "_items", mapping(dict(items.items), items.closed, items.rest))
        return
    _fill_row(m, instance, arguments)


def _fill_row(m: Machine, instance: Instance, arguments: Arguments) -> None:
    values, exact = arguments.args, not arguments.open
    names = [str(i) for i in range(len(values))]
    _note_repeated(m, instance, values)
    if len(values) == 1 and isinstance(values[0], Mapping):
        for key, value in values[0].items.items():
            m.heap.store(instance.attrs, key, value)
        exact = values[0].exact
        names = [str(key) for key in values[0].items]
        values = tuple(values[0].items.values())
    elif instance.container == "ModuleList" and values:
        first = values[0]
        values, exact = (first.items, first.exact) if isinstance(first, Seq) else ((UNK,), False)
        names = [str(i) for i in range(len(values))]
    if m.forwards and instance.container == "Sequential":
        _note_local(m, values)
    else:
        _name_all(m, dict(zip(names, values, strict=True)))
    m.heap.store(instance.attrs, "_items", seq(values, "list", exact))


def _note_local(m: Machine, values: tuple[Value, ...]) -> None:
    """Note the place of a Sequential that a forward makes; whoever keeps it keeps its layers."""
    for layer in (layer for value in values for layer in layers_in(value)):
        layer.inside = m.here()


def _note_repeated(m: Machine, instance: Instance, values: tuple[Value, ...]) -> None:
    """Note that a layer with weights, or a unit of several layers, stands several times in a container."""
    row = values[0].items if len(values) == 1 and isinstance(values[0], Seq) else values
    first = next((v for v in _unit_of(row) if has_weights(v)), None)
    if first is not None:
        listed = instance.container == "ModuleList" and len(values) == 1 and isinstance(values[0], Seq)
        by_name = listed and isinstance(values[0], Seq) and values[0].state.get("repeated") is not True
        product = values[0].state.get("repeated_at") if isinstance(values[0], Seq) else None
        note_repeated(m, first, by_name, product if isinstance(product, ast.AST) else None)


# Names excuse: ``if shared_weights: self.layers = ModuleList([layer for _ in range(n)])``.
_SHARING = re.compile(r"shar|tie|tying|recurrent|universal|same", re.IGNORECASE)

# ``ModuleList([shared] * n)``, ``ModuleList([self.tied_layer for _ in range(n)])``
_SHARED = re.compile(r"(?:^|_)(?:shared|tied)", re.IGNORECASE)


def note_repeated(m: Machine, value: Value, by_name: bool, product: ast.AST | None = None) -> None:
    """Note here that a layer or module stands in a container more than once, unless a test asks for that."""
    place = m.here()
    said = names_in(m.place[1]) if m.place is not None else frozenset()
    meant = any(map(_SHARING.search, m.names_tested())) or any(map(_SHARED.search, said))
    if m.place is not None and place is not None and not meant:
        name = value.layer.spelling if isinstance(value, LayerVal) else getattr(value, "class_name", "")
        noted = Repeated(Attribute("", "", place, name), layers_in(value), by_name, product)
        m.repeated.setdefault(id(m.place[0]), []).append(noted)


def _unit_of(row: tuple[Value, ...]) -> tuple[Value, ...]:
    """The shortest run of elements that a row repeats, or an element that follows itself; nothing where neither is."""
    for width in range(1, len(row) // 2 + 1):
        if len(row) % width == 0 and all(_same_step(v, row[i % width]) for i, v in enumerate(row)):
            return row[:width]
    return next(((a,) for a, b in itertools.pairwise(row) if same(a, b) and has_weights(a)), ())


def _same_step(a: Value, b: Value) -> bool:
    """Whether two elements are one object, or layers without weights that do the same."""
    if same(a, b):
        return True
    plain = isinstance(a, LayerVal) and isinstance(b, LayerVal) and not (has_weights(a) or has_weights(b))
    return plain and isinstance(a, LayerVal) and isinstance(b, LayerVal) and a.layer.op == b.layer.op


def _name_all(m: Machine, items: dict[Plain, Value] | dict[str, Value]) -> None:
    for key, value in items.items():
        adopt(m, value, str(key))


def adopt(m: Machine, value: Value, path: str) -> None:
    """Note that a layer or module is kept under a name (``fc1``, ``net.3``).

    A branch that may not be taken gives a name only to what has none: names are not taken back with it.
    """
    for choice in alternatives(value):
        if isinstance(choice, LayerVal):
            if not (m.maybe and choice.layer.stored):
                choice.layer.stored = True
                choice.layer.name = path
        elif isinstance(choice, Instance) and not (m.maybe and choice.stored):
            choice.stored = True
            choice.name = path
            if choice.cls is None:
                for key, child in container_items(choice):
                    adopt(m, child, f"{path}.{key}")


def container_items(instance: Instance) -> list[tuple[str, Value]]:
    """The named elements of a container."""
    items = instance.attrs.get("_items")
    if isinstance(items, Mapping):
        return [(str(k), v) for k, v in items.items.items()]
    if isinstance(items, Seq):
        names = _names_in(instance) if len(instance.attrs) > 1 else {}
        return [(names.get(id(v), str(i)), v) for i, v in enumerate(items.items)]
    return []


def _names_in(instance: Instance) -> dict[int, str]:
    """The names of elements that have one: ``Sequential(OrderedDict(conv=...))``, ``add_module``."""
    return {id(v): k for k, v in instance.attrs.items() if k not in ("_items", "_base")}


# -- attributes ---------------------------------------------------------------------------------


def get_attribute(m: Machine, instance: Instance, name: str) -> Value:
    """``instance.name``."""
    hook = instance.cls.find("__getattribute__") if instance.cls is not None else None
    if isinstance(hook, Function) and hook not in m.running:
        return m.call(m, Bound(hook, instance), Arguments((Const(name),)))
    return plain_attribute(m, instance, name)


def plain_attribute(m: Machine, instance: Instance, name: str) -> Value:
    """What ``object.__getattribute__`` gives."""
    own: Value | None = instance.attrs.get(name)
    if own is not None:
        return own
    if instance.cls is not None:
        found = instance.cls.find(name)
        if found is not None:
            return bind_attribute(m, found, instance)
    if name == "training":
        return UNK
    if name == "__class__":
        return instance.cls if instance.cls is not None else External(f"torch.nn.{instance.container}")
    if name == "__dict__":
        return mapping(fields_of(instance), exact=not instance.opaque)
    if instance.last and name not in _OF_LIBRARIES:
        return Unk(f"self.{name}")
    if instance.is_module and (instance.container or name in NATIVE_METHODS):
        return Native(name, instance)
    base = instance.attrs.get("_base")
    if isinstance(base, LayerVal):
        return layer_attribute(m, base.layer, name)
    return Unk(f"self.{name}" if instance.opaque else None)


NATIVE_METHODS = FLUENT | {
    "apply",
    "parameters",
    "named_parameters",
    "modules",
    "named_modules",
    "children",
    "named_children",
    "state_dict",
    "load_state_dict",
    "register_buffer",
    "register_parameter",
    "add_module",
    "register_module",
    "zero_grad",
    "__call__",
    "forward",
    "get_submodule",
    "save_hyperparameters",
    "log",
    "log_dict",
    "buffers",
    "register_forward_hook",
    "post_init",
    "init_weights",
    "append",
    "extend",
    "insert",
    "items",
    "keys",
    "values",
    "__len__",
    "__iter__",
    "__getitem__",
    "update",
    "_modules",
}


# What is said about a library's network with the little that is known of it.
_OF_LIBRARIES = FLUENT | {"parameters", "forward", "__call__"}


def bind_attribute(m: Machine, found: Value, receiver: Value) -> Value:
    """What a class attribute is on an instance: methods are bound, properties are called."""
    if not isinstance(found, Function):
        return found
    if found.wrapped == "static":
        return found
    if found.wrapped == "property":
        return m.call(m, Bound(found, receiver), NO_ARGUMENTS)
    if found.wrapped == "class":
        owner = receiver.cls if isinstance(receiver, Instance) and receiver.cls is not None else receiver
        return Bound(found, owner)
    return Bound(found, receiver)


def class_attribute(m: Machine, cls: Class, name: str) -> Value:
    """``Cls.name``."""
    found = cls.find(name)
    if isinstance(found, Function) and found.wrapped == "class":
        return Bound(found, cls)
    if found is not None:
        return found
    if name == "__name__":
        return Const(cls.name)
    if name == "__module__":
        return Const(cls.scope.dotted)
    return UNK


def super_attribute(m: Machine, value: Super, name: str) -> Value:
    """``super().name``: the next definition along the receiver's bases."""
    receiver = value.receiver
    order = (
        receiver.cls.mro() if isinstance(receiver, Instance) and receiver.cls is not None else value.cls.mro()
    )
    after = order[order.index(value.cls) + 1 :] if value.cls in order else ()
    for cls in after:
        if name in cls.attrs:
            return bind_attribute(m, cls.attrs[name], receiver)
    return Native(f"super.{name}", receiver)


def set_attribute(m: Machine, target: Value, name: str, value: Value, at: ast.AST | None = None) -> None:
    """``target.name = value``."""
    if isinstance(target, OneOf):
        return
    if isinstance(target, Instance):
        if isinstance(value, Seq | Mapping) and at is not None:
            value.state.setdefault("at", at)
        adopt(m, value, name)
        if target.is_module:
            _note_contained(m, value)
        if isinstance(value, OptimiserVal) and _changes_rates(target):
            schedule(value)
        if target.container == "Sequential" and any(_is_registered(v) for v in alternatives(value)):
            put_in_order(m, target, name, value)
        m.heap.store(target.attrs, name, value)
        own(target, value)
    elif isinstance(target, Class):
        m.heap.store(target.attrs, name, value)
    elif isinstance(target, ScopeVal):
        m.heap.store(target.scope.names, name, value)
    elif isinstance(target, LayerVal) and name.startswith(("weight", "bias")):
        if name == "weight":
            target.layer.args["tied_weight"] = True
        replace_param(m, ParamOf(target.layer, name), value)
    elif isinstance(target, ParamOf) and name == "data":
        replace_param(m, target, value)
    elif isinstance(target, ParamOf) and name == "requires_grad" and value != Const(True):
        freeze(target.layer)
    elif isinstance(target, Tensor) and name == "requires_grad" and value == Const(True):
        make_leaf(m, target)


def _changes_rates(owner: Instance) -> bool:
    """Whether a class of the project has code that changes learning rates: a warm-up around an optimiser."""
    nodes = walk(owner.cls.node) if owner.cls is not None else ()
    return any(isinstance(node, ast.Attribute) and node.attr == "param_groups" for node in nodes)


def put_in_order(m: Machine, target: Instance, name: str, value: Value) -> None:
    """An attribute of a Sequential is one of its elements; assigning it again replaces the element."""
    row = target.attrs.get("_items")
    if not isinstance(row, Seq):
        return
    old = target.attrs.get(name)
    if old is None and name.isdecimal():  # setattr(net, "3", ...)
        old = dict(container_items(target)).get(name)
    if old is not None and any(item is old for item in row.items):
        items = tuple(value if item is old else item for item in row.items)
    else:
        items = (*row.items, value)
    m.heap.store(row.state, "items", items)


def _note_contained(m: Machine, value: Value, depth: int = 4) -> None:
    """Note the classes whose instances a module holds."""
    for choice in alternatives(value):
        if isinstance(choice, Instance) and depth:
            if choice.cls is not None:
                m.contained.add(id(choice.cls.node))
            for _, child in container_items(choice):
                _note_contained(m, child, depth - 1)


def own(target: Instance, value: Value) -> None:
    """Tell layers, also those in containers, which class keeps them."""
    owner = target.cls.name if target.cls is not None else target.owner
    for choice in alternatives(value) if owner else ():
        if isinstance(choice, LayerVal):
            choice.layer.owner = choice.layer.owner or owner
        elif isinstance(choice, Instance) and choice.cls is None and not choice.owner:
            choice.owner = owner
            for _, child in container_items(choice):
                own(choice, child)


def children_of(instance: Instance) -> list[tuple[str, Value]]:
    """The registered children of a module, by name."""
    found = [(k, v) for k, v in instance.attrs.items() if k not in ("_items", "_base") and _is_registered(v)]
    named = {id(v) for _, v in found}
    return found + [(k, v) for k, v in container_items(instance) if id(v) not in named and _is_registered(v)]


def _is_registered(value: Value) -> bool:
    return isinstance(value, LayerVal) or (isinstance(value, Instance) and value.is_module)


MAX_MODULES = 96


def modules_of(root: Value, name: str = "") -> list[tuple[str, Value]]:
    """A module and everything registered inside it, outermost first, up to a bound."""
    found: list[tuple[str, Value]] = []
    seen: set[int] = set()
    todo: list[tuple[str, Value]] = [(name, root)]
    while todo and len(found) < MAX_MODULES:
        path, value = todo.pop()
        key = id(value.layer) if isinstance(value, LayerVal) else id(value)
        if key in seen:
            continue
        seen.add(key)
        found.append((path, value))
        if isinstance(value, Instance):
            inner = [(f"{path}.{k}" if path else k, v) for k, v in children_of(value)]
            todo.extend(reversed(inner))
    return found


def layer_has_weights(layer: LayerDraft) -> bool:
    """Whether a layer of torch has learned parameters: norms may be made without."""
    if layer.info.kind is Kind.NORM:
        return layer.args.get("affine", layer.args.get("elementwise_affine")) is not False
    return bool(layer.info.weights) or layer.info.kind in (Kind.RECURRENT, Kind.ATTENTION)


def has_weights(value: Value, depth: int = 6) -> bool:
    """Whether a layer or module has learned parameters."""
    if isinstance(value, LayerVal):
        return layer_has_weights(value.layer)
    if isinstance(value, Instance) and depth:
        inner = any(has_weights(child, depth - 1) for _, child in children_of(value))
        return inner or any(isinstance(v, Tensor) and v.node.op == "parameter" for v in value.attrs.values())
    return False
