"""Functions of torch and of the standard library that networks are written with."""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from relucheck.net import Arg
from relucheck.ops import FUNCTIONS, MODULES, OPTIMISERS, TORCH
from relucheck.source import known
from relucheck.source.binding import Arguments
from relucheck.source.builtins import BUILTINS
from relucheck.source.iteration import iterate
from relucheck.source.layers import (
    CONTAINERS,
    call_init,
    forget_params,
    is_optimiser,
    layer_class,
    make,
    make_optimiser,
    schedule,
    trained_layers,
)
from relucheck.source.machine import Machine, tensors_in, to_arg
from relucheck.source.objects import FIELD, fields_of, fill_container, new_instance, replaced
from relucheck.source.operators import MAX_LENGTH, binary
from relucheck.source.published import network_of
from relucheck.source.tensors import call_function, rewrapped, spelling_of
from relucheck.source.values import (
    FALSE,
    NONE,
    TRUE,
    UNK,
    Const,
    External,
    Instance,
    Item,
    LayerVal,
    Mapping,
    ParamOf,
    Partial,
    Seq,
    Tensor,
    Value,
    mapping,
    seq,
)

Handler = Callable[[Machine, Arguments], Value]


def call_external(m: Machine, name: str, arguments: Arguments) -> Value:
    """Call something of a library by its qualified name."""
    handler = _HANDLERS.get(name)
    if handler is not None:
        return handler(m, arguments)
    last = name.rpartition(".")[2]
    if last in _WRAPPERS and arguments.args:
        return arguments.args[0]
    if name.startswith("torch."):
        known = _call_torch(m, name, arguments)
        if known is not None:
            return known
    if name.startswith("math."):
        return _math(name[5:], arguments)
    if name.startswith("numpy."):
        return _numpy(m, last, arguments)
    if name.startswith("operator."):
        return _operator(m, last, arguments)
    if is_optimiser(name):
        return make_optimiser(m, last, arguments)
    if last.endswith("Output") and arguments.kwargs and not arguments.args:
        return _simple_namespace(m, arguments)  # transformers' SequenceClassifierOutput(loss=..., logits=...)
    network = network_of(m, name)
    if network is not None:
        return network
    if "sched" in name.lower() or "lr_" in name:
        for value in arguments.values():
            schedule(value)
    return m.opaque(*arguments.values(), spelling=name)


_WRAPPERS = frozenset(
    [
        "DataParallel",
        "DistributedDataParallel",
        "FullyShardedDataParallel",
        "compile",
        "script",
        "weight_norm",
        "spectral_norm",
        "parametrize",
        "convert_sync_batchnorm",
        "trace",
        "disable",
        "checkpoint_wrapper",
        "prepare_model",
    ]
)


def _call_torch(m: Machine, name: str, arguments: Arguments) -> Value | None:
    cls = layer_class(name)
    if cls is not None:
        return make(m, cls, arguments)
    last = name.rpartition(".")[2]
    if name.startswith("torch.nn.") and last in CONTAINERS:
        instance = new_instance(m, None, last)
        fill_container(m, instance, arguments)
        return instance
    if name.startswith("torch.nn.init."):
        return call_init(m, last, arguments)
    spelling = spelling_of(name)
    if spelling is not None:
        return call_function(m, spelling, arguments, last)
    numbers = known.function(last, arguments)
    if numbers is not None:
        return known.tensor_of(m, numbers, last)
    if name.startswith("torch.nn.") and last[:1].isupper() and name.count(".") == 2:
        return LayerVal(m.layer("unknown", f"nn.{last}", {}, {}))
    return None


# -- torch --------------------------------------------------------------------------------------


def _parameter(m: Machine, a: Arguments) -> Value:
    data = a.get(0, "data")
    if isinstance(data, ParamOf):
        return data
    shape = data.node.shape if isinstance(data, Tensor) else None
    args: dict[str, Arg] = {}
    if isinstance(data, Tensor) and data.node.op == "constant" and "value" in data.node.args:
        args["value"] = data.node.args["value"]
    if a.keyword("requires_grad") == FALSE or a.get(1, "requires_grad") == FALSE:
        args["frozen"] = True
    return m.node("parameter", args=args, spelling="nn.Parameter", shape=shape)


def _tensor(m: Machine, a: Arguments) -> Value:
    """``torch.tensor(x)``; of a number out of a graph with requires_grad, it starts a new graph."""
    data = a.get(0, "data") or UNK
    source = data.source if isinstance(data, Item) else (data.node if isinstance(data, Tensor) else None)
    if source is not None and a.keyword("requires_grad") == TRUE:
        cut = not isinstance(data, Tensor) or data.node.op == "detach"
        return rewrapped(m, source, "torch.tensor(..., requires_grad=True)", cut)
    if isinstance(data, Item):
        return m.node("detach", data.source, spelling="tensor", shape=())
    value = to_arg(data)
    if isinstance(data, Const):
        return m.node("constant", args={"value": value}, spelling="tensor", shape=())
    if any(True for _ in tensors_in(data)):
        return m.opaque(data)
    numbers = known.numbers_of(data) if isinstance(data, Seq) else None
    if isinstance(numbers, tuple) and len(numbers) <= known.MAX_NUMBERS:
        return known.tensor_of(m, numbers, "tensor")
    return m.node("constant", spelling="tensor", shape=_nested_shape(data))


def _nested_shape(data: Value) -> tuple[int, ...] | None:
    if isinstance(data, Seq) and data.exact and data.items:
        inner = _nested_shape(data.items[0])
        return None if inner is None else (len(data.items), *inner)
    return () if isinstance(data, Const) else None


def _orthogonal(m: Machine, a: Arguments) -> Value:
    """``orthogonal(rnn, "weight_hh_l0")``: a weight stays orthogonal; the layer is not followed from here on."""
    module, name = a.get(0, "module"), a.get(1, "name")
    if isinstance(module, LayerVal) and isinstance(name, Const):
        call_init(m, "orthogonal_", Arguments((ParamOf(module.layer, str(name.value)),)))
    return UNK


def _vector_to_parameters(m: Machine, a: Arguments) -> Value:
    """All parameters take the numbers of a vector."""
    forget_params(m, trained_layers(a.get(1, "parameters") or UNK)[0])
    return NONE


def _variable(m: Machine, a: Arguments) -> Value:
    """``Variable(x)`` is x; of detached data with requires_grad it starts a new graph."""
    data = a.get(0, "data") or UNK
    if isinstance(data, Tensor) and data.node.op not in ("input", "constant", "random"):
        asked = a.keyword("requires_grad") or a.get(1, "requires_grad")
        if asked == TRUE:
            spelling = "Variable(..., requires_grad=True)"
            return rewrapped(m, data.node, spelling, data.node.op == "detach")
    return data


def _checkpoint(m: Machine, a: Arguments) -> Value:
    """``checkpoint(fn, *args)`` computes ``fn(*args)``."""
    if not a.args:
        return UNK
    kwargs = tuple((k, v) for k, v in a.kwargs if k not in ("use_reentrant", "preserve_rng_state"))
    return m.call(m, a.args[0], Arguments(a.args[1:], kwargs, a.open))


def _checkpoint_sequential(m: Machine, a: Arguments) -> Value:
    return m.call(m, a.args[0], Arguments(a.args[2:3])) if len(a.args) >= 3 else UNK


def _deepcopy(m: Machine, a: Arguments) -> Value:
    """A copy has weights of its own."""
    return copy_value(m, a.args[0]) if a.args else UNK


def copy_value(m: Machine, value: Value, depth: int = 6) -> Value:
    """A copy of a layer, module or list, deep as far as layers go."""
    if isinstance(value, LayerVal):
        old = value.layer
        new = m.layer(old.op, old.spelling, dict(old.args), dict(old.explicit))
        new.made, new.owner, new.name = old.made, old.owner, old.name
        return LayerVal(new)
    if isinstance(value, Seq) and depth:
        return seq([copy_value(m, v, depth - 1) for v in value.items], value.kind, value.exact)
    if isinstance(value, Mapping) and depth:
        items = {k: copy_value(m, v, depth - 1) for k, v in value.items.items()}
        return mapping(items, value.closed, value.rest)
    if isinstance(value, Instance) and depth:
        copied = new_instance(m, value.cls, value.container)
        copied.opaque, copied.name, copied.stored = value.opaque, value.name, value.stored
        for key, inner in value.attrs.items():
            copied.attrs[key] = copy_value(m, inner, depth - 1)
        return copied
    return value


# -- the standard library -----------------------------------------------------------------------


def _partial(_m: Machine, a: Arguments) -> Value:
    return Partial(a.args[0], a.args[1:], a.kwargs) if a.args else UNK


def _ordered_dict(m: Machine, a: Arguments) -> Value:
    return BUILTINS["dict"](m, a)


def _default_dict(m: Machine, a: Arguments) -> Value:
    """A dict that remembers what makes the values of new keys, if that is given."""
    table = BUILTINS["dict"](m, Arguments(a.args[1:], a.kwargs, a.open))
    factory = a.args[0] if a.args else NONE
    if isinstance(table, Mapping) and factory != NONE:
        table.state["factory"] = factory
    return table


def _math(name: str, a: Arguments) -> Value:
    function = getattr(math, name, None)
    args = [v.value for v in a.args if isinstance(v, Const)]
    if not callable(function) or len(args) != len(a.args) or name in ("factorial", "comb", "perm"):
        return UNK
    try:
        result = function(*args)
    except (TypeError, ValueError, OverflowError):
        return UNK
    return Const(result) if isinstance(result, int | float | bool) else UNK


def _numpy(m: Machine, name: str, a: Arguments) -> Value:
    """A function of numpy on known numbers, as one of torch."""
    row = known.created(name, a)
    numbers = row if row is not None else known.function(name, a)
    if numbers is None:
        return m.opaque(*a.values(), spelling=f"numpy.{name}")
    return known.tensor_of(m, numbers, name) if isinstance(numbers, tuple) else Const(numbers)


def _creation(name: str) -> Handler:
    """``torch.arange`` and ``torch.linspace``, with their numbers where the bounds are known."""

    def apply(m: Machine, a: Arguments) -> Value:
        row = known.created(name, a)
        return known.tensor_of(m, row, name) if row is not None else m.node("constant", spelling=name)

    return apply


def _unique(m: Machine, a: Arguments) -> Value:
    """The distinct numbers of a row, in order, with how often each stands there if that is asked for."""
    row = known.row_of(a.args[0]) if a.args else None
    if row is None or any(key not in ("return_counts", "sorted") for key, _ in a.kwargs):
        return m.opaque(*a.values(), spelling="unique")
    distinct = tuple(sorted(set(row)))
    values = known.tensor_of(m, distinct, "unique")
    if a.keyword("return_counts") != TRUE:
        return values
    counts = tuple(row.count(number) for number in distinct)
    return seq([values, known.tensor_of(m, counts, "unique")], "tuple")


def _repeat(_m: Machine, a: Arguments) -> Value:
    """``itertools.repeat(x, n)``; without end it is read as two."""
    times = a.get(1, "times")
    if isinstance(times, Const) and isinstance(times.value, int) and 0 <= times.value <= MAX_LENGTH:
        return seq(a.args[:1] * times.value)
    return seq(a.args[:1] * 2, "list", False)


_OPERATORS: dict[str, type[ast.operator]] = {
    "add": ast.Add,
    "sub": ast.Sub,
    "mul": ast.Mult,
    "truediv": ast.Div,
    "floordiv": ast.FloorDiv,
    "mod": ast.Mod,
    "pow": ast.Pow,
    "matmul": ast.MatMult,
}


def _operator(m: Machine, name: str, a: Arguments) -> Value:
    """``operator.mul(a, b)`` is ``a * b``."""
    if name in _OPERATORS and len(a.args) == 2:
        return binary(m, _OPERATORS[name], a.args[0], a.args[1])
    return m.opaque(*a.values(), spelling=f"operator.{name}")


def _environment(_m: Machine, a: Arguments) -> Value:
    """A variable of the environment that is not set, as long as the code says what holds then."""
    return a.get(1, "default") or UNK


def _product(m: Machine, a: Arguments) -> Value:
    """``itertools.product`` of rows that give few enough tuples."""
    rows = [iterate(m, value) for value in a.args]
    if a.kwargs or a.open or math.prod(len(items) for items, _ in rows) > MAX_PRODUCT:
        return seq([UNK] * 2, "list", False)
    pairs = [seq(pair, "tuple") for pair in itertools.product(*(items for items, _ in rows))]
    return seq(pairs, "list", all(exact for _, exact in rows))


MAX_PRODUCT = 32


def _none(_m: Machine, _a: Arguments) -> Value:
    return NONE


def _chain(m: Machine, a: Arguments) -> Value:
    rows = [iterate(m, v) for v in a.args]
    return seq([v for items, _ in rows for v in items], "list", all(exact for _, exact in rows))


def _chain_from(m: Machine, a: Arguments) -> Value:
    """``itertools.chain.from_iterable``."""
    rows, exact = iterate(m, a.args[0] if a.args else UNK)
    chained = _chain(m, Arguments(tuple(rows)))
    return chained if exact or not isinstance(chained, Seq) else seq(chained.items, "list", False)


def _pairwise(m: Machine, a: Arguments) -> Value:
    items, exact = iterate(m, a.args[0] if a.args else UNK)
    return seq([seq(pair, "tuple") for pair in itertools.pairwise(items)], "list", exact)


def _reduce(m: Machine, a: Arguments) -> Value:
    if len(a.args) < 2:
        return UNK
    items, exact = iterate(m, a.args[1])
    values = [*a.args[2:3], *items]
    if not values or not exact:
        return m.opaque(*a.args)
    result = values[0]
    for value in values[1:]:
        result = m.call(m, a.args[0], Arguments((result, value)))
    return result


def _simple_namespace(m: Machine, a: Arguments) -> Value:
    instance = new_instance(m, None, "")
    for key, value in a.kwargs:
        m.heap.store(instance.attrs, key, value)
    return instance


# -- dataclasses --------------------------------------------------------------------------------


def _field(_m: Machine, a: Arguments) -> Value:
    """``field(default=x)`` is x; one with a factory is called for each object."""
    factory = a.keyword("default_factory")
    return Partial(FIELD, (factory,), ()) if factory is not None else a.keyword("default") or UNK


def _replace(m: Machine, a: Arguments) -> Value:
    if len(a.args) == 1 and isinstance(a.args[0], Instance) and not a.open:
        return replaced(m, a.args[0], a.kwargs)
    return UNK


def _as_dict(_m: Machine, a: Arguments) -> Value:
    """``asdict(x)``, to one level: what is inside is shared, not copied."""
    value = a.args[0] if a.args else UNK
    return mapping(fields_of(value), not value.opaque) if isinstance(value, Instance) else UNK


# -- regular expressions ------------------------------------------------------------------------

_LONGEST_TEXT = 128
_REPEATED_GROUP = re.compile(r"\)\s*[*+?{]|\\\d|\(\?[^:]")


def _expression(function: Callable[..., Any]) -> Handler:
    """A function of ``re`` on known texts, for patterns that cannot take long: no group is repeated."""

    def apply(_m: Machine, a: Arguments) -> Value:
        texts = [v.value for v in a.args if isinstance(v, Const) and isinstance(v.value, str)]
        if len(texts) != len(a.args) or not texts or a.kwargs or a.open:
            return UNK
        if any(len(text) > _LONGEST_TEXT for text in texts) or _may_take_long(texts[0]):
            return UNK
        try:
            result = function(*texts)
        except (re.error, TypeError, IndexError):
            return UNK
        return seq([_text_of(item) for item in result]) if isinstance(result, list) else Const(result)

    return apply


def _may_take_long(pattern: str) -> bool:
    """Whether matching may take more than quadratic time."""
    return _REPEATED_GROUP.search(pattern) is not None or sum(pattern.count(c) for c in "*+{") > 2


def _text_of(item: object) -> Value:
    if isinstance(item, tuple):
        return seq([_text_of(part) for part in item], "tuple")
    return Const(item) if isinstance(item, str | None) else UNK


# -- what holds in plain eager runs ---------------------------------------------------------------


def _false(_m: Machine, _a: Arguments) -> Value:
    return FALSE


_ONLY_IN_COMPILERS = frozenset(
    [
        "torch.jit.is_scripting",
        "torch.jit.is_tracing",
        "torch.onnx.is_in_onnx_export",
        "torch.compiler.is_compiling",
        "torch.compiler.is_dynamo_compiling",
        "torch.compiler.is_exporting",
        "torch.fx._symbolic_trace.is_fx_tracing",
    ]
)


def _wrap_identity(_m: Machine, a: Arguments) -> Value:
    return a.args[0] if a.args else NONE


_HANDLERS: dict[str, Handler] = {
    "torch.nn.utils.vector_to_parameters": _vector_to_parameters,
    "torch.nn.utils.parametrizations.orthogonal": _orthogonal,
    "torch.nn.Parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.tensor": _tensor,
    "torch.as_tensor": _tensor,
    "torch.FloatTensor": _tensor,
    "torch.Tensor": _tensor,
    "torch.autograd.Variable": _variable,
    "torch.utils.checkpoint.checkpoint": _checkpoint,
    "torch.utils.checkpoint.checkpoint_sequential": _checkpoint_sequential,
    "torch.utils.data.DataLoader": lambda _m, _a: UNK,
    "torch.compile": _wrap_identity,
    "torch.jit.script": _wrap_identity,
    "copy.deepcopy": _deepcopy,
    "copy.copy": _deepcopy,
    "functools.partial": _partial,
    "functools.reduce": _reduce,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "collections.deque": BUILTINS["list"],
    "itertools.chain": _chain,
    "itertools.chain.from_iterable": _chain_from,
    "itertools.pairwise": _pairwise,
    "itertools.repeat": _repeat,
    "torch.unique": _unique,
    "numpy.unique": _unique,
    "types.SimpleNamespace": _simple_namespace,
    "typing.cast": lambda _m, a: a.args[1] if len(a.args) > 1 else UNK,
    "warnings.warn": _none,
    "torch.arange": _creation("arange"),
    "torch.linspace": _creation("linspace"),
    "os.environ.get": _environment,
    "os.getenv": _environment,
    "itertools.product": _product,
    "dataclasses.field": _field,
    "dataclasses.replace": _replace,
    "dataclasses.asdict": _as_dict,
    "copy.replace": _replace,
    "re.split": _expression(re.split),
    "re.sub": _expression(re.sub),
    "re.findall": _expression(re.findall),
    **dict.fromkeys(_ONLY_IN_COMPILERS, _false),
}

CONSTANTS: dict[str, Value] = {
    "math.pi": Const(math.pi),
    "math.e": Const(math.e),
    "math.inf": Const(math.inf),
    "numpy.pi": Const(math.pi),
    "numpy.inf": Const(math.inf),
    "torch.pi": Const(math.pi),
    "torch.inf": Const(math.inf),
    "typing.TYPE_CHECKING": Const(False),
}
"""Attributes of libraries that are known values."""


_NN_FILES = (
    "activation",
    "batchnorm",
    "container",
    "conv",
    "dropout",
    "flatten",
    "instancenorm",
    "linear",
    "loss",
    "module",
    "normalization",
    "padding",
    "pooling",
    "rnn",
    "sparse",
    "transformer",
    "upsampling",
)


def external_attribute(name: str, attribute: str) -> Value:
    """``library.attribute``."""
    full = f"{_ALIASES.get(name, name)}.{attribute}"
    return CONSTANTS.get(full) or External(_ALIASES.get(full, full))


_ALIASES = {
    "torch.nn.modules": "torch.nn",
    **dict.fromkeys((f"torch.nn.modules.{file}" for file in _NN_FILES), "torch.nn"),
    "torch.functional.F": "torch.nn.functional",
    "torch.torch": "torch",
    "torch.optim.adam.Adam": "torch.optim.Adam",
}


def import_name(dotted: str) -> External:
    """The library module of a dotted name."""
    return External(_ALIASES.get(dotted, dotted))


_STARS: dict[str, Iterable[str]] = {
    "torch": TORCH,
    "torch.nn": ("Module", "Parameter", "functional", "init", "utils", *CONTAINERS, *MODULES),
    "torch.nn.functional": FUNCTIONS,
    "torch.optim": ("lr_scheduler", *OPTIMISERS),
}


def star_names(dotted: str) -> dict[str, Value]:
    """What ``from library import *`` binds, as far as networks need it: torch's names that the tables hold."""
    module = import_name(dotted).name
    return {name: external_attribute(module, name) for name in _STARS.get(module, ())}
