"""Functions and methods of tensors: which node a call records, under whatever name it is written."""

from __future__ import annotations

from collections.abc import Callable

from relucheck.net import UNKNOWN, Arg, Dim, Rewrap, Shape, Symbol
from relucheck.ops import FUNCTIONS, METHODS, OPS, TORCH, Kind, Spelling
from relucheck.source import known
from relucheck.source.binding import Arguments, Bound, bind
from relucheck.source.drafts import NodeDraft
from relucheck.source.machine import Machine, names_in, tensors_in, to_arg
from relucheck.source.operators import is_positive_mask, is_weight, tensor_binary, tensor_compare
from relucheck.source.shapes import shape_after, view_shape
from relucheck.source.values import (
    NONE,
    UNK,
    Const,
    Item,
    Num,
    OneOf,
    Seq,
    ShapeOf,
    Tensor,
    Value,
    seq,
)

INPUT = frozenset({"input"})


def spelling_of(name: str) -> Spelling | None:
    """The spelling of a qualified torch function, or None if it is not one of the table."""
    for prefix in ("torch.nn.functional.", "torch.special.", "torch.functional.", "torch.Tensor.", "torch."):
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            table = FUNCTIONS if prefix == "torch.nn.functional." else TORCH
            return table.get(rest)
    return None


def call_function(m: Machine, spelling: Spelling, arguments: Arguments, name: str) -> Value:
    """Record a call of a torch function."""
    numbers = known.function(name, arguments) if _is_constant(arguments) else None
    if numbers is not None:
        return known.tensor_of(m, numbers, name)
    bound = bind(spelling, arguments)
    special = _SPECIAL.get(spelling.op)
    if special is not None:
        return special(m, spelling, bound, name)
    if OPS.get(spelling.op) is not None and OPS[spelling.op].kind is Kind.LOSS:
        return apply_loss(m, spelling.op, bound, name)
    source = bound.values.get("input")
    if source is None:
        return m.opaque(*arguments.values(), spelling=name)
    return apply(m, spelling.op, source, bound, name)


def _is_constant(arguments: Arguments) -> bool:
    """Whether a constant tensor is among the first arguments: only then numbers may be known."""
    return any(isinstance(v, Tensor) and v.node.op == "constant" for v in arguments.args[:2])


def call_method(m: Machine, tensor: Tensor, name: str, arguments: Arguments) -> Value:
    """Record a call of a tensor's method."""
    tensor = m.resolve(tensor)
    if tensor.node.op == "constant":
        result = known.method(m, tensor, name, arguments)
        if result is not None:
            return result
    special = _METHODS.get(name)
    if special is not None:
        return special(m, tensor, arguments)
    spelling = METHODS.get(name)
    if spelling is None and name.endswith("_") and not name.startswith("_"):
        return _unknown_in_place(m, tensor, name, arguments)
    if spelling is None:
        return m.opaque(tensor, *arguments.values(), spelling=name)
    return call_function(m, spelling, arguments.after(tensor), name)


def _unknown_in_place(m: Machine, tensor: Tensor, name: str, arguments: Arguments) -> Value:
    """``x.copy_(y)``: nothing is known of the values, but that the tensor holds them now."""
    others = (t.node for v in arguments.values() for t in tensors_in(v))
    inputs = dict.fromkeys([tensor.node, *others])
    return m.node("unknown", *inputs, args={"inplace": True}, spelling=name)


def apply(m: Machine, op: str, source: Value, bound: Bound, name: str) -> Value:
    """Record an operation with one input."""
    node = m.input_of(source)
    args = bound.args(INPUT)
    if "training" in bound.explicit:
        args["training_flag"] = args["training"] if isinstance(args["training"], bool) else UNKNOWN
    if "p" in bound.values and (_may_be_zero(bound.values["p"]) or _asks_for_mode(m)):
        args["may_be_off"] = True
    if op == "threshold" and args.get("threshold") == 0 and args.get("value") == 0:
        op = "relu"
    if op == "exp" and node.op == "log_softmax":
        op, node, args = "softmax", node.inputs[0], {"dim": _softmax_dim(node)}
    shape, batch = shape_after(op, node, args)
    extra = _weights(m, bound) if op in ("linear", "conv", "conv_transpose") else ()
    return m.node(
        op,
        node,
        *extra,
        args=args,
        explicit=frozenset(bound.explicit),
        spelling=name,
        shape=shape,
        batch_first=batch,
    )


def _softmax_dim(node: NodeDraft) -> Arg:
    args = node.args if node.layer is None else node.layer.args
    return args.get("dim", UNKNOWN)


def _asks_for_mode(m: Machine) -> bool:
    """Whether the call mentions the module's mode: ``F.dropout(x, p * self.training)``."""
    return m.place is not None and "training" in names_in(m.place[1])


def _may_be_zero(value: Value) -> bool:
    """Whether zero is one of the values that a number may have: ``p if self.training else 0.0``."""
    return isinstance(value, OneOf) and any(_is_zero(choice) for choice in value.values)


def _weights(m: Machine, bound: Bound) -> tuple[NodeDraft, ...]:
    """The weight of a functional layer, where it is computed from data (a hypernetwork)."""
    weight = bound.values.get("weight")
    if isinstance(weight, Tensor) and not is_weight(weight.node):
        return (weight.node,)
    return ()


def apply_loss(m: Machine, op: str, bound: Bound, name: str) -> Value:
    """Record a loss: its prediction first, then its target."""
    values = bound.values
    prediction = values.get("input", values.get("log_probs", values.get("input1", values.get("anchor", UNK))))
    inputs = [m.input_of(prediction)]
    others = [values[k] for k in ("target", "targets", "input2", "positive", "negative") if k in values]
    inputs += [tensor.node for v in others if (tensor := m.as_tensor(v)) is not None]
    args = bound.args(frozenset({"input", "target", "weight", "pos_weight"}))
    if m.without_gradient():
        args["no_grad"] = True
    return m.node(op, *inputs, args=args, explicit=frozenset(bound.explicit), spelling=name, shape=())


# -- functions with a meaning of their own ------------------------------------------------------


def _clip(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    """``clamp``: with 0 as its only bound it is ReLU."""
    low, high = bound.values.get("min", NONE), bound.values.get("max", NONE)
    if _is_zero(low) and high == NONE:
        return apply(m, "relu", bound.values.get("input", UNK), bound, f"{name}(min=0)")
    if "min_val" in bound.values or isinstance(low, Const) or isinstance(high, Const):
        return apply(m, "clip", bound.values.get("input", UNK), bound, name)
    return apply(m, "elementwise", bound.values.get("input", UNK), bound, name)


def _is_zero(value: Value) -> bool:
    if isinstance(value, Const):
        return value.value == 0 and isinstance(value.value, int | float) and not isinstance(value.value, bool)
    return isinstance(value, Tensor) and value.node.op == "constant" and value.node.args.get("value") == 0


def _maximum(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    """``maximum(x, 0)`` is ReLU."""
    a, b = bound.values.get("input", UNK), bound.values.get("other", UNK)
    if _is_zero(a):
        a, b = b, a
    if _is_zero(b):
        return apply(m, "relu", a, Bound({"input": a}, {}), f"{name}(x, 0)")
    return tensor_binary(m, "elementwise", a, b)


def _max(m: Machine, spelling: Spelling, bound: Bound, name: str) -> Value:
    second = bound.values.get("dim", NONE)
    if isinstance(second, Tensor):
        other = Bound({"input": bound.values["input"], "other": second}, {})
        if name == "max":
            return _maximum(m, spelling, other, name)
        return tensor_binary(m, "elementwise", bound.values["input"], second)
    return apply(m, "max", bound.values.get("input", UNK), bound, name)


def _where(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    """``where(x > 0, x, 0)`` is ReLU."""
    condition, yes, no = (bound.values.get(k, UNK) for k in ("condition", "input", "other"))
    mask, kept = m.as_tensor(condition), m.as_tensor(yes)
    if mask is None or kept is None:
        return m.opaque(condition, yes, no, spelling=name)
    if is_positive_mask(mask.node) and mask.node.inputs[0] is kept.node and _is_zero(no):
        m.tape.forget([mask.node])
        return m.node("relu", kept.node, spelling="where(x > 0, x, 0)", shape=kept.node.shape)
    other = m.as_tensor(no)
    inputs = [mask.node, kept.node] + ([other.node] if other is not None else [])
    return m.node("where", *inputs, spelling=name, shape=kept.node.shape, batch_first=kept.node.batch_first)


def _arithmetic(m: Machine, spelling: Spelling, bound: Bound, _name: str) -> Value:
    other = bound.values.get("other", bound.values.get("exponent", UNK))
    inplace = bound.values.get("inplace") == Const(True)
    return tensor_binary(m, spelling.op, bound.values.get("input", UNK), other, inplace)


def _compare(m: Machine, spelling: Spelling, bound: Bound, _name: str) -> Value:
    sign = dict(spelling.fixed)["operator"]
    return tensor_compare(m, str(sign), bound.values.get("input", UNK), bound.values.get("other", UNK))


def _pow(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    return apply(m, "pow", bound.values.get("input", UNK), bound, name)


def _view(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    node = m.input_of(bound.values.get("input", UNK))
    sizes = to_arg(bound.values.get("shape", UNK))
    shape, batch = view_shape(node, sizes)
    return m.node("view", node, args={"shape": sizes}, spelling=name, shape=shape, batch_first=batch)


def _gather_inputs(m: Machine, bound: Bound) -> list[NodeDraft]:
    row = bound.values.get("tensors", UNK)
    if isinstance(row, Seq):
        return [m.input_of(item) for item in row.items]
    return [m.input_of(row)]


def _cat(m: Machine, spelling: Spelling, bound: Bound, name: str) -> Value:
    inputs = _gather_inputs(m, bound)
    batch = bool(inputs) and all(n.batch_first for n in inputs)
    dim = to_arg(bound.values.get("dim", UNK))
    keeps = isinstance(dim, int) and dim != 0
    return m.node(spelling.op, *inputs, args={"dim": dim}, spelling=name, batch_first=batch and keeps)


def _constant(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    """A tensor of constants, with its shape where that is written."""
    value = to_arg(bound.values.get("value", UNK))
    shape, batch = _created_shape(m, bound)
    return m.node("constant", args={"value": value}, spelling=name, shape=shape, batch_first=batch)


def _random(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    shape, batch = _created_shape(m, bound)
    return m.node("random", spelling=name, shape=shape, batch_first=batch)


def _created_shape(m: Machine, bound: Bound) -> tuple[Shape | None, bool]:
    like = bound.values.get("input")
    if isinstance(like, Tensor):
        return m.resolve(like).node.shape, m.resolve(like).node.batch_first
    size = bound.values.get("size")
    sizes = to_arg(size) if size is not None else UNKNOWN
    if not isinstance(sizes, tuple):
        return None, False
    return tuple(_dim(s) for s in sizes), False


def _dim(arg: Arg) -> Dim:
    return arg if isinstance(arg, int | Symbol) and not isinstance(arg, bool) else UNKNOWN


def _einsum(m: Machine, _spelling: Spelling, bound: Bound, name: str) -> Value:
    operands = bound.values.get("operands", UNK)
    inputs = [t.node for t in tensors_in(operands)]
    return m.node("matmul", *inputs, spelling=name) if inputs else UNK


def _matmul(m: Machine, _spelling: Spelling, bound: Bound, _name: str) -> Value:
    return tensor_binary(m, "matmul", bound.values.get("input", UNK), bound.values.get("other", UNK))


_SPECIAL: dict[str, Callable[[Machine, Spelling, Bound, str], Value]] = {
    "clip": _clip,
    "maximum": _maximum,
    "max": _max,
    "where": _where,
    "add": _arithmetic,
    "sub": _arithmetic,
    "mul": _arithmetic,
    "div": _arithmetic,
    "pow": _pow,
    "compare": _compare,
    "view": _view,
    "cat": _cat,
    "stack": _cat,
    "constant": _constant,
    "random": _random,
    "einsum": _einsum,
    "matmul": _matmul,
}


# -- methods with a meaning of their own --------------------------------------------------------


def _item(_m: Machine, tensor: Tensor, _arguments: Arguments) -> Value:
    return Item(tensor.node)


def _size(m: Machine, tensor: Tensor, arguments: Arguments) -> Value:
    axis = arguments.get(0, "dim")
    return shape_value(tensor.node) if axis is None else size_of(tensor.node, axis)


def shape_value(node: NodeDraft) -> Value:
    """The value of ``x.shape``."""
    if node.shape is None:
        return ShapeOf(node)
    return seq([size_of(node, Const(i)) for i in range(len(node.shape))], "tuple")


def size_of(node: NodeDraft, axis: Value) -> Value:
    """The size of one axis: a number, or a named size so that it compares with itself."""
    if not isinstance(axis, Const) or not isinstance(axis.value, int):
        return UNK
    at = axis.value
    if node.shape is not None and -len(node.shape) <= at < len(node.shape):
        dim = node.shape[at]
        if isinstance(dim, int):
            return Const(dim)
        if isinstance(dim, Symbol):
            return Num(dim)
        at %= len(node.shape)
    return Num(Symbol(f"x{node.order}.shape[{at}]"))


def _dims(_m: Machine, tensor: Tensor, _arguments: Arguments) -> Value:
    shape = tensor.node.shape
    return UNK if shape is None else Const(len(shape))


def _new(value: float | None) -> Callable[[Machine, Tensor, Arguments], Value]:
    def create(m: Machine, _tensor: Tensor, _arguments: Arguments) -> Value:
        return m.node("constant", args={"value": value})

    return create


def _split_parts(m: Machine, tensor: Tensor, arguments: Arguments) -> Value:
    count = arguments.get(0, "chunks")
    return split(
        m, tensor, count.value if isinstance(count, Const) and isinstance(count.value, int) else None
    )


def split(m: Machine, tensor: Tensor, parts: int | None) -> Value:
    """``x.chunk(n)``: n parts of one value."""
    whole = m.node("chunk", tensor.node, spelling="chunk", batch_first=False)
    if parts is None or not 0 < parts <= 16:
        return whole
    return seq([part(m, whole, i) for i in range(parts)], "tuple")


def part(m: Machine, whole: Tensor, index: int | None) -> Tensor:
    """One element of a value that holds several."""
    args: dict[str, Arg] = {} if index is None else {"index": index}
    return m.node("part", whole.node, args=args)


def _rewrapping(m: Machine, tensor: Tensor, arguments: Arguments) -> Value:
    """``requires_grad_()`` on a detached value or a loss starts a new graph."""
    flag = arguments.get(0, "requires_grad")
    if flag is not None and flag != Const(True):
        return tensor
    cut = _is_cut(tensor.node)
    if not cut and not _is_loss(tensor.node):
        return tensor
    spelling = ".detach().requires_grad_()" if cut else ".requires_grad_()"
    return rewrapped(m, tensor.node, spelling, cut)


_CUTS = frozenset({"detach", "data", "item", "tolist", "numpy", "float"})


def rewrapped(m: Machine, source: NodeDraft, spelling: str, cut: bool) -> Tensor:
    """A leaf of a new graph; ``cut``: its source had no graph, by this expression or one before."""
    here = names_in(m.place[1]) if m.place is not None else frozenset()
    args: dict[str, Arg] = {"rewrapped": True, "cut_before": cut and not here & _CUTS}
    return m.node("detach", source, args=args, spelling=spelling)


def make_leaf(m: Machine, tensor: Tensor) -> None:
    """``loss.requires_grad = True``: torch allows it for leaves alone, so the loss has no graph before it."""
    tensor = m.resolve(tensor)
    if _is_cut(tensor.node) or _is_loss(tensor.node):
        spelling = ".requires_grad = True"
        m.redirect(tensor, rewrapped(m, tensor.node, spelling, True))


_MULTIPLES = frozenset({"add", "sub", "mul", "div", "neg", "mean", "sum"})


def note_backward(m: Machine, tensor: Tensor) -> Value:
    """``loss.backward()``: note a loss whose graph was cut just before."""
    node = m.resolve(tensor).node
    while (node.op in _MULTIPLES or node.spelling == "scale") and len(node.inputs) == 1:
        node = node.inputs[0]
    place = m.here()
    known = node.span is not None and place is not None
    if known and node.args.get("rewrapped") is True and _comes_from_network(node):
        assert node.span is not None
        assert place is not None
        cut_before = node.args.get("cut_before") is True
        m.tape.rewraps.append(Rewrap(node.span, node.spelling, place, cut_before))
    return NONE


def _comes_from_network(node: NodeDraft) -> bool:
    """Whether a value was computed, and is not just a constant or an input made a leaf."""
    seen: set[int] = set()
    todo = list(node.inputs)
    while todo:
        source = todo.pop()
        if id(source) in seen:
            continue
        seen.add(id(source))
        if source.op in ("unknown", "linear", "conv") or source.info.kind.value == "loss":
            return True
        todo.extend(source.inputs)
    return False


def _is_cut(node: NodeDraft) -> bool:
    """Whether a value was cut from its graph, and perhaps copied or moved since."""
    while node.op in ("clone", "cast", "identity") and node.inputs:
        node = node.inputs[0]
    return node.op == "detach"


def _is_loss(node: NodeDraft) -> bool:
    """Whether a value is a loss, or losses added up and averaged."""
    while node.op in ("add", "sub", "mul", "div", "mean", "sum", "clone", "cast", "neg") and node.inputs:
        node = node.inputs[0]
    return node.info.kind is Kind.LOSS


def _nothing(_m: Machine, _tensor: Tensor, _arguments: Arguments) -> Value:
    return NONE


_METHODS: dict[str, Callable[[Machine, Tensor, Arguments], Value]] = {
    "item": _item,
    "tolist": _item,
    "numpy": _item,
    "size": _size,
    "dim": _dims,
    "ndimension": _dims,
    "new_zeros": _new(0.0),
    "new_ones": _new(1.0),
    "new_full": _new(None),
    "new_empty": _new(None),
    "new_tensor": _new(None),
    "chunk": _split_parts,
    "requires_grad_": _rewrapping,
    "retain_grad": _nothing,
    "register_hook": _nothing,
}


def tensor_attribute(m: Machine, tensor: Tensor, name: str) -> Value | None:
    """The value of ``x.name``, or None where it is a method."""
    tensor = m.resolve(tensor)
    node = tensor.node
    if name == "shape":
        return shape_value(node)
    if name in ("ndim",):
        return UNK if node.shape is None else Const(len(node.shape))
    if name == "data":
        return m.node("detach", node, spelling=".data", shape=node.shape, batch_first=node.batch_first)
    if name in ("T", "mT", "H"):
        return m.node("permute", node)
    if name in ("device", "dtype", "is_cuda", "requires_grad", "layout", "grad", "grad_fn", "is_leaf"):
        return UNK
    if name in ("values", "indices") and node.op == "max":
        return part(m, tensor, 0 if name == "values" else 1)
    if name in METHODS or name in _METHODS or name == "backward":
        return None
    if node.op in ("unknown", "input"):
        return m.node("part", node, spelling=f".{name}")
    return None


def index(m: Machine, tensor: Tensor, key: Value) -> Value:
    """``x[key]``."""
    tensor = m.resolve(tensor)
    node = tensor.node
    row = known.row_of(tensor)
    element = known.item(m, row, key) if row is not None else None
    if element is not None:
        return element
    if node.op in ("unknown", "input", "chunk", "parts", "max") and isinstance(key, Const):
        return part(m, tensor, key.value if isinstance(key.value, int) else None)
    extra = [t.node for t in tensors_in(key)]
    if _is_state_of_layer(node, key):
        return m.node("index", node, shape=(node.shape or ())[1:], batch_first=True)
    batch = (node.batch_first or _is_batch_of_sequences(node, key)) and _keeps_batch(key)
    return m.node("index", node, *extra, batch_first=batch)


def _is_state_of_layer(node: NodeDraft, key: Value) -> bool:
    """Whether ``h[-1]`` takes the state of one layer from the states of a recurrent network given a batch."""
    of_network = node.op == "part" and bool(node.inputs) and node.inputs[0].info.kind is Kind.RECURRENT
    one = isinstance(key, Const) and isinstance(key.value, int) and not isinstance(key.value, bool)
    return of_network and one and node.shape is not None and len(node.shape) == 3


def _is_batch_of_sequences(node: NodeDraft, key: Value) -> bool:
    """Whether three subscripts prove that a batch-first recurrent layer was not given one sequence alone."""
    while node.op in ("part", "parts") and node.inputs:
        node = node.inputs[0]
    if node.layer is None or node.layer.args.get("batch_first") is not True or not isinstance(key, Seq):
        return False
    plain = all(isinstance(v, Const) or (isinstance(v, Seq) and v.kind == "slice") for v in key.items)
    return plain and len(key.items) == 3


def _keeps_batch(key: Value) -> bool:
    """Whether an index leaves axis 0 as it is: ``x[:, 0]``."""
    if not isinstance(key, Seq) or not key.items:
        return False
    first = key.items[0]
    return isinstance(first, Seq) and first.kind == "slice" and all(v == NONE for v in first.items)
