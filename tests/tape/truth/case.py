"""A network with its data, and what is true of its activations, by brute force."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BATCHES, SAMPLES = 5, 64
"""320 samples: enough to say that a unit fires on at most 1 % of inputs (299, Clopper and Pearson)."""


@dataclass(frozen=True, slots=True)
class Input:
    """What one activation site receives in one pass: a tensor a call, and the axis that counts units."""

    calls: tuple[Tensor, ...]
    axis: int


@dataclass(frozen=True, slots=True)
class Site:
    """What is true of one activation site over all data, by unit."""

    units: int
    dead: tuple[int, ...]
    linear: tuple[int, ...]


Inputs = Callable[[nn.Module, Any], list[Input]]


@dataclass(frozen=True, slots=True)
class Case:
    """A network; ``inputs`` gives what its activations with a dead side receive, in order of execution.

    ``high`` is where such an activation is flat again (6 for ReLU6). ``stuck`` are the units of its saturating
    activations, one tuple a site. ``fault``: what is wrong with the gradient; None where it is not judged.
    """

    name: str
    group: str
    make: Callable[[], nn.Module]
    data: Callable[[], list[Any]]
    inputs: Inputs
    loss: Callable[..., Tensor] | None = None
    high: float = float("inf")
    stuck: tuple[tuple[int, ...], ...] = ()
    fault: str | None = ""
    training: bool = True
    samples: int = BATCHES * SAMPLES

    def model(self) -> nn.Module:
        """The network, the same in every call."""
        torch.manual_seed(SEED)
        return self.make().train(self.training)

    def batches(self) -> list[Any]:
        torch.manual_seed(SEED + 1)
        return self.data()


SEED = 7


def truth(case: Case) -> list[Site]:
    """Units that no position of any sample makes fire, and units that every one does, by comparing with 0."""
    model = case.model()
    for part in model.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.eval()
    seen: list[tuple[Tensor, Tensor]] = []
    for batch in case.batches():
        with torch.no_grad():
            found = [_fired(one, case.high) for one in case.inputs(model, batch)]
        seen = [(a | c, b & d) for (a, b), (c, d) in zip(seen, found, strict=True)] if seen else found
    return [Site(len(fired), _where(~fired), _where(on)) for fired, on in seen]


def _fired(site: Input, high: float) -> tuple[Tensor, Tensor]:
    rows = [z.detach().movedim(site.axis, -1).flatten(0, -2) if z.ndim > 1 else z[None] for z in site.calls]
    every = torch.cat(rows)
    return (every > 0).any(0), ((every > 0) & (every < high)).all(0)


def _where(mask: Tensor) -> tuple[int, ...]:
    return tuple(mask.nonzero().flatten().tolist())


# -- what activations receive -----------------------------------------------------------------------


def made_by(*names: str, axis: int = -1) -> Inputs:
    """The outputs of modules, one site each, copied before anything may overwrite them."""
    return lambda model, batch: [Input((z,), axis) for z in _run(model, batch, names)]


def nothing(model: nn.Module, batch: Any) -> list[Input]:
    """No activation with a dead side."""
    return []


def called(model: nn.Module, batch: Any) -> Any:
    """A call as a training loop writes it: inputs of a pair, positional or by keyword."""
    inputs = batch[0] if isinstance(batch, tuple | list) else batch
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _run(model: nn.Module, batch: Any, names: Sequence[str]) -> list[Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            seen[name] = output.clone()

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        called(model, copy.deepcopy(batch))
    finally:
        for handle in handles:
            handle.remove()
    return [seen[name] for name in names]


# -- building networks and data ---------------------------------------------------------------------


def kill(layer: nn.Module, *units: int) -> None:
    """Units that no ordinary input makes fire."""
    with torch.no_grad():
        layer.bias[list(units)] = -25.0  # type: ignore[operator,index]


def lift(layer: nn.Module, *units: int) -> None:
    """Units that every ordinary input makes fire."""
    with torch.no_grad():
        layer.bias[list(units)] = 25.0  # type: ignore[operator,index]


def he(layer: nn.Module) -> nn.Module:
    """He's initialisation, so that signal and gradient keep their size."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def normal(*shape: int) -> Callable[[], list[Any]]:
    """Batches of standard normal inputs with class targets out of three."""
    return lambda: [(torch.randn(SAMPLES, *shape), torch.randint(0, 3, (SAMPLES,))) for _ in range(BATCHES)]


def plain(*shape: int) -> Callable[[], list[Any]]:
    """The same without targets."""
    return lambda: [torch.randn(SAMPLES, *shape) for _ in range(BATCHES)]
