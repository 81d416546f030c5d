"""A seed's state before anything has run, and copies of it with one change made, ready to be trained."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import torch
from torch import nn

from relucheck.experiments.caching import held_out_batches, training_batches
from relucheck.experiments.changes import Change, Edited, NotApplicableError, Tune
from relucheck.experiments.experiment import (
    Experiment,
    ExperimentError,
    Metric,
    check_reach,
    seeded,
    several,
)
from relucheck.experiments.functions import Substitutes
from relucheck.experiments.reading import net_read
from relucheck.experiments.structure import Site, Structure, structure_of
from relucheck.net import Net
from relucheck.tape.batches import Batch, LossFunction, ProbeError
from relucheck.tape.passes import ours
from relucheck.tape.probe import refuse_empty
from relucheck.tape.state import kept, kept_randomness
from relucheck.targets import words_of


@dataclass(frozen=True, slots=True)
class Start:
    """The state from which every variant of one seed starts."""

    seed: int
    experiment: Experiment
    training: tuple[Batch, ...]
    held_out: tuple[Batch, ...]
    net: Net
    structure: Structure

    @property
    def samples(self) -> int:
        """The number of held-out samples."""
        return sum(batch.samples(0) for batch in self.held_out)


@dataclass(frozen=True, slots=True)
class Ready:
    """One variant, a copy of its own with nothing run yet.

    ``accumulate`` and ``autocast`` are those of the experiment.
    """

    model: nn.Module
    optimisers: tuple[torch.optim.Optimizer, ...]
    loss_fn: LossFunction | None
    metric: Metric | None
    calls: Substitutes
    clip: float | None = None
    accumulate: int = 1
    autocast: torch.dtype | None = None

    @property
    def device(self) -> str:
        """The kind of device that the model is on."""
        return next(self.model.parameters()).device.type

    def precision(self) -> AbstractContextManager[object]:
        """In which the model and its loss run."""
        return nullcontext() if self.autocast is None else torch.autocast(self.device, self.autocast)

    def scaler(self) -> torch.amp.GradScaler:
        """A new one, which does nothing but in float16."""
        return torch.amp.GradScaler(self.device, enabled=self.autocast is torch.float16)


def start_of(experiment: Experiment, seed: int, steps: int) -> Start:
    """Reads the batches and, on a copy, the network; the experiment's own model is never run."""
    try:
        refuse_empty(experiment.model)
    except ProbeError as error:
        raise ExperimentError(str(error)) from None
    training, held_out = (
        training_batches(experiment, steps * experiment.accumulate),
        held_out_batches(experiment),
    )
    with kept_randomness(), Explained(f"the model failed on training batch 0 {shapes(training[0])}"):
        model = copied(experiment).model
        model.train()
        net = net_read(model, training[0], Substitutes({}))
    return Start(seed, experiment, training, held_out, net, structure_of(net))


def copied(experiment: Experiment) -> Experiment:
    """Model, optimiser, loss and metric copied together, so that the copies know each other."""
    parts = (experiment.model, experiment.loss_fn, experiment.optimiser, experiment.metric)
    with Explained(
        "the experiment cannot be copied, which every change starts from: copy.deepcopy", theirs=True
    ):
        model, loss_fn, optimiser, metric = copy.deepcopy(parts)
    return replace(experiment, model=model, loss_fn=loss_fn, optimiser=optimiser, metric=metric)


def prepared(start: Start, change: Change | None) -> Ready:
    """A copy of the experiment with a change made; NotApplicableError where it cannot be."""
    own = copied(start.experiment)
    if not own.model.training:
        own.model.train()  # a model that is returned in eval mode, as pretrained ones are
    known = {id(parameter) for parameter in own.model.parameters()}
    calls = Substitutes({})
    if change is not None and change.edit is not None:
        with kept_randomness():
            seeded(start.seed)
            edited = change.edit(own.model, start.structure)
            calls = Substitutes(edited.functions)
            _verify(start, own.model, edited, calls)
    optimisers = _optimisers(own, known)
    if change is not None and change.tune is not None:
        optimisers = _tuned(optimisers, change.tune)
    clip = change.clip if change is not None else None
    return Ready(own.model, optimisers, own.loss_fn, own.metric, calls, clip, own.accumulate, own.autocast)


def _tuned(optimisers: tuple[torch.optim.Optimizer, ...], tune: Tune) -> tuple[torch.optim.Optimizer, ...]:
    """All optimisers with a change made; NotApplicableError where it cannot be made in any of them."""
    tuned, reasons = [], []
    for optimiser in optimisers:
        try:
            tuned.append(tune(optimiser))
        except NotApplicableError as reason:
            tuned.append(optimiser)
            reasons.append(reason)
    if len(reasons) == len(optimisers):
        raise reasons[0]
    return tuple(tuned)


def _verify(start: Start, model: nn.Module, edited: Edited, calls: Substitutes) -> None:
    """Runs the changed model once and reads its net: a change that did not arrive would be reported as useless."""
    batch = start.training[0]
    with kept(model), Explained(f"the changed model failed {shapes(batch)}"):
        net = net_read(model, batch, calls)
    if not edited.achieved(start.net, net):
        places = ", ".join(map(_place, edited.sites[:3]))
        raise NotApplicableError(f"the calls of the activations ({places}) cannot be changed from outside")


def _place(site: Site) -> str:
    return site.module or str(site.place)


def _optimisers(own: Experiment, known: set[int]) -> tuple[torch.optim.Optimizer, ...]:
    """The copied optimisers with the parameters that a change brought, or new ones of the user's function.

    The first of several gets the new parameters.
    """
    given = own.optimiser
    if callable(given):
        with Explained("Experiment.optimiser failed", theirs=True):
            given = given(list(own.model.parameters()))
        check_reach(given, own.model)
        return several(given)
    first, *others = several(given)
    more = [parameter for parameter in own.model.parameters() if id(parameter) not in known]
    if more:
        first.add_param_group({**_settings(first.param_groups[0]), "params": more})
    return (first, *others)


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if not name.startswith("param")}


def shapes(batch: Batch) -> str:
    """A batch as messages call it."""
    return f"(inputs of shape {batch.shapes()})"


@dataclass(frozen=True, slots=True)
class Explained:
    """Lets a failure of the user's code out as an ExperimentError that says what was being done.

    Faults of this package and Ctrl-C pass as they are. ``theirs``: nothing of this package runs inside,
    so an error without a frame of its own (a wrong keyword) is the user's as well.
    """

    doing: str
    theirs: bool = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        passing = (ExperimentError, NotApplicableError)
        if isinstance(error, passing) or not isinstance(error, Exception):
            return
        if self.theirs or not ours(trace):
            raise ExperimentError(f"{self.doing}: {words_of(error)}") from error
