"""Python's builtins and the methods of its own types, on symbolic values."""

from __future__ import annotations

from collections.abc import Callable

from relucheck.source.binding import Arguments
from relucheck.source.iteration import MAX_RANGE, ROUNDS, get_item, iterate, length
from relucheck.source.layers import layer_class
from relucheck.source.machine import Machine, tensors_in
from relucheck.source.objects import class_attribute, set_attribute
from relucheck.source.tensors import call_function, spelling_of
from relucheck.source.values import (
    FALSE,
    NONE,
    TRUE,
    UNK,
    Bound,
    Class,
    Const,
    External,
    Function,
    Instance,
    Item,
    LayerVal,
    Mapping,
    Num,
    OneOf,
    Partial,
    Plain,
    Seq,
    Tensor,
    Unk,
    Value,
    mapping,
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
            exact = exact and value.exact
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
            return Item(m.resolve(value).node)
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
    if not any(True for v in items for _ in tensors_in(v)):
        plain = [v.value for v in items if isinstance(v, Const) and isinstance(v.value, int | float)]
        return Const(sum(plain)) if exact and len(plain) == len(items) else UNK
    nodes = [t.node for v in items for t in tensors_in(v)]
    return m.node("add", *nodes)


def _isinstance(m: Machine, a: Arguments) -> Value:
    if len(a.args) != 2:
        return UNK
    answer = is_instance(m, a.args[0], a.args[1])
    return UNK if answer is None else Const(answer)


def is_instance(m: Machine, value: Value, classes: Value) -> bool | None:
    """Whether a value is an instance of one of some classes; None where that is not known."""
    if isinstance(classes, Seq):
        answers = [is_instance(m, value, c) for c in classes.items]
        if any(answer is True for answer in answers):
            return True
        return None if None in answers or not classes.exact else False
    if isinstance(value, OneOf):
        found = {is_instance(m, choice, classes) for choice in value.values}
        return found.pop() if len(found) == 1 else None
    name = classes.name if isinstance(classes, External) else getattr(classes, "name", None)
    if isinstance(value, LayerVal):
        return _layer_is(value, classes)
    if isinstance(value, Instance):
        return _object_is(value, classes)
    return _plain_is(value, name)


def _layer_is(value: LayerVal, classes: Value) -> bool | None:
    if isinstance(classes, Class):
        return False
    if not isinstance(classes, External):
        return None
    asked, own = classes.name.rpartition(".")[2], value.layer.spelling.rpartition(".")[2]
    if asked in ("Module", own):
        return True
    groups = {
        "_ConvNd": ("conv", "conv_transpose"),
        "_BatchNorm": ("batch_norm",),
        "_NormBase": ("batch_norm", "instance_norm"),
        "_DropoutNd": ("dropout", "feature_dropout"),
        "RNNBase": ("rnn", "lstm", "gru"),
        "_Loss": (),
    }
    if asked in groups:
        return value.layer.op in groups[asked]
    return False if classes.name.startswith("torch.nn") else None


def _object_is(value: Instance, classes: Value) -> bool | None:
    if isinstance(classes, Class):
        if value.cls is None:
            return False
        return True if classes in value.cls.mro() else (None if value.opaque else False)
    if not isinstance(classes, External):
        return None
    asked = classes.name.rpartition(".")[2]
    if asked == "Module" and value.is_module:
        return True
    if value.cls is None:
        return asked == value.container
    outside = value.cls.outside()
    if any(name.rpartition(".")[2] == asked for name in outside):
        return True
    return None if value.opaque else False


_PLAIN_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float,),
    "str": (str,),
    "bool": (bool,),
    "bytes": (bytes,),
    "complex": (complex,),
}
_SEQ_KINDS = {"list": {"list", "range"}, "tuple": {"tuple"}, "set": {"set"}}
_KNOWN_TYPES = frozenset({*_PLAIN_TYPES, *_SEQ_KINDS, "dict", "torch.Tensor", "torch.nn.Module", "type"})


_ABSTRACT: dict[str, tuple[type, ...]] = {
    "Iterable": (str, bytes),
    "Sequence": (str, bytes),
    "Collection": (str, bytes),
    "Container": (str, bytes),
    "Sized": (str, bytes),
    "Reversible": (str, bytes),
    "Hashable": (object,),
    "Callable": (),
    "Mapping": (),
    "MutableMapping": (),
    "MutableSequence": (),
    "Iterator": (),
    "Set": (),
    "Number": (int, float, complex),
    "Complex": (int, float, complex),
    "Real": (int, float),
    "Rational": (int,),
    "Integral": (int,),
}
"""Abstract classes of ``collections.abc`` and ``numbers``, and which constants are instances of them."""

_OF_SEQUENCES = frozenset(
    ["Iterable", "Sequence", "Collection", "Container", "Sized", "Reversible", "MutableSequence"]
)
_OF_MAPPINGS = frozenset(
    ["Iterable", "Mapping", "MutableMapping", "Collection", "Container", "Sized", "Reversible"]
)


def _abstract_is(value: Value, name: str) -> bool | None:
    """Whether a value is an instance of an abstract class such as ``collections.abc.Iterable``."""
    if isinstance(value, Const):
        return isinstance(value.value, _ABSTRACT[name])
    if isinstance(value, Seq):
        if value.kind not in ("list", "tuple") or name == "Hashable":
            return None
        return name in _OF_SEQUENCES and (name != "MutableSequence" or value.kind == "list")
    if isinstance(value, Mapping):
        return name in _OF_MAPPINGS
    if isinstance(value, Function | Bound | Class | Partial | External):
        return True if name == "Callable" else None
    return None


def _abstract_name(name: str | None) -> str | None:
    """The abstract class that a qualified name means."""
    head, _, last = (name or "").rpartition(".")
    return (
        last
        if last in _ABSTRACT and head in ("collections.abc", "collections", "typing", "numbers")
        else None
    )


_CALLABLE_TYPES = {
    "functools.partial": Partial,
    "types.FunctionType": Function,
    "types.LambdaType": Function,
    "types.MethodType": Bound,
}


def _callable_is(value: Value, wanted: type) -> bool | None:
    """Whether a value is a partial, a function or a bound method; a class is none of them."""
    if isinstance(value, wanted):
        return True
    is_class = isinstance(value, External) and layer_class(value.name) is not None
    known = isinstance(value, Const | Seq | Mapping | Function | Bound | Class | Partial | LayerVal)
    return False if known or is_class else None


def _plain_is(value: Value, name: str | None) -> bool | None:
    abstract = _abstract_name(name)
    if abstract is not None:
        return _abstract_is(value, abstract)
    if name in _CALLABLE_TYPES:
        return _callable_is(value, _CALLABLE_TYPES[name])
    if name is None or (name not in _KNOWN_TYPES and not name.startswith("torch.nn.")):
        return False if isinstance(value, Const) and value.value is None else None
    if isinstance(value, Const):
        return isinstance(value.value, _PLAIN_TYPES.get(name, ()))
    if isinstance(value, Seq):
        return value.kind in _SEQ_KINDS.get(name, ())
    if isinstance(value, Mapping):
        return name == "dict"
    if isinstance(value, Tensor):
        certain = value.node.op not in ("unknown", "input", "part")
        return (name == "torch.Tensor") if certain else (True if name == "torch.Tensor" else None)
    if name == "type":
        return _is_class(value)
    if isinstance(value, Class | External | Partial | Function):
        return False if name in _PLAIN_TYPES or name in _SEQ_KINDS or name == "dict" else None
    return None


def _is_class(value: Value) -> bool | None:
    if isinstance(value, Class) or (isinstance(value, External) and layer_class(value.name) is not None):
        return True
    return False if isinstance(value, Partial | Function) else None


def _hasattr(m: Machine, a: Arguments) -> Value:
    if len(a.args) == 2 and isinstance(a.args[0], Instance) and isinstance(a.args[1], Const):
        owner, name = a.args[0], a.args[1].value
        if isinstance(name, str):
            if name in owner.attrs or (owner.cls is not None and owner.cls.find(name) is not None):
                return TRUE
            return UNK if owner.opaque or owner.is_module else FALSE
    return UNK


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
    items, exact = iterate(m, a.args[1] if len(a.args) > 1 else UNK)
    return seq(items, "list", False) if not exact or items else seq([])


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
    "issubclass": lambda _m, _a: UNK,
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
    if name in ("append", "add", "appendleft"):
        _put(m, row, (*row.items, first), row.exact)
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
    elif name in ("sort", "remove"):
        m.heap.store(row.state, "exact", False)
    elif name == "numel":
        return UNK
    return NONE


def _put(m: Machine, row: Seq, items: tuple[Value, ...], exact: bool) -> None:
    m.heap.store(row.state, "items", items)
    m.heap.store(row.state, "exact", exact)
    if m.place is not None:
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
        rows = [seq([Const(k), v], "tuple") for k, v in table.items.items()]
        return seq(rows, "list", table.exact)
    if name == "values":
        return seq([*table.items.values(), *table.rest], "list", table.exact)
    if name == "keys":
        return seq([Const(k) for k in table.items], "list", table.exact)
    if name == "update":
        _update(m, table, first, a)
        return NONE
    if name == "copy":
        return mapping(dict(table.items), table.exact, table.rest)
    return UNK


def _lookup(m: Machine, table: Mapping, name: str, key: Value, default: Value | None) -> Value:
    if isinstance(key, Const) and key.value in table.items:
        value = table.items[key.value]
        if name == "pop":
            items = {k: v for k, v in table.items.items() if k != key.value}
            m.heap.store(table.state, "items", items)
        return value
    if isinstance(key, Const) and table.exact:
        fallback = default if default is not None else NONE
        if name == "setdefault":
            put_item(m, table, key, fallback)
        return fallback
    return get_item(m, table, key)


def _update(m: Machine, table: Mapping, other: Value, a: Arguments) -> None:
    items = dict(table.items)
    items.update(other.items if isinstance(other, Mapping) else {})
    items.update(a.kwargs)
    m.heap.store(table.state, "items", items)
    if a.args and not (isinstance(other, Mapping) and other.exact):
        m.heap.store(table.state, "exact", False)


def put_item(m: Machine, table: Mapping, key: Value, value: Value) -> None:
    """``table[key] = value``."""
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
