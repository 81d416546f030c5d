"""What a user hands in to be compared: a model, a loss, an optimiser and data; checked, and called by seed."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from relucheck.tape.batches import LossFunction
from relucheck.targets import kind_of

Optimisers = torch.optim.Optimizer | list[torch.optim.Optimizer] | tuple[torch.optim.Optimizer, ...]
Optimising = Optimisers | Callable[[Iterable[nn.Parameter]], Optimisers]
Metric = Callable[[Any, Any], Tensor | float]


class ExperimentError(ValueError):
    """An experiment cannot be run; the message says what was wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A training that ``relucheck.compare`` can repeat with one thing changed.

    ``loss_fn`` receives the model's output and the targets; None where the output has its own
    ``.loss``. ``optimiser`` is an optimiser over the model's parameters, or a function that makes
    one from parameters: ``partial(torch.optim.Adam, lr=1e-3)``; also several, which step together,
    each for parameters of its own. ``training`` and ``held_out`` are
    iterables of batches as ``relucheck.probe`` takes them: DataLoaders, or lists of ``(inputs,
    targets)``. ``training`` is begun again as often as the steps need. ``metric`` receives output
    and targets of a held-out batch and returns a number, which is averaged over the samples.

    ``accumulate`` batches make one update: the gradients of their losses are averaged. ``autocast`` is the
    half precision (``torch.float16``, ``torch.bfloat16``) in which model and loss run; in float16 with a
    ``torch.amp.GradScaler``.
    """

    model: nn.Module
    loss_fn: LossFunction | None
    optimiser: Optimising
    training: Iterable[Any]
    held_out: Iterable[Any]
    metric: Metric | None = None
    accumulate: int = 1
    autocast: torch.dtype | None = None


HALF = (torch.float16, torch.bfloat16)
"""The types that autocast takes."""


def several(given: Optimisers) -> tuple[torch.optim.Optimizer, ...]:
    """The optimisers, of which there may be one."""
    return (given,) if isinstance(given, torch.optim.Optimizer) else tuple(given)


def seeded(seed: int) -> None:
    """Starts the generators of torch, of numpy where it is in use, and of random."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def made(make_experiment: Callable[..., Any], seed: int) -> Experiment:
    """The experiment of a seed: the generators start there, and the factory receives it if it wants."""
    call = of_seed(make_experiment)
    seeded(seed)
    return _checked(call(seed))


def of_seed(make_experiment: Callable[..., Any]) -> Callable[[int], Any]:
    """A factory as a function of the seed; ExperimentError for one that needs something else.

    The seed goes to a parameter of that name, else to the only one without a default, else nowhere.
    """
    if not callable(make_experiment):
        raise ExperimentError(f"make_experiment must be a function, not {kind_of(make_experiment)}")
    parameters = inspect.signature(make_experiment).parameters
    needed = [p for p in parameters.values() if p.default is p.empty and p.kind not in _OPEN]
    others = ", ".join(p.name for p in needed if p.name != "seed")
    if len(needed) > 1 or (others and "seed" in parameters):
        raise ExperimentError(
            f"make_experiment needs {others}: it is called with a seed or without arguments"
        )
    if "seed" in parameters and parameters["seed"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return lambda seed: make_experiment(seed=seed)
    if not needed:
        return lambda seed: make_experiment()
    (only,) = needed
    if only.kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda seed: make_experiment(**{only.name: seed})
    return make_experiment


_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _checked(found: Any) -> Experiment:
    """The experiment, if every part of it can be used."""
    if not isinstance(found, Experiment):
        raise ExperimentError(
            f"the function returned {kind_of(found)}, not a relucheck.Experiment(model, loss_fn, "
            "optimiser, training, held_out)"
        )
    if not isinstance(found.model, nn.Module):
        raise ExperimentError(f"Experiment.model must be an nn.Module, not {kind_of(found.model)}")
    if not any(p.requires_grad for p in found.model.parameters()):
        raise ExperimentError("Experiment.model has no trainable parameter")
    for name in ("loss_fn", "metric"):
        part = getattr(found, name)
        if part is not None and not callable(part):
            raise ExperimentError(f"Experiment.{name} must be a function, not {kind_of(part)}")
    if isinstance(found.accumulate, bool) or not isinstance(found.accumulate, int) or found.accumulate < 1:
        raise ExperimentError(f"Experiment.accumulate is a number of batches, not {found.accumulate!r}")
    if found.autocast is not None and found.autocast not in HALF:
        raise ExperimentError(
            f"Experiment.autocast is torch.float16, torch.bfloat16 or None, not {found.autocast!r}"
        )
    _check_optimiser(found)
    return found


def _check_optimiser(experiment: Experiment) -> None:
    given = experiment.optimiser
    if isinstance(given, torch.optim.Optimizer | list | tuple):
        check_reach(given, experiment.model)
    elif not callable(given):
        raise ExperimentError(
            "Experiment.optimiser must be an optimiser, several, or a function of parameters, "
            f"not {kind_of(given)}"
        )


def check_reach(given: Any, model: nn.Module) -> None:
    """Raises ExperimentError unless each optimiser is one, and holds parameters of this very model."""
    every = given if isinstance(given, list | tuple) else (given,)
    if not every:
        raise ExperimentError("Experiment.optimiser is empty: there is no optimiser in it")
    for optimiser in every:
        _check_one(optimiser, model)


def _check_one(optimiser: Any, model: nn.Module) -> None:
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise ExperimentError(
            f"Experiment.optimiser returned {kind_of(optimiser)}, not a torch.optim.Optimizer"
        )
    if isinstance(optimiser, torch.optim.LBFGS):
        raise ExperimentError("LBFGS evaluates the loss several times a step, which compare does not do")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimiser.param_groups for p in group["params"]):
        raise ExperimentError(
            "the optimiser holds no parameter of the model: a function must use the parameters that it is "
            "given, as in lambda parameters: torch.optim.Adam(parameters, lr=1e-3)"
        )
