"""Lists and containers that are changed after they were made: elements replaced, taken out, put in between."""

from __future__ import annotations

from relucheck.source.iteration import get_item, iterate
from relucheck.source.machine import Machine
from relucheck.source.objects import adopt, own
from relucheck.source.values import (
    UNK,
    Const,
    Instance,
    LayerVal,
    Mapping,
    Plain,
    Seq,
    Value,
    mapping,
    same,
)


def put_element(m: Machine, row: Seq, key: Value, value: Value) -> None:
    """``row[key] = value``; where the position is not known, every element may be the new one."""
    at = _places(row, key)
    if at is not None and _is_slice(key):
        items, exact = iterate(m, value)
        _store(m, row, (*row.items[: at.start], *items, *row.items[at.stop :]), row.exact and exact)
    elif at is not None:
        _store(m, row, (*row.items[: at.start], value, *row.items[at.stop :]), row.exact)
    elif _is_slice(key):
        _store(m, row, (), False)
    else:
        _store(m, row, tuple(m.join([item, value]) for item in row.items), row.exact)


def put_module(m: Machine, container: Instance, key: Value, value: Value) -> bool:
    """``container[key] = value`` on a Sequential or ModuleList; whether it has such an element."""
    row = container.attrs.get("_items")
    at = _places(row, key) if isinstance(row, Seq) else None
    if not isinstance(row, Seq) or at is None or _is_slice(key):
        return False
    adopt(m, value, _name_beside(row.items[at.start], at.start))
    own(container, value)
    put_element(m, row, key, value)
    return True


def _name_beside(replaced: Value, position: int) -> str:
    """The path of what stood there before, which is that of what takes its place."""
    if isinstance(replaced, LayerVal) and replaced.layer.name:
        return replaced.layer.name
    return replaced.name if isinstance(replaced, Instance) and replaced.name else str(position)


def delete_item(m: Machine, owner: Value, key: Value) -> None:
    """``del owner[key]``; of a list whose position is not known nothing is known any more."""
    if isinstance(owner, Instance) and owner.container:
        _delete_module(m, owner, key)
    elif isinstance(owner, Seq):
        at = _places(owner, key)
        kept = (*owner.items[: at.start], *owner.items[at.stop :]) if at is not None else ()
        _store(m, owner, kept, at is not None and owner.exact)
    elif isinstance(owner, Mapping):
        left, exact = _without(owner, key)
        m.heap.store(owner.state, "items", left)
        m.heap.store(owner.state, "exact", exact)


def pop_module(m: Machine, container: Instance, key: Value) -> Value:
    """``container.pop(key)``: the element, which is no longer one."""
    found = get_item(m, container, key)
    delete_item(m, container, key)
    return found


def delete_attribute(m: Machine, owner: Instance, name: str) -> None:
    """``del owner.name``: of a Sequential, its element of that name."""
    row, value = owner.attrs.get("_items"), owner.attrs.get(name)
    if isinstance(row, Seq) and value is not None:
        _store(m, row, tuple(item for item in row.items if item is not value), row.exact)
    m.heap.store(owner.attrs, name, UNK)


def remove_value(m: Machine, row: Seq, value: Value) -> None:
    """``row.remove(value)``: the first element that is the value."""
    at = next((i for i, item in enumerate(row.items) if same(item, value)), None)
    delete_item(m, row, Const(at) if at is not None else UNK)


def _delete_module(m: Machine, container: Instance, key: Value) -> None:
    items = container.attrs.get("_items")
    if isinstance(items, Seq):
        delete_item(m, items, key)
    elif isinstance(items, Mapping):
        left, exact = _without(items, key)
        m.heap.store(container.attrs, "_items", mapping(left, exact, items.rest))


def _without(table: Mapping, key: Value) -> tuple[dict[Plain, Value], bool]:
    """The entries that are left; none surely where the key is not known."""
    if not isinstance(key, Const):
        return {}, False
    return {k: v for k, v in table.items.items() if k != key.value}, table.exact


def _is_slice(key: Value) -> bool:
    return isinstance(key, Seq) and key.kind == "slice"


def _places(row: Seq, key: Value) -> slice | None:
    """The positions that a key means, as a slice from a start to a stop; None where they are not known."""
    if not row.exact:
        return None
    size = len(row.items)
    if isinstance(key, Const) and type(key.value) is int and -size <= key.value < size:
        return slice(key.value % size, key.value % size + 1)
    if isinstance(key, Seq) and key.kind == "slice":
        bounds = [v.value for v in key.items if isinstance(v, Const) and isinstance(v.value, int | None)]
        if len(bounds) == 3 and bounds[2] in (None, 1):
            start, stop, _ = slice(*bounds).indices(size)
            return slice(start, max(start, stop))
    return None


def _store(m: Machine, row: Seq, items: tuple[Value, ...], exact: bool) -> None:
    m.heap.store(row.state, "items", items)
    m.heap.store(row.state, "exact", exact)
