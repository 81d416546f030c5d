"""Changes of one kind made to a network in place: modules replaced, normalisation and shortcuts put in.

No name of a module or parameter changes and no shape does, so whatever the user's ``forward`` reads
is still there: normalisation and shortcuts hang on hooks of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from relucheck.experiments.functions import Original, Substitute
from relucheck.experiments.structure import HiddenLayer, Site
from relucheck.tape.names import Names

Function = Callable[[Tensor], Tensor]
_SHORTCUT = "_relucheck_shortcut"
_NORM = "relucheck_norm"


def by_path(model: nn.Module) -> Mapping[str, nn.Module]:
    """The modules of a model by the paths that a net calls them."""
    names = Names.of(model)
    return {names.modules[id(module)]: module for module in model.modules()}


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts ``new`` wherever ``old`` is registered."""
    for parent in tuple(model.modules()):  # ``new`` may hold ``old``
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def replace_activations(
    model: nn.Module, sites: Iterable[Site], kind: Callable[[], nn.Module], function: Function
) -> Mapping[Site, Substitute]:
    """Replaces the modules among the sites; what remains to be replaced while the model runs is returned."""
    modules = by_path(model)
    functions: dict[Site, Substitute] = {}
    for site in sites:
        if site.module:
            new = kind()
            new.train(modules[site.module].training)
            replace_module(model, modules[site.module], new)
        else:
            functions[site] = lambda z, original: function(z)
    return functions


def add_norm(layer: nn.Module, op: str, batch: bool) -> None:
    """BatchNorm or LayerNorm on the output of a layer, so before whatever activation reads it.

    Features of a Linear are normalised over samples and positions (``batch``) or among each other;
    behind a convolution LayerNorm is ``GroupNorm(1, channels)``, as channels and positions are its axes.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)  # only layers with one are named hidden
    norm = _norm(layer, op, batch).to(device=weight.device, dtype=weight.dtype)
    norm.train(layer.training)
    layer.add_module(_NORM, norm)
    flat = op == "linear" and batch
    layer.register_forward_hook(lambda module, args, output: _normed(norm, output, flat))


def _normed(norm: nn.Module, output: Tensor, flat: bool) -> Tensor:
    rows: Tensor = norm(output.reshape(-1, output.shape[-1]) if flat else output)
    return rows.reshape(output.shape)


def _norm(layer: nn.Module, op: str, batch: bool) -> nn.Module:
    if op == "linear":
        width = _width(layer, "out_features")
        return nn.BatchNorm1d(width) if batch else nn.LayerNorm(width)
    channels = _width(layer, "out_channels")
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return _BATCH_NORMS[weight.ndim - 2](channels) if batch else nn.GroupNorm(1, channels)


_BATCH_NORMS: Mapping[int, Callable[[int], nn.Module]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


def _width(layer: nn.Module, name: str) -> int:
    width = getattr(layer, name)
    assert isinstance(width, int)
    return width


def add_shortcuts(model: nn.Module, layers: Iterable[HiddenLayer]) -> Mapping[Site, Substitute]:
    """Makes ``activation(layer(x))`` into ``activation(layer(x)) + x`` for square layers.

    The layer's input travels with its output, as an attribute of that very tensor, so that an
    activation adds it however and how often it is called.
    """
    modules = by_path(model)
    functions: dict[Site, Substitute] = {}
    wrapped: set[str] = set()
    for hidden in layers:
        assert hidden.site is not None  # only layers that an activation reads itself are square pairs
        modules[hidden.path].register_forward_hook(_remember, with_kwargs=True)
        if not hidden.site.module:
            functions[hidden.site] = _with_shortcut
        elif hidden.site.module not in wrapped:
            wrapped.add(hidden.site.module)
            old = modules[hidden.site.module]
            replace_module(model, old, _Shortcut(old))
    return functions


def _remember(
    module: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], output: Tensor
) -> None:
    setattr(output, _SHORTCUT, args[0] if args else kwargs["input"])


def _with_shortcut(z: Tensor, original: Original) -> Tensor:
    source: Tensor | None = z.__dict__.pop(_SHORTCUT, None)
    result = original()
    return result if source is None else result + source


class _Shortcut(nn.Module):
    """An activation that adds the input of the layer before it."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.train(activation.training)

    def forward(self, z: Tensor) -> Tensor:
        return _with_shortcut(z, lambda: self.activation(z))


def initialise(layer: nn.Module, op: str, he: bool) -> None:
    """New weights for one layer, and a bias of zero.

    He: normal with variance 2/fan_in (He et al. 2015, eq. 10). Otherwise the normalised initialisation
    of Glorot and Bengio (2010, eq. 16): uniform with variance 2/(fan_in + fan_out).
    """
    weight, bias = layer._parameters["weight"], layer._parameters.get("bias")
    assert weight is not None  # the caller leaves out layers whose weight is computed
    if he:
        # the fan of a transposed convolution's inputs is what torch calls its fan_out
        mode = "fan_out" if op == "conv_transpose" else "fan_in"
        nn.init.kaiming_normal_(weight, mode=mode, nonlinearity="relu")  # type: ignore[arg-type]
    else:
        nn.init.xavier_uniform_(weight)
    if bias is not None:
        with torch.no_grad():
            bias.zero_()
