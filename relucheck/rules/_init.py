"""The initialisation that fits an activation (He et al. 2015, section 2.2; Glorot and Bengio 2010)."""

from __future__ import annotations

from relucheck.finding import Fix, Recall, Safety
from relucheck.net import Init, Net
from relucheck.ops import Kind

_FITTING = {
    "relu": ("kaiming", (("nonlinearity", '"relu"'),)),
    "tanh": ("xavier", (("gain", 'nn.init.calculate_gain("tanh")'),)),
    "sigmoid": ("xavier", ()),
}
"""For each activation the family of functions of ``torch.nn.init`` and its arguments."""


def fitting(net: Net, init: Init, after: str) -> Fix | None:
    """The call that scales a weight for the activation behind it, uniform where the old one was.

    None where no function is made for the activation, or where the same call also sets what has not
    the two axes that these functions need.
    """
    if init.span is None or init.replaced or after not in _FITTING or not _sets_weights_alone(net, init):
        return None
    family, arguments = _FITTING[after]
    mode = init.args.get("mode")
    if family == "kaiming" and "mode" in init.explicit and isinstance(mode, str):
        arguments = (("mode", f'"{mode}"'), *arguments)
    spread = "uniform_" if init.function.endswith("uniform_") else "normal_"
    code = f"nn.init.{family}_{spread}"
    return Fix(f"Use {family}_{spread}", Safety.UNSAFE, (Recall(init.span, code, arguments),))


def _sets_weights_alone(net: Net, init: Init) -> bool:
    """Whether a call sets weights of affine layers, and nothing else."""
    alike = [other for other in net.inits if other.span == init.span]
    return all(i.tensor == "weight" and net.layers[i.layer].info.kind is Kind.AFFINE for i in alike)
