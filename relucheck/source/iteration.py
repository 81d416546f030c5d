"""Iterating, unpacking and indexing values; what is not known is read as two rounds."""

from __future__ import annotations

from relucheck.ops import Kind
from relucheck.source import known
from relucheck.source.binding import NO_ARGUMENTS, Arguments
from relucheck.source.drafts import LayerDraft
from relucheck.source.machine import Machine
from relucheck.source.objects import as_tuple, modules_of
from relucheck.source.tensors import index as tensor_index
from relucheck.source.tensors import part, size_of
from relucheck.source.values import (
    NONE,
    UNK,
    Bound,
    Const,
    External,
    Function,
    Instance,
    Item,
    LayerVal,
    Mapping,
    OneOf,
    ParamOf,
    ParamsOf,
    ScopeVal,
    Seq,
    ShapeOf,
    State,
    Tensor,
    Unk,
    Value,
    one_of,
    present,
    seq,
)

ROUNDS = 2
MAX_RANGE = 64


def iterate(m: Machine, value: Value) -> tuple[tuple[Value, ...], bool]:
    """The items of an iterable, and whether they are all of them."""
    value = as_tuple(value)
    if isinstance(value, Seq):
        return value.items, value.exact
    if isinstance(value, Mapping):
        return tuple(Const(k) for k in value.items), value.exact
    if isinstance(value, Const) and isinstance(value.value, str):
        return tuple(Const(c) for c in value.value[:MAX_RANGE]), len(value.value) <= MAX_RANGE
    if isinstance(value, Instance) and value.container:
        return _container(value)
    if isinstance(value, Tensor):
        return _tensor(m, value)
    if isinstance(value, ParamsOf):
        rows = named_parameters(value.owner)
        return tuple(row.items[1] for row in rows), not is_open(value.owner)
    return _unknown(m, value), False


def is_open(module: Value) -> bool:
    """Whether a module may hold more than is known."""
    return not isinstance(module, Instance | LayerVal) or (isinstance(module, Instance) and module.opaque)


def _container(instance: Instance) -> tuple[tuple[Value, ...], bool]:
    items = instance.attrs.get("_items")
    if isinstance(items, Mapping):
        return tuple(Const(k) for k in items.items), items.exact
    return (items.items, items.exact) if isinstance(items, Seq) else ((), False)


def _tensor(m: Machine, tensor: Tensor) -> tuple[tuple[Value, ...], bool]:
    tensor = m.resolve(tensor)
    row = known.row_of(tensor)
    if row is not None:
        return known.items(m, row), True
    return tuple(m.node("index", tensor.node) for _ in range(ROUNDS)), False


def _unknown(m: Machine, value: Value) -> tuple[Value, ...]:
    name = value.name if isinstance(value, Unk) else None
    return tuple(Unk(f"{name}[{i}]" if name else None) for i in range(ROUNDS))


def unpack(m: Machine, value: Value, count: int, starred: int | None = None) -> list[Value]:
    """The values of ``a, b = value``; a starred target gets a list."""
    value = as_tuple(value)
    if isinstance(value, OneOf):
        return _unpack_one_of(m, value, count, starred)
    if isinstance(value, Instance) and value.container:
        value = seq(_container(value)[0], "tuple", _container(value)[1])
    if isinstance(value, Seq) and value.exact and (len(value.items) == count or starred is not None):
        return _spread(value.items, count, starred)
    if isinstance(value, Tensor):
        whole = m.resolve(value)
        return [part(m, whole, i) for i in range(count)]
    if isinstance(value, ShapeOf):
        return [size_of(value.node, Const(i)) for i in range(count)]
    name = value.name if isinstance(value, Unk) else None
    return [Unk(f"{name}[{i}]" if name else None) for i in range(count)]


def _unpack_one_of(m: Machine, value: OneOf, count: int, starred: int | None) -> list[Value]:
    rows = [unpack(m, choice, count, starred) for choice in value.values if choice != NONE]
    return [m.join([row[i] for row in rows]) for i in range(count)] if rows else [UNK] * count


def _spread(items: tuple[Value, ...], count: int, starred: int | None) -> list[Value]:
    if starred is None:
        return list(items)
    after = count - starred - 1
    middle = items[starred : len(items) - after]
    return [*items[:starred], seq(middle), *items[len(items) - after :]]


def get_item(m: Machine, value: Value, key: Value) -> Value:
    """``value[key]``."""
    value = as_tuple(value)
    if isinstance(value, OneOf):
        return m.join([get_item(m, choice, key) for choice in value.values if choice != NONE] or [UNK])
    if isinstance(value, Tensor):
        return tensor_index(m, value, key)
    if isinstance(value, ShapeOf):
        return size_of(value.node, key)
    if isinstance(value, Instance) and value.container:
        return _container_item(m, value, key)
    if isinstance(value, Instance) and isinstance(value.attrs.get("_table"), Mapping):
        return _table_item(m, value, key)
    if isinstance(value, Seq):
        return _seq_item(m, value, key)
    if isinstance(value, Mapping):
        return _mapping_item(m, value, key)
    if isinstance(value, Const) and isinstance(value.value, str):
        return _part_of_text(value.value, key)
    if isinstance(value, Unk) and value.name and isinstance(key, Const):
        return Unk(f"{value.name}[{key.value!r}]")
    if isinstance(value, External) and value.name == "sys.modules":
        return _imported(m, key)
    if isinstance(value, Item | ParamOf):
        return UNK
    return m.opaque(value, key)


def _imported(m: Machine, key: Value) -> Value:
    """``sys.modules[name]`` for a file of the project."""
    if m.place is None or not isinstance(key, Const) or not isinstance(key.value, str):
        return UNK
    importer = m.place[0]
    if key.value == importer.dotted:
        return ScopeVal(importer)
    found = importer.project.find(key.value, importer)
    return ScopeVal(found) if found is not None else UNK


def _table_item(m: Machine, table: Instance, key: Value) -> Value:
    """An entry of a registry, through its own ``__getitem__`` if it has one."""
    own = table.cls.find("__getitem__") if table.cls is not None else None
    if isinstance(own, Function):
        return m.call(m, Bound(own, table), Arguments((key,)))
    return get_item(m, table.attrs["_table"], key)


def _part_of_text(text: str, key: Value) -> Value:
    """A character of a text, or a slice of it."""
    if isinstance(key, Seq) and key.kind == "slice":
        bounds = [v.value for v in key.items if isinstance(v, Const) and isinstance(v.value, int | None)]
        return Const(text[slice(*bounds)]) if len(bounds) == 3 and bounds[2] != 0 else UNK
    at = key.value if isinstance(key, Const) else None
    return Const(text[at]) if isinstance(at, int) and -len(text) <= at < len(text) else UNK


def _container_item(m: Machine, instance: Instance, key: Value) -> Value:
    items = instance.attrs.get("_items")
    if isinstance(items, Mapping):
        return _mapping_item(m, items, key)
    if not isinstance(items, Seq):
        return UNK
    found = _seq_item(m, items, key)
    if isinstance(found, Seq):  # a slice of a container is a container
        part_of = Instance(None, State(_items=found), instance.container, is_module=True, name=instance.name)
        part_of.stored = True
        return part_of
    return found


def _seq_item(m: Machine, row: Seq, key: Value) -> Value:
    if isinstance(key, Seq) and key.kind == "slice":
        return _slice(row, key)
    if isinstance(key, Const) and isinstance(key.value, int):
        return _at(row, key.value)
    distinct = one_of(list(row.items)) if row.items else UNK
    return distinct if len(row.items) <= 3 else UNK


def _at(row: Seq, at: int) -> Value:
    size = len(row.items)
    if -size <= at < size and (row.exact or at in (0, -1)):
        return row.items[at]
    return UNK


def _slice(row: Seq, key: Seq) -> Value:
    bounds = [v.value for v in key.items if isinstance(v, Const) and isinstance(v.value, int | None)]
    if len(bounds) != len(key.items):
        return seq(row.items, row.kind, False)
    start, stop, step = bounds
    simple = bounds in ([None, None, None], [None, -1, None], [1, None, None], [None, None, -1])
    if step == 0 or not (row.exact or simple):
        return seq(row.items, row.kind, False)
    return seq(row.items[start:stop:step], row.kind, row.exact)


def _mapping_item(m: Machine, table: Mapping, key: Value) -> Value:
    if isinstance(key, Const):
        found = table.items.get(key.value)
        if found is not None:
            return present(found)
        return _made_by_default(m, table, key) if table.closed else UNK
    if isinstance(key, OneOf):
        return m.join([_mapping_item(m, table, choice) for choice in key.values])
    values = [present(v) for v in table.items.values()]
    return one_of(values) if values and table.closed else UNK


def _made_by_default(m: Machine, table: Mapping, key: Const) -> Value:
    """What a ``defaultdict`` puts under a key that is not there; a plain dict raises."""
    factory = table.state.get("factory")
    if factory is None:
        return UNK
    value = m.call(m, factory, NO_ARGUMENTS)
    m.heap.store(table.state, "items", {**table.items, key.value: value})
    return value


def length(value: Value) -> Value:
    """``len(value)``."""
    if isinstance(value, Seq | Mapping):
        return Const(len(value.items)) if value.exact else UNK
    if isinstance(value, Const) and isinstance(value.value, str | bytes):
        return Const(len(value.value))
    if isinstance(value, Instance) and value.container:
        items = value.attrs.get("_items")
        return length(items) if isinstance(items, Seq | Mapping) else UNK
    if isinstance(value, Tensor):
        return size_of(value.node, Const(0))
    return UNK


def named_parameters(owner: Value) -> tuple[Seq, ...]:
    """``(name, parameter)`` of every layer with weights inside a module."""
    found: list[Seq] = []
    for path, value in modules_of(owner):
        if isinstance(value, LayerVal):
            for name in _weights_of(value.layer):
                if name.startswith("bias") and value.layer.args.get("bias") is False:
                    continue
                full = f"{path}.{name}" if path else name
                found.append(seq([Const(full), ParamOf(value.layer, name)], "tuple"))
    return tuple(found)


def _weights_of(layer: LayerDraft) -> tuple[str, ...]:
    """The names of a layer's parameters; of a stack of recurrent layers, those of the first."""
    if layer.info.kind is Kind.RECURRENT:
        suffix = "" if layer.spelling.endswith("Cell") else "_l0"
        return tuple(f"{name}{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return layer.info.weights
