"""The operations of torch's dispatcher (``aten``) under the canonical names of ``relucheck.ops``.

Whatever an activation is called in Python, it arrives here under one of a few names: ``nn.ReLU``,
``F.relu``, ``torch.relu`` and ``x.relu_()`` all as ``aten::relu`` or ``aten::relu_``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

CANONICAL: Mapping[str, str] = {
    **dict.fromkeys(("mm", "addmm", "linear", "_addmm_activation", "_sparse_mm", "_sparse_addmm"), "linear"),
    **dict.fromkeys(("bmm", "baddbmm", "matmul", "dot", "mv", "addmv", "addbmm"), "matmul"),
    **dict.fromkeys(
        ("convolution", "_convolution", "mkldnn_convolution", "convolution_overrideable"), "conv"
    ),
    **dict.fromkeys(("cudnn_convolution", "miopen_convolution", "conv_depthwise3d"), "conv"),
    "_conv_depthwise2d": "conv",
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"), "batch_norm"),
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), "batch_norm"),
    "_batch_norm_with_update": "batch_norm",
    "_batch_norm_no_update": "batch_norm",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_fused_rms_norm": "rms_norm",
    "native_dropout": "dropout",
    "relu": "relu",
    "relu6": "relu6",
    "hardtanh": "clip",
    "clamp": "clip",
    "clamp_min": "clip",
    "clamp_max": "clip",
    "threshold": "threshold",
    "leaky_relu": "leaky_relu",
    "_prelu_kernel": "prelu",
    "rrelu_with_noise": "rrelu",
    "rrelu_with_noise_functional": "rrelu",
    "elu": "elu",
    "celu": "celu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "softplus": "softplus",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softshrink": "softshrink",
    "hardshrink": "hardshrink",
    "log_sigmoid_forward": "logsigmoid",
    "glu": "glu",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "embedding": "embedding",
    "_embedding_bag": "embedding",
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "mkldnn_max_pool2d"), "max_pool"),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), "max_pool"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "avg_pool"),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), "global_avg_pool"),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "as_strided", "alias"), "view"),
    **dict.fromkeys(("permute", "transpose", "t", "movedim"), "permute"),
    **dict.fromkeys(("unsqueeze", "squeeze", "expand"), "view"),
    **dict.fromkeys(
        ("slice", "select", "index", "gather", "index_select", "narrow", "roll", "flip"), "index"
    ),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind", "unsafe_split"), "chunk"),
    "cat": "cat",
    "stack": "stack",
    "clone": "clone",
    "copy_": "clone",
    "_to_copy": "cast",
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "reflection_pad1d"), "pad"),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"), "upsample"),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d", "grid_sampler_2d"), "upsample"),
    "pixel_shuffle": "pixel_shuffle",
    "mean": "mean",
    "sum": "sum",
    "amax": "reduce",
    "max": "max",
    "min": "max",
    "topk": "max",
    "sort": "max",
    "argmax": "argmax",
    "add": "add",
    "sub": "sub",
    "rsub": "sub",
    "mul": "mul",
    "div": "div",
    "pow": "pow",
    "neg": "neg",
    "exp": "exp",
    "log": "log",
    "abs": "abs",
    "sqrt": "sqrt",
    "rsqrt": "sqrt",
    "sin": "sin",
    "cos": "sin",
    "masked_fill": "masked_fill",
    "where": "where",
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), "compare"),
    "mkldnn_rnn_layer": "lstm",
    "nll_loss_forward": "nll_loss",
    "nll_loss2d_forward": "nll_loss",
    "binary_cross_entropy": "bce_loss",
    "binary_cross_entropy_with_logits": "bce_with_logits",
    "mse_loss": "mse_loss",
    "huber_loss": "huber_loss",
    "smooth_l1_loss": "smooth_l1_loss",
}
_ATTENTION = "_scaled_dot_product"

SKIPPED = frozenset({"detach", "lift_fresh", "alias", "_local_scalar_dense", "record_stream", "resize_"})
"""Operations that make no value: the result is what went in."""

RANDOM = frozenset(
    {"bernoulli", "bernoulli_", "rand", "rand_like", "randn", "randn_like", "uniform_", "normal_"}
)


def creates(name: str) -> bool:
    """Whether an operation takes only shape and type from a tensor: zeros_like, new_zeros."""
    return name.endswith("_like") or name.startswith("new_")


@dataclass(frozen=True, slots=True)
class AtenOp:
    """The facts about one overload that the recorder needs for every call."""

    name: str
    op: str
    inplace: bool
    aliases: bool
    pointwise: bool


@cache
def aten_op(func: Any) -> AtenOp:
    """The facts about an overload of the dispatcher, such as ``torch.ops.aten.relu.default``."""
    schema = func._schema
    name = schema.name.rpartition("::")[2]
    plain = name if name in CANONICAL else name.removesuffix("_")
    writes = any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
    aliases = any(r.alias_info is not None for r in schema.returns)
    pointwise = torch.Tag.pointwise in func.tags
    return AtenOp(name, _canonical(plain, pointwise), writes, aliases, pointwise)


def _canonical(name: str, pointwise: bool) -> str:
    if name.startswith(_ATTENTION):
        return "attention"
    return CANONICAL.get(name, "elementwise" if pointwise else "unknown")


@dataclass(frozen=True, slots=True)
class Plateau:
    """Where an activation responds: for ``low < z < high`` its slope is at least 5 % of its largest.

    ``dies``: below, the slope is exactly zero and the output constant, so that no gradient brings
    the unit back. ``identity``: inside, the function is the identity (or the identity plus nothing).
    """

    low: float = -math.inf
    high: float = math.inf
    dies: bool = False
    identity: bool = False

    @property
    def saturates(self) -> bool:
        """Whether there is a plateau that is not already called dead."""
        return math.isfinite(self.high) or (math.isfinite(self.low) and not self.dies)


_RELU = Plateau(low=0.0, dies=True, identity=True)

# abs(phi'(z)) < 0.05 sup abs(phi') solved for z (theory, section 2: tanh beyond 2.18, which is
# abs(t) > 0.975; sigmoid beyond 4.36). GELU and SiLU: theory's "off" bounds, as their slope also
# crosses zero once where the unit is well alive.
PLATEAUS: Mapping[str, Plateau] = {
    "relu": _RELU,
    "relu6": Plateau(0.0, 6.0, dies=True, identity=True),
    "sigmoid": Plateau(-4.3563, 4.3563),
    "tanh": Plateau(-2.1783, 2.1783),
    "softsign": Plateau(-3.4721, 3.4721),
    "hardsigmoid": Plateau(-3.0, 3.0),
    "gelu": Plateau(low=-3.0),
    "silu": Plateau(low=-6.0),
    "mish": Plateau(low=-6.0),
    "hardswish": Plateau(low=-3.0),
    "elu": Plateau(low=-2.9957),
    "selu": Plateau(low=-2.9957),
    "celu": Plateau(low=-2.9957),
    "softplus": Plateau(low=-2.9444),
    "logsigmoid": Plateau(high=2.9444),
    "leaky_relu": Plateau(),
    "prelu": Plateau(),
    "rrelu": Plateau(),
    "softshrink": Plateau(),
    "hardshrink": Plateau(),
    "tanhshrink": Plateau(),
}


def plateau(op: str, args: Mapping[str, Any]) -> Plateau | None:
    """The responding range of an activation with its arguments; None for what is no site.

    A clamp with one bound other than zero guards a logarithm or a division and activates nothing.
    """
    if op == "clip":
        low, high = args.get("min"), args.get("max")
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return None
        return Plateau(float(low), float(high), dies=low == 0, identity=True)
    if op == "threshold":
        at = float(args.get("threshold", 0.0))
        return Plateau(low=at, dies=True, identity=True)
    return PLATEAUS.get(op)
