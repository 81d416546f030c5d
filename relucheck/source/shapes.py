"""Shapes of tensors as far as they are proved: which axis is the batch, how wide the last one is."""

from __future__ import annotations

from collections.abc import Mapping

from relucheck.net import UNKNOWN, Arg, Dim, Shape, Symbol
from relucheck.source.drafts import NodeDraft

KEEPS = frozenset(
    [
        "relu",
        "relu6",
        "clip",
        "threshold",
        "leaky_relu",
        "prelu",
        "rrelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "softplus",
        "softsign",
        "hardsigmoid",
        "sigmoid",
        "tanh",
        "tanhshrink",
        "softshrink",
        "hardshrink",
        "logsigmoid",
        "softmax",
        "softmin",
        "log_softmax",
        "gumbel_softmax",
        "some_activation",
        "batch_norm",
        "layer_norm",
        "rms_norm",
        "group_norm",
        "instance_norm",
        "local_response_norm",
        "normalize",
        "dropout",
        "feature_dropout",
        "identity",
        "clone",
        "cast",
        "detach",
        "neg",
        "exp",
        "log",
        "abs",
        "sqrt",
        "sin",
        "masked_fill",
        "elementwise",
        "pow",
        "compare",
    ]
)


def shape_after(op: str, source: NodeDraft, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    """The shape of ``op`` applied to ``source``, and whether its axis 0 is proved to be the batch."""
    shape, batch = source.shape, source.batch_first
    if op in KEEPS:
        return shape, batch or (op == "batch_norm")
    handler = _HANDLERS.get(op)
    return handler(shape, batch, args) if handler is not None else (None, False)


def _dim(arg: Arg) -> Dim:
    return arg if isinstance(arg, int | Symbol) and not isinstance(arg, bool) else UNKNOWN


def _linear(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    out = _dim(args.get("out_features", UNKNOWN))
    return (None if shape is None else (*shape[:-1], out)), batch


def _conv(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    if shape is None or len(shape) < 3:
        return None, batch
    out = _dim(args.get("out_channels", UNKNOWN))
    return (shape[0], out, *(UNKNOWN for _ in shape[2:])), batch


def _flatten(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    start, end = args.get("start_dim", 1), args.get("end_dim", -1)
    if not isinstance(start, int) or not isinstance(end, int):
        return None, False
    if shape is None:
        # flatten(1) keeps axis 0 apart: that is how a batch is flattened
        return ((UNKNOWN, UNKNOWN), True) if (start, end) == (1, -1) else (None, batch and start > 0)
    if not shape:
        return (1,), False  # a scalar becomes one element
    rank = len(shape)
    start, end = start % rank, end % rank
    if start >= end:
        return shape, batch
    batch = (batch and start > 0) or (start == 1 and end == rank - 1)
    return (*shape[:start], _product(shape[start : end + 1]), *shape[end + 1 :]), batch


def _product(dims: Shape) -> Dim:
    total = 1
    for dim in dims:
        if not isinstance(dim, int):
            return UNKNOWN
        total *= dim
    return total


def view_shape(source: NodeDraft, sizes: Arg) -> tuple[Shape | None, bool]:
    """The shape of ``x.view(*sizes)``; a first size taken from axis 0 of a tensor keeps the batch.

    Two sizes taken from its axes 0 and 1 do not: ``length, batch, _ = x.shape`` puts time first.
    """
    if not isinstance(sizes, tuple):
        return None, False
    dims = tuple(UNKNOWN if size == -1 else _dim(size) for size in sizes)
    first = dims[0] if dims else UNKNOWN
    keeps = isinstance(first, Symbol) and first.base.endswith(".shape[0]") and first.numerator == 1
    if keeps and len(dims) >= 2 and not _is_second_size(dims[1], first):
        return dims, True
    flattens = bool(source.shape) and len(source.shape or ()) > len(dims) == 2
    same_first = flattens and isinstance(first, int) and source.shape is not None and first == source.shape[0]
    return dims, bool(same_first or (source.batch_first and source.shape and first == source.shape[0]))


def _is_second_size(dim: Dim, first: Dim) -> bool:
    """Whether a size is that of axis 1 of the tensor whose axis 0 gave the first size."""
    assert isinstance(first, Symbol)
    return isinstance(dim, Symbol) and dim.base == first.base.replace(".shape[0]", ".shape[1]")


def _reduce(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    dim, keep = args.get("dim"), args.get("keepdim", False)
    axes = dim if isinstance(dim, tuple) else (dim,)
    if any(not isinstance(axis, int) for axis in axes):
        return ((), False) if dim is None else (None, False)
    if shape is None:
        return None, batch and all(isinstance(a, int) and a > 0 for a in axes)
    drop = {a % len(shape) for a in axes if isinstance(a, int)} if shape else set()
    if keep is True:
        dims = tuple(1 if i in drop else d for i, d in enumerate(shape))
    else:
        dims = tuple(d for i, d in enumerate(shape) if i not in drop)
    return dims, batch and 0 not in drop


def _squeeze(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    dim = args.get("dim")
    if not isinstance(dim, int) or isinstance(dim, bool):
        return None, False
    if shape is None:
        return None, batch and dim > 0
    at = dim % len(shape) if shape else 0
    if at < len(shape) and shape[at] == 1:
        return (*shape[:at], *shape[at + 1 :]), batch and at > 0
    return None, batch and at > 0


def _unsqueeze(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    dim = args.get("dim")
    if not isinstance(dim, int) or isinstance(dim, bool):
        return None, False
    if shape is None:
        return None, batch and dim > 0
    at = dim % (len(shape) + 1)
    return (*shape[:at], 1, *shape[at:]), batch and at > 0


def _pool(shape: Shape | None, batch: bool, _args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    if shape is None or len(shape) < 3:
        return None, batch
    return (*shape[:2], *(UNKNOWN for _ in shape[2:])), batch


def _permute(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    if not shape:
        return shape, False
    first, second = args.get("dim0"), args.get("dim1")
    if isinstance(first, int) and isinstance(second, int):
        dims = list(shape)
        i, j = first % len(dims), second % len(dims)
        dims[i], dims[j] = dims[j], dims[i]
        return tuple(dims), batch and 0 not in (i, j)
    order = args.get("dims")
    axes = [i for i in order if isinstance(i, int)] if isinstance(order, tuple) else []
    if sorted(i % len(shape) for i in axes) == list(range(len(shape))):
        return tuple(shape[i % len(shape)] for i in axes), batch and axes[0] == 0
    return tuple(UNKNOWN for _ in shape), False


def _embedding(shape: Shape | None, batch: bool, args: Mapping[str, Arg]) -> tuple[Shape | None, bool]:
    width = _dim(args.get("embedding_dim", UNKNOWN))
    return (None if shape is None else (*shape, width)), batch


def recurrent_shapes(shape: Shape | None, args: Mapping[str, Arg]) -> tuple[Shape | None, Shape | None]:
    """The shapes of the output and of the last state of nn.RNN, nn.GRU or nn.LSTM given a batch of sequences.

    An input of two axes is one sequence alone; of an input of three, ``batch_first`` says which is the batch.
    """
    if shape is None or len(shape) != 3:
        return None, None
    hidden, layers, both = (
        _dim(args.get("hidden_size", UNKNOWN)),
        args.get("num_layers", 1),
        args.get("bidirectional"),
    )
    plain = both is False and args.get("proj_size", 0) == 0
    batch = shape[0] if args.get("batch_first") is True else shape[1]
    output = (*shape[:2], hidden if plain else UNKNOWN)
    return output, (_dim(layers) if plain else UNKNOWN, batch, hidden if plain else UNKNOWN)


_HANDLERS = {
    "linear": _linear,
    "conv": _conv,
    "conv_transpose": _conv,
    "flatten": _flatten,
    "mean": _reduce,
    "sum": _reduce,
    "reduce": _reduce,
    "argmax": _reduce,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "avg_pool": _pool,
    "max_pool": _pool,
    "global_avg_pool": _pool,
    "permute": _permute,
    "embedding": _embedding,
}


def broadcast(a: NodeDraft, b: NodeDraft | None) -> tuple[Shape | None, bool]:
    """The shape of a pointwise operation; known where both agree or one is a scalar."""
    if b is None or a.shape == b.shape:
        return a.shape, a.batch_first
    if a.shape is not None and b.shape is not None:
        longer, shorter = (a, b) if len(a.shape or ()) >= len(b.shape or ()) else (b, a)
        if shorter.shape == ():
            return longer.shape, longer.batch_first
    return None, a.batch_first and b.batch_first
