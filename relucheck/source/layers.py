"""torch's own layers: making them, applying them, and what their attributes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from relucheck.net import UNKNOWN, Arg
from relucheck.ops import MODULES, OPS, OPTIMISER_PARAMS, OPTIMISERS, Kind, Spelling, spell
from relucheck.source.binding import Arguments, Bound, bind, from_arg
from relucheck.source.drafts import InitDraft, LayerDraft, NodeDraft, OptimiserDraft
from relucheck.source.machine import Machine, tensors_in
from relucheck.source.shapes import recurrent_shapes, shape_after
from relucheck.source.tensors import apply_loss, part
from relucheck.source.values import (
    UNK,
    Const,
    External,
    Instance,
    LayerVal,
    Mapping,
    Native,
    OptimiserVal,
    ParamOf,
    ParamsOf,
    Seq,
    Tensor,
    Value,
    seq,
)

CONTAINERS = frozenset({"Sequential", "ModuleList", "ModuleDict"})


def layer_class(name: str) -> str | None:
    """The class of ``torch.nn`` that a qualified name means, or None."""
    if not name.startswith("torch.nn.") or name.startswith("torch.nn.functional."):
        return None
    last = name.rpartition(".")[2]
    return last if last in MODULES else None


def make(m: Machine, cls: str, arguments: Arguments) -> Value:
    """``nn.Cls(...)``. An activation class that is handed a tensor builds a module: that is a mistake."""
    spelling = MODULES[cls]
    if misused(spelling, arguments):
        return _misused(m, spelling, arguments, cls)
    bound = bind(spelling, arguments)
    args = bound.args()
    if spelling.op in ("transformer_layer", "transformer") and _is_relu(bound.values.get("activation", UNK)):
        args["activation"] = "relu"
    draft = m.layer(spelling.op, f"nn.{cls}", args, dict(bound.explicit))
    return LayerVal(draft)


def _is_relu(value: Value) -> bool:
    """Whether a transformer's activation is ReLU, given as a function or as a layer."""
    function = isinstance(value, External) and value.name in ("torch.relu", "torch.nn.functional.relu")
    return function or (isinstance(value, LayerVal) and value.layer.op == "relu")


def misused(spelling: Spelling, arguments: Arguments) -> bool:
    """Whether an activation class is called with a tensor."""
    first = arguments.args[0] if arguments.args else None
    return (
        OPS[spelling.op].kind is Kind.ACTIVATION and isinstance(first, Tensor) and first.node.op != "constant"
    )


def _misused(m: Machine, spelling: Spelling, arguments: Arguments, cls: str) -> Value:
    """Go on as if the activation were applied, which is what the code meant."""
    node = m.input_of(arguments.args[0])
    shape, batch = shape_after(spelling.op, node, {})
    return m.node(
        spelling.op, node, spelling=f"nn.{cls}", misused=m.guessing == 0, shape=shape, batch_first=batch
    )


def apply_layer(m: Machine, layer: LayerDraft, arguments: Arguments) -> Value:
    """Apply a layer to its arguments."""
    layer.applied = True
    info = layer.info
    if info.kind is Kind.LOSS:
        given = dict(zip(("input", "target", "negative"), arguments.args, strict=False))
        bound = Bound(given | dict(arguments.kwargs), {})
        return _with_layer(m, layer, apply_loss(m, layer.op, bound, layer.spelling))
    inputs = [m.input_of(v) for v in arguments.args[:1]] or [m.input_of(v) for _, v in arguments.kwargs[:1]]
    inputs += [t.node for v in arguments.values()[1:] for t in tensors_in(v)]
    if not inputs:
        return UNK
    special = _APPLY.get(layer.op)
    return special(m, layer, inputs) if special is not None else _apply_plain(m, layer, inputs)


def _apply_plain(m: Machine, layer: LayerDraft, inputs: list[NodeDraft]) -> Tensor:
    shape, batch = shape_after(layer.op, inputs[0], layer.args)
    args: dict[str, Arg] = {"inplace": True} if layer.args.get("inplace") is True else {}
    used = inputs if layer.info.kind in (Kind.ATTENTION, Kind.UNKNOWN) else inputs[:1]
    return m.node(
        layer.op, *used, layer=layer, args=args, spelling=layer.spelling, shape=shape, batch_first=batch
    )


def _with_layer(m: Machine, layer: LayerDraft, value: Value) -> Value:
    if isinstance(value, Tensor):
        value.node.layer = layer
        value.node.args = {**layer.args, **value.node.args}
    return value


def _recurrent(m: Machine, layer: LayerDraft, inputs: list[NodeDraft]) -> Value:
    """RNN and GRU give (output, h), LSTM (output, (h, c)); the cells give the state itself."""
    shape, state_shape = recurrent_shapes(inputs[0].shape, layer.args)
    batch = layer.args.get("batch_first") is True and shape is not None
    out = m.node(layer.op, *inputs, layer=layer, spelling=layer.spelling, shape=shape, batch_first=batch)
    cell = "Cell" in layer.spelling
    hidden = part(m, out, 1) if layer.op == "lstm" or not cell else out
    if not cell:
        hidden.node.shape = state_shape
    if layer.op == "lstm":
        state = seq([hidden, part(m, out, 2)], "tuple")
        return state if cell else seq([out, state], "tuple")
    return out if cell else seq([out, hidden], "tuple")


def _attention(m: Machine, layer: LayerDraft, inputs: list[NodeDraft]) -> Value:
    out = m.node("attention", *inputs, layer=layer, spelling=layer.spelling, shape=inputs[0].shape)
    return seq([out, part(m, out, 1)], "tuple")


def _lazy_repeat(m: Machine, layer: LayerDraft, inputs: list[NodeDraft]) -> Value:
    return m.node(layer.op, *inputs, layer=layer, spelling=layer.spelling, shape=inputs[0].shape)


_APPLY: dict[str, Callable[[Machine, LayerDraft, list[NodeDraft]], Value]] = {
    "rnn": _recurrent,
    "rnn_cell": _recurrent,
    "lstm": _recurrent,
    "gru": _recurrent,
    "attention": _attention,
    "transformer_layer": _lazy_repeat,
    "transformer": _lazy_repeat,
}

FLUENT = frozenset(
    [
        "to",
        "cuda",
        "cpu",
        "float",
        "double",
        "half",
        "bfloat16",
        "train",
        "eval",
        "requires_grad_",
        "share_memory",
        "type",
        "compile",
    ]
)
"""Methods of modules that give the module itself."""


def layer_attribute(m: Machine, layer: LayerDraft, name: str) -> Value:
    """An attribute of a torch layer: its arguments, its parameters, its methods."""
    if name in layer.args and name not in ("bias", "weight"):
        return from_arg(layer.args[name])
    if name.startswith(("weight", "bias")):
        return Const(None) if layer.args.get("bias") is False and name == "bias" else ParamOf(layer, name)
    if name in FLUENT or name in (
        "parameters",
        "named_parameters",
        "apply",
        "forward",
        "__call__",
        "state_dict",
        "register_forward_hook",
    ):
        return Native(name, LayerVal(layer))
    if name == "__class__":
        return External("torch.nn." + layer.spelling.rpartition(".")[2])
    if name == "reset_parameters":
        return Native(name, LayerVal(layer))
    return UNK


# -- initialisation -----------------------------------------------------------------------------

_INIT_PARAMS: dict[str, Spelling] = {
    "constant_": spell("init", "tensor,val"),
    "uniform_": spell("init", "tensor,a=0.0,b=1.0"),
    "normal_": spell("init", "tensor,mean=0.0,std=1.0"),
    "trunc_normal_": spell("init", "tensor,mean=0.0,std=1.0,a=-2.0,b=2.0"),
    "xavier_uniform_": spell("init", "tensor,gain=1.0"),
    "xavier_normal_": spell("init", "tensor,gain=1.0"),
    "kaiming_uniform_": spell("init", "tensor,a=0,mode=fan_in,nonlinearity=leaky_relu"),
    "kaiming_normal_": spell("init", "tensor,a=0,mode=fan_in,nonlinearity=leaky_relu"),
    "orthogonal_": spell("init", "tensor,gain=1"),
}
_OLD_NAMES = {
    "xavier_uniform": "xavier_uniform_",
    "xavier_normal": "xavier_normal_",
    "kaiming_uniform": "kaiming_uniform_",
    "kaiming_normal": "kaiming_normal_",
    "constant": "constant_",
    "normal": "normal_",
    "uniform": "uniform_",
    "orthogonal": "orthogonal_",
}
GAINS = {
    "linear": 1.0,
    "conv": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": 2**0.5,
    "selu": 0.75,
}
"""``torch.nn.init.calculate_gain`` for names without a parameter."""


def call_init(m: Machine, name: str, arguments: Arguments) -> Value:
    """``torch.nn.init.name(tensor, ...)``."""
    if name == "calculate_gain":
        return _gain(arguments)
    name = _OLD_NAMES.get(name, name)
    target = arguments.get(0, "tensor")
    if isinstance(target, ParamOf):
        bound = bind(_INIT_PARAMS.get(name, spell("init", "tensor")), arguments)
        record_init(m, target, name, bound)
    return target if target is not None else UNK


def record_init(m: Machine, target: ParamOf, function: str, bound: Bound) -> None:
    """Record that a parameter of a layer is initialised."""
    args = bound.args(frozenset({"tensor"}))
    m.tape.inits.append(
        InitDraft(target.layer, target.name, function, args, frozenset(bound.explicit), m.here(), m.maybe > 0)
    )


def freeze(layer: LayerDraft) -> None:
    """Note that a layer is not trained; it may be again later, so this only ever excuses."""
    layer.args["frozen"] = True


def replace_param(m: Machine, param: ParamOf, value: Value) -> None:
    """``layer.bias.data = value`` or ``layer.bias = value``: what was there before counts no more."""
    number: object = UNKNOWN
    if isinstance(value, Tensor):
        number = value.node.args.get("value", UNKNOWN)
    elif isinstance(value, Const):  # ``layer.bias[:] = -1.0``
        number = value.value
    known = isinstance(number, int | float) and not isinstance(number, bool)
    if isinstance(value, Tensor) and value.node.args.get("frozen") is True:
        freeze(param.layer)
    args: dict[str, Arg] = {"val": number} if isinstance(number, int | float) and known else {}
    function = "constant_" if known else "assigned"
    span = value.node.span if isinstance(value, Tensor) else m.here() if known else None
    m.tape.inits.append(
        InitDraft(param.layer, param.name, function, args, frozenset(args), span, m.maybe > 0, replaced=True)
    )


def forget_params(m: Machine, layers: Iterable[LayerDraft]) -> None:
    """All parameters of some layers are drawn or loaded anew: what they were set to counts no more."""
    for layer in layers:
        m.tape.inits += [
            InitDraft(layer, name, "reset", {}, frozenset(), m.here(), m.maybe > 0, replaced=True)
            for name in layer.info.weights
        ]


def _gain(arguments: Arguments) -> Value:
    kind = arguments.get(0, "nonlinearity")
    if isinstance(kind, Const) and isinstance(kind.value, str) and kind.value in GAINS:
        return Const(GAINS[kind.value])
    return UNK


_PARAM_METHODS = {
    "zero_": ("zeros_", ""),
    "fill_": ("constant_", "val"),
    "normal_": ("normal_", "mean,std"),
    "uniform_": ("uniform_", "a,b"),
}


def param_method(m: Machine, param: ParamOf, name: str, arguments: Arguments) -> Value:
    """A method of a parameter: ``self.fc.weight.data.zero_()`` initialises it."""
    if name in _PARAM_METHODS:
        function, names = _PARAM_METHODS[name]
        spelling = spell("init", f"tensor,{names}")
        record_init(m, param, function, bind(spelling, arguments.after(param)))
    elif name == "requires_grad_":
        if arguments.get(0, "requires_grad") not in (None, Const(True)):
            freeze(param.layer)
    elif name.endswith("_"):  # copy_, add_, clamp_ ...
        replace_param(m, param, arguments.get(0, "src") or UNK if name == "copy_" else UNK)
    return param


# -- optimisers ---------------------------------------------------------------------------------


def is_optimiser(name: str) -> bool:
    """Whether a qualified name is one of torch's optimisers (or a library's of the same name)."""
    head, _, last = name.rpartition(".")
    return last in OPTIMISERS and ("optim" in head or head.startswith("torch"))


def make_optimiser(m: Machine, kind: str, arguments: Arguments) -> Value:
    """``torch.optim.Kind(params, lr=...)``."""
    spelling = OPTIMISER_PARAMS.get(kind, spell("optimiser", "params,lr"))
    bound = bind(spelling, arguments)
    layers, whole = trained_layers(bound.values.get("params", UNK))
    draft = OptimiserDraft(
        kind, bound.args(frozenset({"params"})), frozenset(bound.explicit), layers, whole, m.here()
    )
    m.tape.optimisers.append(draft)
    return OptimiserVal(draft)


def trained_layers(params: Value) -> tuple[tuple[LayerDraft, ...], bool]:
    """The layers whose parameters an optimiser surely gets under its own settings, and whether that is all it gets.

    A group that sets its own ``lr`` or ``weight_decay`` is left out.
    """
    if isinstance(params, ParamsOf):
        return layers_in(params.owner), True
    if isinstance(params, ParamOf):
        return (params.layer,), True
    if isinstance(params, Mapping):
        plain = params.exact and not params.items.keys() & {"lr", "weight_decay"}
        return trained_layers(params.items.get("params", UNK)) if plain else ((), False)
    if isinstance(params, Seq):
        parts = [trained_layers(item) for item in params.items]
        whole = bool(parts) and params.exact and all(whole for _, whole in parts)
        return tuple(dict.fromkeys(layer for row, _ in parts for layer in row)), whole
    return (), False


def layers_in(owner: Value, depth: int = 12) -> tuple[LayerDraft, ...]:
    """All torch layers inside a module, in order."""
    if isinstance(owner, LayerVal):
        return (owner.layer,)
    if isinstance(owner, Seq) and depth:
        return tuple(layer for item in owner.items for layer in layers_in(item, depth - 1))
    if isinstance(owner, Instance) and depth:
        children = (v for k, v in owner.attrs.items() if isinstance(v, LayerVal | Instance) or k == "_items")
        found = (layer for child in children for layer in layers_in(child, depth - 1))
        return tuple(dict.fromkeys(found))
    return ()


def schedule(value: Value) -> None:
    """Note that something changes an optimiser's learning rate."""
    if isinstance(value, OptimiserVal):
        value.draft.scheduled = True
