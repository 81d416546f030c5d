"""The one table of torch operations: what each computes, and under which names it is written.

Names are strings, so nothing here imports torch. An operation has one canonical name whatever its
spelling: ``nn.ReLU()``, ``F.relu``, ``torch.relu``, ``x.relu_()`` and ``clamp(min=0)`` are ``relu``.
Ranges and derivatives are those of the definitions in the PyTorch documentation (torch 2.13).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

INF = math.inf


class Kind(Enum):
    """What a rule needs to know first about an operation."""

    AFFINE = "affine"  # a learned affine map: Linear, Conv, ConvTranspose
    ACTIVATION = "activation"
    NORM = "norm"
    DROPOUT = "dropout"
    RESHAPE = "reshape"  # moves or renames entries, computes nothing
    IDENTITY = "identity"
    POOL = "pool"
    RESAMPLE = "resample"
    REDUCTION = "reduction"
    ARITHMETIC = "arithmetic"
    COMPARISON = "comparison"
    EMBEDDING = "embedding"
    RECURRENT = "recurrent"
    ATTENTION = "attention"
    LOSS = "loss"
    SOURCE = "source"  # inputs, parameters, constants
    JOIN = "join"  # one of several values: branches and loops
    PARTS = "parts"  # a tuple or dict of values
    UNKNOWN = "unknown"


class Domain(Enum):
    """What a loss expects to receive as its prediction."""

    ANY = "any real number"
    LOGITS = "raw scores (logits)"
    BINARY_LOGITS = "raw scores (logits), one per label"
    PROBABILITY = "probabilities in [0, 1]"
    LOG_PROBABILITY = "log-probabilities"
    RATE = "non-negative rates"


@dataclass(frozen=True, slots=True)
class Op:
    """The properties of one operation.

    ``low`` and ``high`` bound the output for any real input. ``one_sided``: the slope is zero on a
    whole half-line and the output never negative, so a unit can die (ReLU, not ELU or GELU).
    ``saturating``: bounded on both sides with vanishing slope. ``squash``: maps scores to
    probabilities, log-probabilities or (-1, 1). ``linear``: an affine function of its input with
    fixed coefficients at evaluation (BatchNorm, Dropout, average pooling, reshapes).
    ``view``: the output shares the input's memory. ``domain``: what a loss expects.
    ``weights``: the names of the learned parameters of its layer.
    """

    name: str
    kind: Kind
    low: float = -INF
    high: float = INF
    one_sided: bool = False
    saturating: bool = False
    squash: bool = False
    idempotent: bool = False
    linear: bool = False
    view: bool = False
    elementwise: bool = False
    domain: Domain | None = None
    weights: tuple[str, ...] = ()


def _activation(
    name: str,
    low: float = -INF,
    high: float = INF,
    *,
    one_sided: bool = False,
    saturating: bool = False,
    squash: bool = False,
    idempotent: bool = False,
    elementwise: bool = True,
    weights: tuple[str, ...] = (),
) -> Op:
    return Op(
        name,
        Kind.ACTIVATION,
        low,
        high,
        one_sided=one_sided,
        saturating=saturating,
        squash=squash,
        idempotent=idempotent,
        elementwise=elementwise,
        weights=weights,
    )


_ACTIVATIONS = (
    _activation("relu", 0, one_sided=True, idempotent=True),
    _activation("relu6", 0, 6, one_sided=True, idempotent=True),
    _activation("clip", idempotent=True),  # clamp with two bounds, Hardtanh
    _activation("threshold"),
    _activation("leaky_relu"),
    _activation("prelu", weights=("weight",)),
    _activation("rrelu"),
    _activation("elu", -1),
    _activation("selu", -1.7581),
    _activation("celu"),
    _activation("gelu", -0.17),
    _activation("silu", -0.279),
    _activation("mish", -0.309),
    _activation("hardswish", -0.375),
    _activation("softplus", 0),
    _activation("softsign", -1, 1, saturating=True),
    _activation("hardsigmoid", 0, 1, saturating=True),
    _activation("sigmoid", 0, 1, saturating=True, squash=True),
    _activation("tanh", -1, 1, saturating=True, squash=True),
    _activation("tanhshrink"),
    _activation("softshrink"),
    _activation("hardshrink", idempotent=True),
    _activation("logsigmoid", -INF, 0),
    _activation("glu", elementwise=False),
    _activation("softmax", 0, 1, squash=True, elementwise=False),
    _activation("softmin", 0, 1, squash=True, elementwise=False),
    _activation("log_softmax", -INF, 0, squash=True, idempotent=True, elementwise=False),
    _activation("gumbel_softmax", 0, 1, elementwise=False),
    # Some activation, not known which one: it still breaks an affine chain.
    _activation("some_activation"),
)

_WB = ("weight", "bias")
_OTHERS = (
    Op("linear", Kind.AFFINE, weights=_WB),
    Op("bilinear", Kind.UNKNOWN, weights=_WB),
    Op("conv", Kind.AFFINE, weights=_WB),
    Op("conv_transpose", Kind.AFFINE, weights=_WB),
    Op("batch_norm", Kind.NORM, linear=True, weights=_WB),
    Op("layer_norm", Kind.NORM, weights=_WB),
    Op("rms_norm", Kind.NORM, weights=("weight",)),
    Op("group_norm", Kind.NORM, weights=_WB),
    Op("instance_norm", Kind.NORM, weights=_WB),
    Op("local_response_norm", Kind.NORM),
    Op("normalize", Kind.NORM),
    Op("dropout", Kind.DROPOUT, linear=True, elementwise=True),
    Op("feature_dropout", Kind.DROPOUT, linear=True, elementwise=True),  # Dropout1d/2d/3d
    Op("identity", Kind.IDENTITY, linear=True, view=True, elementwise=True),
    Op("clone", Kind.IDENTITY, linear=True, elementwise=True),
    Op("cast", Kind.IDENTITY, linear=True, view=True, elementwise=True),  # to, float, cuda, half
    Op("detach", Kind.IDENTITY, view=True, elementwise=True),
    Op("flatten", Kind.RESHAPE, linear=True, view=True),
    Op("unflatten", Kind.RESHAPE, linear=True, view=True),
    Op("view", Kind.RESHAPE, linear=True, view=True),
    Op("squeeze", Kind.RESHAPE, linear=True, view=True),
    Op("unsqueeze", Kind.RESHAPE, linear=True, view=True),
    Op("expand", Kind.RESHAPE, linear=True, view=True),
    Op("pad", Kind.RESHAPE, linear=True),
    Op("permute", Kind.RESHAPE, view=True),
    Op("index", Kind.RESHAPE, view=True),
    Op("chunk", Kind.RESHAPE, view=True),
    Op("part", Kind.RESHAPE, view=True),  # one element of a tuple of tensors
    Op("stack", Kind.PARTS),
    Op("cat", Kind.PARTS),
    Op("parts", Kind.PARTS, view=True),
    Op("avg_pool", Kind.POOL, linear=True),
    Op("global_avg_pool", Kind.POOL),
    Op("max_pool", Kind.POOL),
    Op("lp_pool", Kind.POOL),
    Op("upsample", Kind.RESAMPLE),
    Op("pixel_shuffle", Kind.RESAMPLE),
    Op("fold", Kind.RESAMPLE),
    Op("mean", Kind.REDUCTION),
    Op("sum", Kind.REDUCTION),
    Op("max", Kind.REDUCTION),
    Op("argmax", Kind.REDUCTION),
    Op("reduce", Kind.REDUCTION),
    Op("add", Kind.ARITHMETIC),
    Op("sub", Kind.ARITHMETIC),
    Op("mul", Kind.ARITHMETIC),
    Op("div", Kind.ARITHMETIC),
    Op("pow", Kind.ARITHMETIC),
    Op("neg", Kind.ARITHMETIC),
    Op("matmul", Kind.ARITHMETIC),
    Op("exp", Kind.ARITHMETIC, 0),
    Op("log", Kind.ARITHMETIC),
    Op("abs", Kind.ARITHMETIC, 0),
    Op("sqrt", Kind.ARITHMETIC, 0),
    Op("sin", Kind.ARITHMETIC, -1, 1),
    Op("masked_fill", Kind.ARITHMETIC),
    Op("where", Kind.ARITHMETIC),
    Op("elementwise", Kind.ARITHMETIC),  # any other pointwise function
    Op("compare", Kind.COMPARISON),
    Op("embedding", Kind.EMBEDDING, weights=("weight",)),
    Op("rnn", Kind.RECURRENT),
    Op("rnn_cell", Kind.RECURRENT),
    Op("lstm", Kind.RECURRENT),
    Op("gru", Kind.RECURRENT),
    Op("attention", Kind.ATTENTION),
    Op("transformer_layer", Kind.ATTENTION),
    Op("transformer", Kind.ATTENTION),
    Op("input", Kind.SOURCE),
    Op("parameter", Kind.SOURCE),
    Op("buffer", Kind.SOURCE),
    Op("constant", Kind.SOURCE),
    Op("random", Kind.SOURCE),
    Op("branch", Kind.JOIN),  # inputs: the alternatives
    Op("loop", Kind.JOIN),  # inputs: before the loop, after it
    Op("unknown", Kind.UNKNOWN),
)


def _loss(name: str, domain: Domain) -> Op:
    return Op(name, Kind.LOSS, domain=domain)


_LOSSES = (
    _loss("cross_entropy", Domain.LOGITS),
    _loss("nll_loss", Domain.LOG_PROBABILITY),
    _loss("bce_loss", Domain.PROBABILITY),
    _loss("bce_with_logits", Domain.BINARY_LOGITS),
    _loss("multilabel_soft_margin", Domain.BINARY_LOGITS),
    _loss("multi_margin", Domain.LOGITS),
    _loss("multilabel_margin", Domain.LOGITS),
    _loss("hinge_embedding", Domain.ANY),
    _loss("soft_margin", Domain.BINARY_LOGITS),
    _loss("mse_loss", Domain.ANY),
    _loss("l1_loss", Domain.ANY),
    _loss("smooth_l1_loss", Domain.ANY),
    _loss("huber_loss", Domain.ANY),
    _loss("kl_div", Domain.LOG_PROBABILITY),
    _loss("poisson_nll", Domain.RATE),
    _loss("gaussian_nll", Domain.ANY),
    _loss("ctc_loss", Domain.LOG_PROBABILITY),
    _loss("cosine_embedding", Domain.ANY),
    _loss("triplet_margin", Domain.ANY),
    _loss("margin_ranking", Domain.ANY),
)

OPS: dict[str, Op] = {op.name: op for op in (*_ACTIVATIONS, *_OTHERS, *_LOSSES)}
UNKNOWN_OP = OPS["unknown"]


def op_named(name: str) -> Op:
    """The operation of that canonical name; one that the table does not hold is unknown."""
    return OPS.get(name, UNKNOWN_OP)


class Required(Enum):
    """The default of a parameter that has none."""

    REQUIRED = "required"


REQUIRED = Required.REQUIRED
Default = int | float | bool | str | None | tuple[int, ...] | Required


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one name is called: its operation and its parameters in order with their defaults.

    ``fixed`` are arguments that the name itself decides (``relu_`` is in place).
    """

    op: str
    params: tuple[tuple[str, Default], ...] = ()
    fixed: tuple[tuple[str, Default], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.params)


def spell(op: str, params: str = "", **fixed: Default) -> Spelling:
    """A spelling from a signature written as Python: ``spell("relu", "inplace=False")``."""
    return Spelling(op, tuple(_parameter(p) for p in _split(params)), tuple(fixed.items()))


def _split(params: str) -> list[str]:
    return [p.strip() for p in params.split(",") if p.strip()]


_LITERALS: dict[str, Default] = {"True": True, "False": False, "None": None}


def _parameter(text: str) -> tuple[str, Default]:
    name, equals, default = text.partition("=")
    if not equals:
        return name, REQUIRED
    if default in _LITERALS:
        return name, _LITERALS[default]
    try:
        return name, float(default) if "." in default or "e" in default else int(default)
    except ValueError:
        return name, default


_ACT_MODULES = {
    "ReLU": spell("relu", "inplace=False"),
    "ReLU6": spell("relu6", "inplace=False"),
    "LeakyReLU": spell("leaky_relu", "negative_slope=0.01,inplace=False"),
    "PReLU": spell("prelu", "num_parameters=1,init=0.25"),
    "RReLU": spell("rrelu", "lower=0.125,upper=0.3333333,inplace=False"),
    "ELU": spell("elu", "alpha=1.0,inplace=False"),
    "SELU": spell("selu", "inplace=False"),
    "CELU": spell("celu", "alpha=1.0,inplace=False"),
    "GELU": spell("gelu", "approximate=none"),
    "SiLU": spell("silu", "inplace=False"),
    "Mish": spell("mish", "inplace=False"),
    "Hardswish": spell("hardswish", "inplace=False"),
    "Hardtanh": spell("clip", "min_val=-1.0,max_val=1.0,inplace=False,min_value=None,max_value=None"),
    "Hardsigmoid": spell("hardsigmoid", "inplace=False"),
    "Sigmoid": spell("sigmoid"),
    "Tanh": spell("tanh"),
    "Softplus": spell("softplus", "beta=1.0,threshold=20.0"),
    "Softsign": spell("softsign"),
    "Tanhshrink": spell("tanhshrink"),
    "Softshrink": spell("softshrink", "lambd=0.5"),
    "Hardshrink": spell("hardshrink", "lambd=0.5"),
    "LogSigmoid": spell("logsigmoid"),
    "Threshold": spell("threshold", "threshold,value,inplace=False"),
    "GLU": spell("glu", "dim=-1"),
    "Softmax": spell("softmax", "dim=None"),
    "Softmax2d": spell("softmax", dim=1),
    "Softmin": spell("softmin", "dim=None"),
    "LogSoftmax": spell("log_softmax", "dim=None"),
}

_CONV = (
    "in_channels,out_channels,kernel_size,stride=1,padding=0,dilation=1,groups=1,bias=True,padding_mode=zeros"
)
_LAZY_CONV = _CONV.replace("in_channels,", "")
_CONV_T = (
    "in_channels,out_channels,kernel_size,stride=1,padding=0,output_padding=0,groups=1,bias=True,dilation=1"
)
_BN = "num_features,eps=1e-05,momentum=0.1,affine=True,track_running_stats=True"
_RNN = "input_size,hidden_size,num_layers=1,bias=True,batch_first=False,dropout=0.0,bidirectional=False"
_TL = (
    "d_model,nhead,dim_feedforward=2048,dropout=0.1,activation=relu,layer_norm_eps=1e-05,"
    "batch_first=False,norm_first=False,bias=True"
)
_POOL = "kernel_size,stride=None,padding=0"

_LAYER_MODULES = {
    "Linear": spell("linear", "in_features,out_features,bias=True"),
    "LazyLinear": spell("linear", "out_features,bias=True"),
    "Bilinear": spell("bilinear", "in1_features,in2_features,out_features,bias=True"),
    "Identity": spell("identity"),
    "Flatten": spell("flatten", "start_dim=1,end_dim=-1"),
    "Unflatten": spell("unflatten", "dim,unflattened_size"),
    "Embedding": spell("embedding", "num_embeddings,embedding_dim,padding_idx=None"),
    "EmbeddingBag": spell("embedding", "num_embeddings,embedding_dim"),
    "LayerNorm": spell("layer_norm", "normalized_shape,eps=1e-05,elementwise_affine=True,bias=True"),
    "RMSNorm": spell("rms_norm", "normalized_shape,eps=None,elementwise_affine=True"),
    "GroupNorm": spell("group_norm", "num_groups,num_channels,eps=1e-05,affine=True"),
    "LocalResponseNorm": spell("local_response_norm", "size"),
    "SyncBatchNorm": spell("batch_norm", _BN),
    "RNN": spell(
        "rnn",
        "input_size,hidden_size,num_layers=1,nonlinearity=tanh,bias=True,batch_first=False,dropout=0.0,"
        "bidirectional=False",
    ),
    "RNNCell": spell("rnn_cell", "input_size,hidden_size,bias=True,nonlinearity=tanh"),
    "LSTM": spell("lstm", _RNN + ",proj_size=0"),
    "GRU": spell("gru", _RNN),
    "LSTMCell": spell("lstm", "input_size,hidden_size,bias=True"),
    "GRUCell": spell("gru", "input_size,hidden_size,bias=True"),
    "MultiheadAttention": spell("attention", "embed_dim,num_heads,dropout=0.0,bias=True"),
    "TransformerEncoderLayer": spell("transformer_layer", _TL),
    "TransformerDecoderLayer": spell("transformer_layer", _TL),
    "TransformerEncoder": spell("transformer", "encoder_layer,num_layers,norm=None"),
    "TransformerDecoder": spell("transformer", "decoder_layer,num_layers,norm=None"),
    "Transformer": spell(
        "transformer",
        "d_model=512,nhead=8,num_encoder_layers=6,num_decoder_layers=6,dim_feedforward=2048,dropout=0.1,"
        "activation=relu",
    ),
    "Upsample": spell("upsample", "size=None,scale_factor=None,mode=nearest"),
    "UpsamplingNearest2d": spell("upsample", "size=None,scale_factor=None"),
    "UpsamplingBilinear2d": spell("upsample", "size=None,scale_factor=None"),
    "PixelShuffle": spell("pixel_shuffle", "upscale_factor"),
    "PixelUnshuffle": spell("pixel_shuffle", "downscale_factor"),
    "Fold": spell("fold"),
    "Unfold": spell("fold"),
    "ChannelShuffle": spell("permute"),
    "ZeroPad2d": spell("pad"),
    "Dropout": spell("dropout", "p=0.5,inplace=False"),
    "AlphaDropout": spell("dropout", "p=0.5,inplace=False"),
    "FeatureAlphaDropout": spell("feature_dropout", "p=0.5,inplace=False"),
}
for _n in ("1d", "2d", "3d"):
    _LAYER_MODULES |= {
        f"Conv{_n}": spell("conv", _CONV),
        f"LazyConv{_n}": spell("conv", _LAZY_CONV),
        f"ConvTranspose{_n}": spell("conv_transpose", _CONV_T),
        f"LazyConvTranspose{_n}": spell("conv_transpose", _CONV_T.replace("in_channels,", "")),
        f"BatchNorm{_n}": spell("batch_norm", _BN),
        f"LazyBatchNorm{_n}": spell("batch_norm", _BN.replace("num_features,", "")),
        f"InstanceNorm{_n}": spell("instance_norm", _BN.replace("affine=True", "affine=False")),
        f"Dropout{_n}": spell("feature_dropout", "p=0.5,inplace=False"),
        f"AvgPool{_n}": spell("avg_pool", _POOL),
        f"MaxPool{_n}": spell("max_pool", _POOL),
        f"LPPool{_n}": spell("lp_pool", "norm_type,kernel_size"),
        f"AdaptiveAvgPool{_n}": spell("global_avg_pool", "output_size"),
        f"AdaptiveMaxPool{_n}": spell("max_pool", "output_size"),
        f"ReflectionPad{_n}": spell("pad"),
        f"ReplicationPad{_n}": spell("pad"),
        f"ConstantPad{_n}": spell("pad"),
        f"CircularPad{_n}": spell("pad"),
    }

_R = "reduction=mean"
_LOSS_MODULES = {
    "CrossEntropyLoss": spell(
        "cross_entropy",
        f"weight=None,size_average=None,ignore_index=-100,reduce=None,{_R},label_smoothing=0.0",
    ),
    "NLLLoss": spell("nll_loss", f"weight=None,size_average=None,ignore_index=-100,reduce=None,{_R}"),
    "NLLLoss2d": spell("nll_loss"),
    "BCELoss": spell("bce_loss", f"weight=None,size_average=None,reduce=None,{_R}"),
    "BCEWithLogitsLoss": spell(
        "bce_with_logits", f"weight=None,size_average=None,reduce=None,{_R},pos_weight=None"
    ),
    "MultiLabelSoftMarginLoss": spell("multilabel_soft_margin"),
    "MultiMarginLoss": spell("multi_margin"),
    "MultiLabelMarginLoss": spell("multilabel_margin"),
    "HingeEmbeddingLoss": spell("hinge_embedding"),
    "SoftMarginLoss": spell("soft_margin"),
    "MSELoss": spell("mse_loss", f"size_average=None,reduce=None,{_R}"),
    "L1Loss": spell("l1_loss", f"size_average=None,reduce=None,{_R}"),
    "SmoothL1Loss": spell("smooth_l1_loss", f"size_average=None,reduce=None,{_R},beta=1.0"),
    "HuberLoss": spell("huber_loss", f"{_R},delta=1.0"),
    "KLDivLoss": spell("kl_div", f"size_average=None,reduce=None,{_R},log_target=False"),
    "PoissonNLLLoss": spell("poisson_nll", "log_input=True,full=False"),
    "GaussianNLLLoss": spell("gaussian_nll"),
    "CTCLoss": spell("ctc_loss", "blank=0"),
    "CosineEmbeddingLoss": spell("cosine_embedding"),
    "TripletMarginLoss": spell("triplet_margin"),
    "MarginRankingLoss": spell("margin_ranking"),
}

MODULES: dict[str, Spelling] = {**_ACT_MODULES, **_LAYER_MODULES, **_LOSS_MODULES}
"""Classes of ``torch.nn`` by name."""

_ACT_FUNCTIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "rrelu": "rrelu",
    "elu": "elu",
    "selu": "selu",
    "celu": "celu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "hardswish": "hardswish",
    "hardtanh": "clip",
    "hardsigmoid": "hardsigmoid",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softplus": "softplus",
    "softsign": "softsign",
    "tanhshrink": "tanhshrink",
    "softshrink": "softshrink",
    "hardshrink": "hardshrink",
    "logsigmoid": "logsigmoid",
    "threshold": "threshold",
    "glu": "glu",
    "softmax": "softmax",
    "softmin": "softmin",
    "log_softmax": "log_softmax",
}
_MODULE_OF_OP = {spelling.op: spelling for spelling in reversed(_ACT_MODULES.values())}
_MODULE_OF_OP["softmax"] = _ACT_MODULES["Softmax"]


def _functional(op: str) -> Spelling:
    """The functional spelling of an activation: its input first, then the module's arguments."""
    return Spelling(op, (("input", REQUIRED), *_MODULE_OF_OP[op].params))


FUNCTIONS: dict[str, Spelling] = {name: _functional(op) for name, op in _ACT_FUNCTIONS.items()}
FUNCTIONS |= {
    "prelu": spell("prelu", "input,weight"),
    "gumbel_softmax": spell("gumbel_softmax", "input,tau=1,hard=False"),
    "relu_": spell("relu", "input", inplace=True),
    "leaky_relu_": spell("leaky_relu", "input,negative_slope=0.01", inplace=True),
    "elu_": spell("elu", "input,alpha=1.0", inplace=True),
    "celu_": spell("celu", "input,alpha=1.0", inplace=True),
    "selu_": spell("selu", "input", inplace=True),
    "rrelu_": spell("rrelu", "input", inplace=True),
    "hardtanh_": spell("clip", "input,min_val=-1.0,max_val=1.0", inplace=True),
    "threshold_": spell("threshold", "input,threshold,value", inplace=True),
    "sigmoid_": spell("sigmoid", "input", inplace=True),
    "tanh_": spell("tanh", "input", inplace=True),
    "expit": spell("sigmoid", "input"),
    "linear": spell("linear", "input,weight,bias=None"),
    "bilinear": spell("bilinear"),
    "embedding": spell("embedding", "input,weight"),
    "embedding_bag": spell("embedding", "input,weight"),
    "dropout": spell("dropout", "input,p=0.5,training=True,inplace=False"),
    "alpha_dropout": spell("dropout", "input,p=0.5,training=False,inplace=False"),
    "dropout1d": spell("feature_dropout", "input,p=0.5,training=True,inplace=False"),
    "dropout2d": spell("feature_dropout", "input,p=0.5,training=True,inplace=False"),
    "dropout3d": spell("feature_dropout", "input,p=0.5,training=True,inplace=False"),
    "batch_norm": spell("batch_norm", "input,running_mean,running_var"),
    "layer_norm": spell("layer_norm", "input,normalized_shape,weight=None,bias=None,eps=1e-05"),
    "rms_norm": spell("rms_norm", "input,normalized_shape,weight=None,eps=None"),
    "group_norm": spell("group_norm", "input,num_groups"),
    "instance_norm": spell("instance_norm", "input"),
    "local_response_norm": spell("local_response_norm", "input,size"),
    "normalize": spell("normalize", "input,p=2.0,dim=1"),
    "pad": spell("pad", "input,pad"),
    "interpolate": spell("upsample", "input,size=None,scale_factor=None,mode=nearest"),
    "upsample": spell("upsample", "input,size=None,scale_factor=None,mode=nearest"),
    "grid_sample": spell("upsample", "input,grid"),
    "pixel_shuffle": spell("pixel_shuffle", "input,upscale_factor"),
    "pixel_unshuffle": spell("pixel_shuffle", "input,downscale_factor"),
    "fold": spell("fold", "input"),
    "unfold": spell("fold", "input"),
    "scaled_dot_product_attention": spell("attention", "query,key,value"),
    "multi_head_attention_forward": spell("attention", "query,key,value"),
    "one_hot": spell("constant"),
    "cross_entropy": spell(
        "cross_entropy",
        f"input,target,weight=None,size_average=None,ignore_index=-100,reduce=None,{_R},label_smoothing=0.0",
    ),
    "nll_loss": spell(
        "nll_loss", f"input,target,weight=None,size_average=None,ignore_index=-100,reduce=None,{_R}"
    ),
    "binary_cross_entropy": spell("bce_loss", f"input,target,weight=None,size_average=None,reduce=None,{_R}"),
    "binary_cross_entropy_with_logits": spell(
        "bce_with_logits",
        f"input,target,weight=None,size_average=None,reduce=None,{_R},pos_weight=None",
    ),
    "multilabel_soft_margin_loss": spell("multilabel_soft_margin", "input,target"),
    "multi_margin_loss": spell("multi_margin", "input,target"),
    "multilabel_margin_loss": spell("multilabel_margin", "input,target"),
    "hinge_embedding_loss": spell("hinge_embedding", "input,target"),
    "soft_margin_loss": spell("soft_margin", "input,target"),
    "mse_loss": spell("mse_loss", f"input,target,size_average=None,reduce=None,{_R}"),
    "l1_loss": spell("l1_loss", f"input,target,size_average=None,reduce=None,{_R}"),
    "smooth_l1_loss": spell("smooth_l1_loss", f"input,target,size_average=None,reduce=None,{_R},beta=1.0"),
    "huber_loss": spell("huber_loss", f"input,target,{_R},delta=1.0"),
    "kl_div": spell("kl_div", f"input,target,size_average=None,reduce=None,{_R},log_target=False"),
    "poisson_nll_loss": spell("poisson_nll", "input,target,log_input=True,full=False"),
    "gaussian_nll_loss": spell("gaussian_nll", "input,target,var"),
    "ctc_loss": spell("ctc_loss", "log_probs,targets"),
    "cosine_embedding_loss": spell("cosine_embedding", "input1,input2,target"),
    "triplet_margin_loss": spell("triplet_margin", "anchor,positive,negative"),
    "margin_ranking_loss": spell("margin_ranking", "input1,input2,target"),
}
for _n in ("1d", "2d", "3d"):
    FUNCTIONS |= {
        f"conv{_n}": spell("conv", "input,weight,bias=None,stride=1,padding=0,dilation=1,groups=1"),
        f"conv_transpose{_n}": spell(
            "conv_transpose", "input,weight,bias=None,stride=1,padding=0,output_padding=0,groups=1"
        ),
        f"avg_pool{_n}": spell("avg_pool", f"input,{_POOL}"),
        f"max_pool{_n}": spell("max_pool", f"input,{_POOL}"),
        f"lp_pool{_n}": spell("lp_pool", "input,norm_type,kernel_size"),
        f"adaptive_avg_pool{_n}": spell("global_avg_pool", "input,output_size"),
        f"adaptive_max_pool{_n}": spell("max_pool", "input,output_size"),
    }

_TENSOR = {
    "relu": spell("relu", "input"),
    "relu_": spell("relu", "input", inplace=True),
    "sigmoid": spell("sigmoid", "input"),
    "sigmoid_": spell("sigmoid", "input", inplace=True),
    "tanh": spell("tanh", "input"),
    "tanh_": spell("tanh", "input", inplace=True),
    "softmax": spell("softmax", "input,dim=None"),
    "log_softmax": spell("log_softmax", "input,dim=None"),
    "prelu": spell("prelu", "input,weight"),
    "selu": spell("selu", "input"),
    "celu": spell("celu", "input,alpha=1.0"),
    "hardshrink": spell("hardshrink", "input,lambd=0.5"),
    "clamp": spell("clip", "input,min=None,max=None"),
    "clip": spell("clip", "input,min=None,max=None"),
    "clamp_": spell("clip", "input,min=None,max=None", inplace=True),
    "clip_": spell("clip", "input,min=None,max=None", inplace=True),
    "clamp_min": spell("clip", "input,min", max=None),
    "clamp_min_": spell("clip", "input,min", max=None, inplace=True),
    "clamp_max": spell("clip", "input,max", min=None),
    "maximum": spell("maximum", "input,other"),
    "minimum": spell("elementwise", "input,other"),
    "flatten": spell("flatten", "input,start_dim=0,end_dim=-1"),
    "unflatten": spell("unflatten", "input,dim,sizes"),
    "ravel": spell("flatten", "input", start_dim=0, end_dim=-1),
    "reshape": spell("view", "input,*shape"),
    "view": spell("view", "input,*shape"),
    "view_as": spell("view", "input,other"),
    "reshape_as": spell("view", "input,other"),
    "squeeze": spell("squeeze", "input,dim=None"),
    "unsqueeze": spell("unsqueeze", "input,dim"),
    "expand": spell("expand", "input,*shape"),
    "expand_as": spell("expand", "input,other"),
    "broadcast_to": spell("expand", "input,*shape"),
    "repeat": spell("index", "input,*sizes"),
    "repeat_interleave": spell("index", "input,repeats,dim=None"),
    "tile": spell("index", "input,*sizes"),
    "contiguous": spell("identity", "input"),
    "clone": spell("clone", "input"),
    "to": spell("cast", "input,*args"),
    "type": spell("cast", "input,*args"),
    "type_as": spell("cast", "input,other"),
    "float": spell("cast", "input"),
    "double": spell("cast", "input"),
    "half": spell("cast", "input"),
    "bfloat16": spell("cast", "input"),
    "cuda": spell("cast", "input,*args"),
    "cpu": spell("cast", "input"),
    "requires_grad_": spell("identity", "input,requires_grad=True"),
    "detach": spell("detach", "input"),
    "detach_": spell("detach", "input"),
    "permute": spell("permute", "input,*dims"),
    "transpose": spell("permute", "input,dim0,dim1"),
    "swapaxes": spell("permute", "input,dim0,dim1"),
    "movedim": spell("permute", "input,source,destination"),
    "t": spell("permute", "input"),
    "chunk": spell("chunk", "input,chunks,dim=0"),
    "split": spell("chunk", "input,split_size,dim=0"),
    "tensor_split": spell("chunk", "input,sections,dim=0"),
    "unbind": spell("chunk", "input,dim=0"),
    "narrow": spell("index", "input,dim,start,length"),
    "select": spell("index", "input,dim,index"),
    "index_select": spell("index", "input,dim,index"),
    "gather": spell("index", "input,dim,index"),
    "roll": spell("index", "input,shifts"),
    "flip": spell("index", "input,dims"),
    "diagonal": spell("index", "input"),
    "mean": spell("mean", "input,dim=None,keepdim=False"),
    "sum": spell("sum", "input,dim=None,keepdim=False"),
    "amax": spell("reduce", "input,dim=None,keepdim=False"),
    "amin": spell("reduce", "input,dim=None,keepdim=False"),
    "std": spell("reduce", "input,dim=None,keepdim=False"),
    "var": spell("reduce", "input,dim=None,keepdim=False"),
    "norm": spell("reduce", "input,p=None,dim=None,keepdim=False"),
    "prod": spell("reduce", "input,dim=None,keepdim=False"),
    "logsumexp": spell("reduce", "input,dim=None,keepdim=False"),
    "max": spell("max", "input,dim=None,keepdim=False"),
    "min": spell("max", "input,dim=None,keepdim=False"),
    "median": spell("max", "input,dim=None,keepdim=False"),
    "topk": spell("max", "input,k,dim=-1"),
    "sort": spell("max", "input,dim=-1"),
    "cumsum": spell("elementwise", "input,dim"),
    "argmax": spell("argmax", "input,dim=None,keepdim=False"),
    "argmin": spell("argmax", "input,dim=None,keepdim=False"),
    "add": spell("add", "input,other"),
    "add_": spell("add", "input,other", inplace=True),
    "sub": spell("sub", "input,other"),
    "sub_": spell("sub", "input,other", inplace=True),
    "mul": spell("mul", "input,other"),
    "multiply": spell("mul", "input,other"),
    "mul_": spell("mul", "input,other", inplace=True),
    "div": spell("div", "input,other"),
    "div_": spell("div", "input,other", inplace=True),
    "pow": spell("pow", "input,exponent"),
    "square": spell("pow", "input"),
    "neg": spell("neg", "input"),
    "matmul": spell("matmul", "input,other"),
    "mm": spell("matmul", "input,other"),
    "bmm": spell("matmul", "input,other"),
    "mv": spell("matmul", "input,other"),
    "dot": spell("matmul", "input,other"),
    "exp": spell("exp", "input"),
    "log": spell("log", "input"),
    "log1p": spell("log", "input"),
    "log2": spell("log", "input"),
    "abs": spell("abs", "input"),
    "sqrt": spell("sqrt", "input"),
    "rsqrt": spell("sqrt", "input"),
    "sin": spell("sin", "input"),
    "cos": spell("sin", "input"),
    "masked_fill": spell("masked_fill", "input,mask,value"),
    "masked_fill_": spell("masked_fill", "input,mask,value", inplace=True),
    "gt": spell("compare", "input,other", operator=">"),
    "ge": spell("compare", "input,other", operator=">="),
    "lt": spell("compare", "input,other", operator="<"),
    "le": spell("compare", "input,other", operator="<="),
    "eq": spell("compare", "input,other", operator="=="),
    "ne": spell("compare", "input,other", operator="!="),
    "nan_to_num": spell("elementwise", "input"),
    "sign": spell("elementwise", "input"),
    "round": spell("elementwise", "input"),
    "erf": spell("elementwise", "input"),
}

METHODS: dict[str, Spelling] = dict(_TENSOR)
"""Methods of a tensor by name; the tensor is the first parameter."""

_CREATORS = ("empty", "arange", "linspace", "logspace", "eye", "tril_indices", "triu_indices")
TORCH: dict[str, Spelling] = {
    **{name: FUNCTIONS[name] for name in FUNCTIONS if not name.startswith("adaptive")},
    **_TENSOR,
    "cat": spell("cat", "tensors,dim=0"),
    "concat": spell("cat", "tensors,dim=0"),
    "concatenate": spell("cat", "tensors,dim=0"),
    "hstack": spell("cat", "tensors"),
    "vstack": spell("cat", "tensors"),
    "stack": spell("stack", "tensors,dim=0"),
    "where": spell("where", "condition,input,other"),
    "addmm": spell("linear", "bias,input,weight"),
    "einsum": spell("einsum", "equation,*operands"),
    "zeros": spell("constant", "*size", value=0.0),
    "zeros_like": spell("constant", "input", value=0.0),
    "ones": spell("constant", "*size", value=1.0),
    "ones_like": spell("constant", "input", value=1.0),
    "full_like": spell("constant", "input,value"),
    "full": spell("constant", "size,value"),
    **{name: spell("constant") for name in _CREATORS},
    "randn": spell("random", "*size"),
    "rand": spell("random", "*size"),
    "randint": spell("random", "low=0,high=0,size=None"),
    "randn_like": spell("random", "input"),
    "rand_like": spell("random", "input"),
    "normal": spell("random"),
}
"""Functions of the ``torch`` namespace by name."""

LOSS_EXPECTATION = {
    "cross_entropy": "applies log-softmax itself and expects raw scores (logits)",
    "bce_with_logits": "applies the sigmoid itself and expects raw scores (logits)",
    "multilabel_soft_margin": "applies the sigmoid itself and expects raw scores (logits)",
    "nll_loss": "expects log-probabilities (log_softmax)",
    "bce_loss": "expects probabilities between 0 and 1 (sigmoid)",
}
"""What the losses of the RLU1 rules do with their input, as messages say it."""

ADAM_LIKE = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "SparseAdam"})
"""Optimisers whose first step has size lr whatever the gradient (evidence: theory, D13)."""
OPTIMISERS = ADAM_LIKE | {"SGD", "ASGD", "Adadelta", "Rprop", "LBFGS", "Adafactor", "Muon"}
OPTIMISER_PARAMS: dict[str, Spelling] = {
    "SGD": spell("optimiser", "params,lr=0.001,momentum=0,dampening=0,weight_decay=0,nesterov=False"),
    "Adam": spell("optimiser", "params,lr=0.001,betas=None,eps=1e-08,weight_decay=0,amsgrad=False"),
    "AdamW": spell("optimiser", "params,lr=0.001,betas=None,eps=1e-08,weight_decay=0.01,amsgrad=False"),
}
"""Signatures of common optimisers; others take ``params`` and ``lr`` first."""
