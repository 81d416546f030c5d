"""The update:weight ratio of an optimiser's first step, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from relucheck.tape.gradients import norm

_FIRST_STEP: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    **dict.fromkeys(("Adam", "AdamW", "Adamax", "Adagrad"), lambda group: 1.0),
    "RMSprop": lambda group: 1.0 / math.sqrt(1.0 - group["alpha"]),
}
"""By what the learning rate is multiplied in a first step, whatever the size of the gradient: the moments are those of
one gradient, whose bias Adam corrects and RMSprop does not. RAdam and Adadelta begin otherwise."""


def unstepped(optimiser: torch.optim.Optimizer, weight: Tensor) -> bool:
    """Whether an optimiser has no history of a weight yet (Adagrad makes its state at once, at step 0)."""
    state = optimiser.state.get(weight)
    return not state or float(state.get("step", 1)) == 0


def first_updates(
    optimiser: torch.optim.Optimizer, weights: Iterable[tuple[str, Tensor]], moving: Mapping[str, int]
) -> dict[str, float]:
    """norm(change of W) / norm(W) of an optimiser's first step, in closed form, by name.

    Each of the ``moving`` entries, those with a gradient, moves by the learning rate: ``lr * sqrt(n) /
    norm(W)``, which is ``lr * sqrt(3 * fan_in)`` under the default initialisation of nn.Linear
    (Kaiming uniform with a = sqrt(5): W has variance 1 / (3 fan_in)). None of those stepped before.
    """
    factor = _FIRST_STEP.get(type(optimiser).__name__)
    if factor is None:
        return {}
    rates = {id(p): group["lr"] * factor(group) for group in optimiser.param_groups for p in group["params"]}
    return {
        name: float(rates[id(weight)]) * math.sqrt(moving[name]) / size
        for name, weight in weights
        if id(weight) in rates
        and name in moving
        and unstepped(optimiser, weight)
        and (size := norm(weight)) > 0
    }
