"""The changes that may be tried, one at a time; each keeps every shape of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from relucheck.experiments.functions import Substitute
from relucheck.experiments.structure import HiddenLayer, Site, Structure, added, is_renamed
from relucheck.experiments.surgery import (
    Function,
    add_norm,
    add_shortcuts,
    by_path,
    initialise,
    replace_activations,
)
from relucheck.net import Net

Functions = Mapping[Site, Substitute]
Tune = Callable[[torch.optim.Optimizer], torch.optim.Optimizer]

RECTIFIERS = frozenset({"relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "gelu", "silu", "mish"})
SQUASHES = frozenset({"sigmoid", "tanh"})
NORMS = ("batch_norm", "layer_norm", "group_norm")
CLIP = 1.0
"""The largest norm of the whole gradient behind the change ``clip``."""


class NotApplicableError(Exception):
    """A change that cannot be made in this network; the message says why."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit of a model leaves to be done and to be checked.

    ``functions`` replace calls while the model runs. ``achieved`` tells from the nets before and after
    whether the change is there as intended; ``sites`` are the places that are named where it is not.
    """

    functions: Functions
    achieved: Callable[[Net, Net], bool]
    sites: tuple[Site, ...] = ()


Edit = Callable[[nn.Module, Structure], Edited]


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    ``edit`` works on the model in place, ``tune`` works on the optimiser or returns another; both raise
    NotApplicableError. ``clip`` bounds the norm of the gradient.
    """

    name: str
    what: str
    edit: Edit | None = None
    tune: Tune | None = None
    clip: float | None = None


def _lr(factor: float) -> Tune:
    def scaled(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        for group in optimiser.param_groups:
            if "lr" not in group:
                raise NotApplicableError(f"{type(optimiser).__name__} has no learning rate")
            group["lr"] = group["lr"] * factor
        return optimiser

    return scaled


def _sgd(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    if isinstance(optimiser, torch.optim.SGD):
        raise NotApplicableError("the optimiser is SGD")
    groups = [
        {"params": g["params"], "lr": g["lr"], "weight_decay": g.get("weight_decay", 0.0)}
        for g in optimiser.param_groups
        if "lr" in g
    ]
    if not groups:
        raise NotApplicableError(f"{type(optimiser).__name__} has no learning rate")
    return torch.optim.SGD(groups)


def _initialised(he: bool, activations: frozenset[str], called: str) -> Edit:
    def edit(model: nn.Module, structure: Structure) -> Edited:
        chosen = [hidden for hidden in structure.layers if hidden.activation in activations]
        if not chosen:
            raise NotApplicableError(f"no hidden layer feeds {called}")
        for layer, hidden in _own_weights(model, chosen):
            initialise(layer, hidden.op, he)
        return Edited({}, lambda before, after: True)

    return edit


def _own_weights(model: nn.Module, layers: list[HiddenLayer]) -> Iterator[tuple[nn.Module, HiddenLayer]]:
    """The layers whose weight is a trainable parameter of their own."""
    modules = by_path(model)
    found = 0
    for hidden in layers:
        weight = modules[hidden.path]._parameters.get("weight")
        if weight is not None and weight.requires_grad:
            found += 1
            yield modules[hidden.path], hidden
    if not found:
        raise NotApplicableError("the weights of the hidden layers are frozen or parametrised")


def _replaced(
    sources: frozenset[str], called: str, op: str, kind: Callable[[], nn.Module], function: Function
) -> Edit:
    def edit(model: nn.Module, structure: Structure) -> Edited:
        sites = structure.sites(sources)
        if not sites:
            raise NotApplicableError(f"no hidden activation is {called}")
        functions = replace_activations(model, sites, kind, function)
        every = frozenset(sites)
        return Edited(functions, lambda before, after: is_renamed(before, after, every, op), sites)

    return edit


def _normalised(batch: bool) -> Edit:
    def edit(model: nn.Module, structure: Structure) -> Edited:
        chosen = [hidden for hidden in structure.layers if hidden.site is not None]
        if not chosen:
            raise NotApplicableError("no hidden layer feeds an activation without normalisation in between")
        modules = by_path(model)
        for hidden in chosen:
            add_norm(modules[hidden.path], hidden.op, batch)
        return Edited({}, _counted(NORMS, chosen), _sites(chosen))

    return edit


def _residual(model: nn.Module, structure: Structure) -> Edited:
    chosen = [hidden for hidden in structure.layers if hidden.site is not None and hidden.square]
    if not chosen:
        raise NotApplicableError("no hidden layer with an activation has an output of its input's shape")
    return Edited(add_shortcuts(model, chosen), _counted(("add",), chosen), _sites(chosen))


def _counted(ops: tuple[str, ...], layers: list[HiddenLayer]) -> Callable[[Net, Net], bool]:
    """Whether one operation more runs for each application of the layers."""
    calls = sum(hidden.calls for hidden in layers)
    return lambda before, after: sum(added(before, after, op) for op in ops) == calls


def _sites(layers: list[HiddenLayer]) -> tuple[Site, ...]:
    return tuple(hidden.site for hidden in layers if hidden.site is not None)


def _instead_of_relu(name: str, op: str, kind: Callable[[], nn.Module], function: Function) -> Change:
    edit = _replaced(frozenset({"relu"}), "ReLU", op, kind, function)
    return Change(name, f"{kind.__name__} instead of each hidden ReLU", edit)


CHANGES: Mapping[str, Change] = {
    change.name: change
    for change in (
        Change("lr/100", "a learning rate of one hundredth", tune=_lr(0.01)),
        Change("lr/10", "a learning rate of one tenth", tune=_lr(0.1)),
        Change("lr-x10", "ten times the learning rate", tune=_lr(10.0)),
        Change(
            "he-init",
            "He initialisation of hidden layers before ReLU and its relatives",
            _initialised(True, RECTIFIERS, "ReLU or a relative of it"),
        ),
        Change(
            "xavier-init",
            "Xavier initialisation of hidden layers before sigmoid and tanh",
            _initialised(False, SQUASHES, "sigmoid or tanh"),
        ),
        _instead_of_relu("leaky-relu", "leaky_relu", nn.LeakyReLU, functional.leaky_relu),
        _instead_of_relu("gelu", "gelu", nn.GELU, functional.gelu),
        _instead_of_relu("elu", "elu", nn.ELU, functional.elu),
        _instead_of_relu("silu", "silu", nn.SiLU, functional.silu),
        Change(
            "relu",
            "ReLU instead of each hidden sigmoid and tanh",
            _replaced(SQUASHES, "sigmoid or tanh", "relu", nn.ReLU, functional.relu),
        ),
        Change("batch-norm", "BatchNorm between hidden layers and activations", _normalised(True)),
        Change("layer-norm", "LayerNorm between hidden layers and activations", _normalised(False)),
        Change("residual", "a shortcut around hidden layers of equal width", _residual),
        Change("clip", f"the gradient's norm clipped at {CLIP:g}", clip=CLIP),
        Change("sgd", "plain SGD at the same learning rate", tune=_sgd),
    )
}
"""The changes by name, in the order in which they are tried."""
