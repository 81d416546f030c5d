"""Python's builtins and the methods of its own types, on symbolic values."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from relucheck.ops import FUNCTIONS, METHODS, MODULES, TORCH, Kind
from relucheck.source import known
from relucheck.source.binding import Arguments
from relucheck.source.drafts import LayerDraft
from relucheck.source.instances import is_instance, is_subclass
from relucheck.source.iteration import MAX_RANGE, ROUNDS, get_item, iterate, length
from relucheck.source.layers import layers_in
from relucheck.source.machine import Machine, tensors_in
from relucheck.source.objects import class_attribute, set_attribute
from relucheck.source.rows import remove_value
from relucheck.source.tensors import call_function, spelling_of
from relucheck.source.values import (
    FALSE,
    NONE,
    TRUE,
    UNK,
    Class,
    Const,
    External,
    Instance,
    Item,
    LayerVal,
    Mapping,
    Num,
    Plain,
    ScopeVal,
    Seq,
    Tensor,
    Unk,
    Value,
    mapping,
    may_be_absent,
    one_of,
    present,
    seq,
    truth,
)

Handler = Callable[[Machine, Arguments], Value]


def _range(_m: Machine, a: Arguments) -> Value:
    bounds = [v.value for v in a.args if isinstance(v, Const) and isinstance(v.value, int)]
    if len(bounds) != len(a.args) or not bounds or (len(bounds) == 3 and bounds[2] == 0):
        return seq([UNK] * ROUNDS, "range", False)
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        return seq([UNK] * ROUNDS, "range", False)
    return seq([Const(i) for i in numbers], "list")


def _enumerate(m: Machine, a: Arguments) -> Value:
    items, exact = iterate(m, a.args[0] if a.args else UNK)
    start = a.get(1, "start") or Const(0)
    base = start.value if isinstance(start, Const) and isinstance(start.value, int) else None
    rows = [
        seq([Const(base + i) if exact and base is not None else UNK, item], "tuple")
        for i, item in enumerate(items)
    ]
    return seq(rows, "list", exact)


def _zip(m: Machine, a: Arguments) -> Value:
    columns = [iterate(m, v) for v in a.args]
    if not columns:
        return seq([])
    known = [len(items) for items, exact in columns if exact]
    exact = len(known) == len(columns)
    count = min(known) if exact else min((len(items) for items, _ in columns), default=0)
    rows = [seq([items[i] for items, _ in columns], "tuple") for i in range(count)]
    return seq(rows, "list", exact)


def _reversed(m: Machine, a: Arguments) -> Value:
    items, exact = iterate(m, a.args[0] if a.args else UNK)
    return seq(items[::-1], "list", exact)


def _sequence(kind: str) -> Handler:
    def build(m: Machine, a: Arguments) -> Value:
        if not a.args:
            return seq([], kind)
        items, exact = iterate(m, a.args[0])
        if kind == "set" and all(isinstance(item, Const) for item in items):
            items = tuple(dict.fromkeys(items))
        return seq(items, kind, exact)

    return build


def _dict(m: Machine, a: Arguments) -> Value:
    items: dict[Plain, Value] = {}
    exact = not a.open
    for value in a.args[:1]:
        if isinstance(value, Mapping):
            items |= value.items
            exact = exact and value.closed
        else:
            rows, all_rows = iterate(m, value)
            exact = exact and all_rows and _add_pairs(items, rows)
    items.update(a.kwargs)
    return mapping(items, exact)


def _add_pairs(items: dict[Plain, Value], rows: tuple[Value, ...]) -> bool:
    complete = True
    for row in rows:
        if isinstance(row, Seq) and len(row.items) == 2 and isinstance(row.items[0], Const):
            items[row.items[0].value] = row.items[1]
        else:
            complete = False
    return complete


def _len(_m: Machine, a: Arguments) -> Value:
    return length(a.args[0]) if a.args else UNK


def _number(convert: Callable[[object], object]) -> Handler:
    def apply(m: Machine, a: Arguments) -> Value:
        value = a.args[0] if a.args else Const(0)
        if isinstance(value, Const):
            try:
                return Const(convert(value.value))  # type: ignore[arg-type]
            except (TypeError, ValueError, OverflowError):
                return UNK
        if isinstance(value, Tensor):
            number = known.numbers_of(m.resolve(value))
            return Const(convert(number)) if isinstance(number, int | float) else Item(m.resolve(value).node)  # type: ignore[arg-type]
        return value if isinstance(value, Num | Unk | Item) else UNK

    return apply


def _extreme(pick: Callable[..., object]) -> Handler:
    def apply(m: Machine, a: Arguments) -> Value:
        values = a.args
        if len(values) == 1:
            values, exact = iterate(m, values[0])
            if not exact:
                return UNK
        plain = [v.value for v in values if isinstance(v, Const)]
        if len(plain) != len(values) or not plain:
            return m.opaque(*values) if any(True for v in values for _ in tensors_in(v)) else UNK
        try:
            return Const(pick(plain))  # type: ignore[arg-type]
        except TypeError:
            return UNK

    return apply


def _sum(m: Machine, a: Arguments) -> Value:
    """``sum(op(x) for op in ops)`` adds tensors one by one."""
    items, exact = iterate(m, a.args[0] if a.args else UNK)
    start = a.get(1, "start")
    rows = [v for v in (start, *items) if isinstance(v, Seq)]
    if isinstance(start, Seq) and len(rows) == len(items) + 1:  # sum(lists, []) joins them
        joined = [item for row in rows for item in row.items]
        return seq(joined, start.kind, exact and all(row.exact for row in rows))
    taken = next((v for v in items if isinstance(v, Item)), None)
    if taken is not None:
        return taken
    if not any(True for v in items for _ in tensors_in(v)):
        plain = [v.value for v in items if isinstance(v, Const) and isinstance(v.value, int | float)]
        return Const(sum(plain)) if exact and len(plain) == len(items) else UNK
    nodes = [t.node for v in items for t in tensors_in(v)]
    return m.node("add", *nodes)


def _isinstance(m: Machine, a: Arguments) -> Value:
    if len(a.args) != 2:
        return UNK
    answer = is_instance(a.args[0], a.args[1])
    return UNK if answer is None else Const(answer)


def _names_of_torch(module: str) -> frozenset[str]:
    """The names of a module of torch that the table of operations has; it has more."""
    tables: dict[str, Iterable[str]] = {
        "torch": TORCH,
        "torch.nn": MODULES,
        "torch.nn.functional": FUNCTIONS,
        "torch.Tensor": METHODS,
    }
    return frozenset(tables.get(module, ()))


def _dir(_m: Machine, a: Arguments) -> Value:
    """``dir(torch.nn.functional)``: what is surely there."""
    owner = a.args[0] if a.args else UNK
    if isinstance(owner, External):
        return seq([Const(name) for name in sorted(_names_of_torch(owner.name))], "list", False)
    return UNK


def _issubclass(_m: Machine, a: Arguments) -> Value:
    """``issubclass(cls, bases)`` for classes of the project and layers of torch."""
    if len(a.args) != 2:
        return UNK
    answer = is_subclass(a.args[0], a.args[1])
    return UNK if answer is None else Const(answer)


def _hasattr(m: Machine, a: Arguments) -> Value:
    if len(a.args) == 2 and isinstance(a.args[0], LayerVal) and isinstance(a.args[1], Const):
        return _layer_has(a.args[0].layer, a.args[1].value)
    if len(a.args) == 2 and isinstance(a.args[0], External) and isinstance(a.args[1], Const):
        return TRUE if a.args[1].value in _names_of_torch(a.args[0].name) else UNK
    if len(a.args) == 2 and isinstance(a.args[0], ScopeVal) and isinstance(a.args[1], Const):
        return Const(a.args[0].scope.binds(a.args[1].value))
    if len(a.args) == 2 and isinstance(a.args[0], Instance) and isinstance(a.args[1], Const):
        owner, name = a.args[0], a.args[1].value
        if isinstance(name, str):
            if name in owner.attrs or (owner.cls is not None and owner.cls.find(name) is not None):
                return TRUE
            return UNK if owner.opaque or owner.is_module else FALSE
    return UNK


def _layer_has(layer: LayerDraft, name: object) -> Value:
    """Whether a layer of torch has a ``weight`` or ``bias``; other names are not looked up."""
    plain = layer.info.kind not in (Kind.UNKNOWN, Kind.RECURRENT, Kind.ATTENTION)
    return Const(name in layer.info.weights) if plain and name in ("weight", "bias") else UNK


def _setattr(m: Machine, a: Arguments) -> Value:
    if len(a.args) == 3 and isinstance(a.args[1], Const) and isinstance(a.args[1].value, str):
        set_attribute(m, a.args[0], a.args[1].value, a.args[2])
    return NONE


def _bool(_m: Machine, a: Arguments) -> Value:
    answer = truth(a.args[0]) if a.args else False
    return UNK if answer is None else Const(answer)


def _type(_m: Machine, a: Arguments) -> Value:
    value = a.args[0] if a.args else UNK
    if isinstance(value, Instance) and value.cls is not None:
        return value.cls
    if isinstance(value, Instance) and value.container:
        return External(f"torch.nn.{value.container}")
    if isinstance(value, LayerVal):
        return External("torch.nn." + value.layer.spelling.rpartition(".")[2])
    return UNK


def _abs(m: Machine, a: Arguments) -> Value:
    value = a.args[0] if a.args else UNK
    if isinstance(value, Const) and isinstance(value.value, int | float):
        return Const(abs(value.value))
    spelling = spelling_of("torch.abs")
    if isinstance(value, Tensor) and spelling is not None:
        return call_function(m, spelling, a, "abs")
    return UNK


def _quantifier(any_of: bool) -> Handler:
    def apply(m: Machine, a: Arguments) -> Value:
        items, exact = iterate(m, a.args[0] if a.args else UNK)
        answers = [truth(item) for item in items]
        if any(answer is any_of for answer in answers):
            return Const(any_of)
        return Const(not any_of) if exact and None not in answers else UNK

    return apply


def _map(m: Machine, a: Arguments) -> Value:
    if len(a.args) != 2:
        return UNK
    items, exact = iterate(m, a.args[1])
    return seq([m.call(m, a.args[0], Arguments((item,))) for item in items], "list", exact)


def _filter(m: Machine, a: Arguments) -> Value:
    """``filter(test, items)``; ``filter(None, items)`` keeps what counts as true."""
    test = a.args[0] if a.args else UNK
    items, exact = iterate(m, a.args[1] if len(a.args) > 1 else UNK)
    answers = [truth(item if test == NONE else m.call(m, test, Arguments((item,)))) for item in items]
    kept = [item for item, answer in zip(items, answers, strict=True) if answer is not False]
    return seq(kept, "list", exact and None not in answers)


def _sorted(m: Machine, a: Arguments) -> Value:
    items, exact = iterate(m, a.args[0] if a.args else UNK)
    plain = [item.value for item in items if isinstance(item, Const)]
    if exact and len(plain) == len(items) and not a.kwargs:
        try:
            return seq([Const(v) for v in sorted(plain)])  # type: ignore[type-var]
        except TypeError:
            pass
    return seq(items, "list", False)


def _next(m: Machine, a: Arguments) -> Value:
    items, _ = iterate(m, a.args[0] if a.args else UNK)
    return items[0] if items else UNK


def _identity(_m: Machine, a: Arguments) -> Value:
    return a.args[0] if a.args else UNK


def _none(_m: Machine, _a: Arguments) -> Value:
    return NONE


BUILTINS: dict[str, Handler] = {
    "range": _range,
    "enumerate": _enumerate,
    "zip": _zip,
    "reversed": _reversed,
    "list": _sequence("list"),
    "tuple": _sequence("tuple"),
    "set": _sequence("set"),
    "frozenset": _sequence("set"),
    "dict": _dict,
    "len": _len,
    "int": _number(int),  # type: ignore[arg-type]
    "float": _number(float),  # type: ignore[arg-type]
    "str": _number(str),
    "round": _number(round),  # type: ignore[arg-type]
    "max": _extreme(max),
    "min": _extreme(min),
    "sum": _sum,
    "isinstance": _isinstance,
    "hasattr": _hasattr,
    "setattr": _setattr,
    "bool": _bool,
    "type": _type,
    "abs": _abs,
    "any": _quantifier(True),
    "all": _quantifier(False),
    "map": _map,
    "filter": _filter,
    "sorted": _sorted,
    "next": _next,
    "iter": _identity,
    "print": _none,
    "input": lambda _m, _a: UNK,
    "id": lambda _m, _a: UNK,
    "callable": lambda _m, _a: UNK,
    "issubclass": _issubclass,
    "dir": _dir,
    "repr": lambda _m, _a: UNK,
    "open": lambda _m, _a: UNK,
    "getattr": lambda _m, _a: UNK,
    "super": lambda _m, _a: UNK,
    "vars": lambda _m, _a: UNK,
    "locals": lambda _m, _a: UNK,
    "globals": lambda _m, _a: UNK,
    "divmod": lambda _m, _a: UNK,
    "pow": lambda _m, _a: UNK,
    "slice": lambda _m, a: seq([*a.args, *[NONE] * (3 - len(a.args))], "slice"),
    "object": lambda _m, _a: UNK,
}
"""What each builtin does; ``getattr`` and ``super`` need the frame and are handled by the caller."""


# -- methods of sequences, dicts and strings ----------------------------------------------------


def seq_method(m: Machine, row: Seq, name: str, a: Arguments) -> Value:
    """A method of a list or tuple."""
    first = a.args[0] if a.args else UNK
    if name in ("append", "add"):
        _put(m, row, (*row.items, first), row.exact)
    elif name == "appendleft":
        _put(m, row, (first, *row.items), row.exact)
    elif name in ("extend", "update"):
        items, exact = iterate(m, first)
        _put(m, row, (*row.items, *items), row.exact and exact)
    elif name == "insert" and len(a.args) == 2:
        _insert(m, row, first, a.args[1])
    elif name in ("pop", "popleft"):
        return _pop(m, row, a)
    elif name == "copy":
        return seq(row.items, row.kind, row.exact)
    elif name == "reverse":
        _put(m, row, row.items[::-1], row.exact)
    elif name == "clear":
        _put(m, row, (), True)
    elif name in ("index", "count"):
        return UNK
    elif name == "remove":
        remove_value(m, row, first)
    elif name == "sort":
        m.heap.store(row.state, "exact", False)
    elif name == "numel":
        return UNK
    return NONE


def _put(m: Machine, row: Seq, items: tuple[Value, ...], exact: bool) -> None:
    begun = bool(row.items) and "at" in row.state
    m.heap.store(row.state, "items", items)
    m.heap.store(row.state, "exact", exact)
    if m.place is not None and not begun:
        m.heap.store(row.state, "at", m.place[1])


def _insert(m: Machine, row: Seq, at: Value, value: Value) -> None:
    if isinstance(at, Const) and isinstance(at.value, int):
        items = list(row.items)
        items.insert(at.value, value)
        _put(m, row, tuple(items), row.exact)
    else:
        _put(m, row, (*row.items, value), False)


def _pop(m: Machine, row: Seq, a: Arguments) -> Value:
    at = a.args[0].value if a.args and isinstance(a.args[0], Const) else (None if a.args else -1)
    if isinstance(at, int) and -len(row.items) <= at < len(row.items):
        items = list(row.items)
        value = items.pop(at)
        _put(m, row, tuple(items), row.exact)
        return value
    m.heap.store(row.state, "exact", False)
    return UNK


def dict_method(m: Machine, table: Mapping, name: str, a: Arguments) -> Value:
    """A method of a dict."""
    first = a.args[0] if a.args else UNK
    if name in ("get", "pop", "setdefault"):
        return _lookup(m, table, name, first, a.args[1] if len(a.args) > 1 else a.keyword("default"))
    if name == "items":
        rows = [seq([Const(k), present(v)], "tuple") for k, v in table.items.items()]
        return seq(rows, "list", table.exact)
    if name == "values":
        return seq([*map(present, table.items.values()), *table.rest], "list", table.exact)
    if name == "keys":
        return seq([Const(k) for k in table.items], "list", table.exact)
    if name == "update":
        _update(m, table, first, a)
        return NONE
    if name == "copy":
        return mapping(dict(table.items), table.closed, table.rest)
    return UNK


def _lookup(m: Machine, table: Mapping, name: str, key: Value, default: Value | None) -> Value:
    fallback = default if default is not None else NONE
    if isinstance(key, Const) and key.value in table.items:
        return _known_entry(m, table, name, key, fallback)
    if isinstance(key, Const) and table.closed:
        if name == "setdefault":
            put_item(m, table, key, fallback)
        return fallback
    found = get_item(m, table, key)
    if name == "setdefault":  # whether the key was there is not known
        put_item(m, table, key, one_of([found, fallback]))
    elif name == "pop" and not isinstance(key, Const):
        m.heap.store(table.state, "items", {k: one_of([v, UNK]) for k, v in table.items.items()})
        m.heap.store(table.state, "exact", False)
    return found


def _known_entry(m: Machine, table: Mapping, name: str, key: Const, fallback: Value) -> Value:
    value = table.items[key.value]
    if may_be_absent(value):
        value = one_of([present(value), fallback])
        if name == "setdefault":
            put_item(m, table, key, value)
    if name == "pop":
        items = {k: v for k, v in table.items.items() if k != key.value}
        m.heap.store(table.state, "items", items)
    return value


def _update(m: Machine, table: Mapping, other: Value, a: Arguments) -> None:
    items = dict(table.items)
    items.update(other.items if isinstance(other, Mapping) else {})
    items.update(a.kwargs)
    m.heap.store(table.state, "items", items)
    if a.args and not (isinstance(other, Mapping) and other.closed):
        m.heap.store(table.state, "exact", False)


def put_item(m: Machine, table: Mapping, key: Value, value: Value) -> None:
    """``table[key] = value``; a table that a forward fills keeps its layers for the next call."""
    for layer in layers_in(value) if m.forwards else ():
        layer.stored = True
    if isinstance(key, Const):
        m.heap.store(table.state, "items", {**table.items, key.value: value})
    else:
        m.heap.store(table.state, "rest", (*table.rest, value))
        m.heap.store(table.state, "exact", False)


_TEXT = frozenset(
    [
        "lower",
        "upper",
        "strip",
        "lstrip",
        "rstrip",
        "split",
        "replace",
        "startswith",
        "endswith",
        "join",
        "title",
        "capitalize",
        "rsplit",
        "partition",
        "rpartition",
        "removeprefix",
        "removesuffix",
        "count",
        "find",
        "rfind",
        "isdigit",
        "isnumeric",
        "isdecimal",
        "isalpha",
        "isalnum",
        "isupper",
        "islower",
        "isidentifier",
    ]
)


def text_method(m: Machine, text: str, name: str, a: Arguments) -> Value:
    """A method of a string, carried out where its arguments are known."""
    if name == "format":
        return _format(text, a)
    args = [v.value for v in a.args if isinstance(v, Const)]
    if name == "join" and a.args:
        items, exact = iterate(m, a.args[0])
        words = [i.value for i in items if isinstance(i, Const) and isinstance(i.value, str)]
        return Const(text.join(words)) if exact and len(words) == len(items) else UNK
    if name not in _TEXT or len(args) != len(a.args) or a.kwargs:
        return UNK
    try:
        result = getattr(text, name)(*args)
    except (TypeError, ValueError):
        return UNK
    if isinstance(result, list | tuple):
        return seq([Const(w) for w in result], "list" if isinstance(result, list) else "tuple")
    return Const(result)


def _format(text: str, a: Arguments) -> Value:
    args = [v.value for v in a.args if isinstance(v, Const)]
    kwargs = {k: v.value for k, v in a.kwargs if isinstance(v, Const)}
    if len(args) != len(a.args) or len(kwargs) != len(a.kwargs) or a.open:
        return UNK
    try:
        return Const(text.format(*args, **kwargs))
    except (IndexError, KeyError, ValueError, AttributeError, TypeError):
        return UNK


def class_name(m: Machine, value: Value) -> Value:
    """``type(x).__name__`` and ``Cls.__name__``."""
    if isinstance(value, Class):
        return class_attribute(m, value, "__name__")
    return Const(value.name.rpartition(".")[2]) if isinstance(value, External) else UNK
