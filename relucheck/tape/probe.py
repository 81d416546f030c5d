"""Real forward and backward passes, measured: a net and its Measurements, and a model left as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from relucheck.measurements import Measurements
from relucheck.net import Net
from relucheck.tape.batches import LossFunction, ProbeError, batches_of
from relucheck.tape.figures import affine_of, measurements_of
from relucheck.tape.first_step import first_updates
from relucheck.tape.gradients import Sum
from relucheck.tape.names import Names
from relucheck.tape.passes import run_pass
from relucheck.tape.reference import keep_lost_of_probe
from relucheck.tape.session import Session
from relucheck.tape.state import no_trace, settle_modes
from relucheck.tape.tally import Tally
from relucheck.tape.underflow import scalers_seen
from relucheck.tape.wrappers import sharded, unwrapped


@dataclass(frozen=True, slots=True)
class Measured:
    """What a probe made of a model: the graph of the first pass, and the figures of all."""

    net: Net
    measurements: Measurements

    @classmethod
    def of(cls, tally: Tally) -> Measured:
        return cls(tally.net, measurements_of(tally))


def measure(
    model: nn.Module,
    batches: Any,
    loss_fn: LossFunction | None = None,
    *,
    max_batches: int | None = None,
    batch_axis: int = 0,
    optimiser: object = None,
) -> Measured:
    """Runs the batches through the model and its loss, forward and backward, and measures them.

    ``batch_axis`` is the axis of the first input that counts samples (1 for recurrent networks
    with batch_first=False). ``optimiser`` is an optimiser or its class name; some verdicts depend
    on it, and an optimiser itself gives the size of its first step. Raises ProbeError for batches, outputs
    and losses that cannot be used.
    """
    if not isinstance(model, nn.Module):
        raise ProbeError(f"model must be an nn.Module, not {type(model).__name__}")
    refuse_empty(model)
    _refuse_sharded(model)
    model = unwrapped(model)  # a pass through DDP itself would wait for the other ranks
    others = (loss_fn,) if isinstance(loss_fn, nn.Module) else ()
    with no_trace(model, *others):
        training = model.training
        settle_modes(model)
        session = Session.of(model, Names.of(model), loss_fn, batch_axis, has_loss=loss_fn is not None)
        with scalers_seen(lambda scaler: _note(session, scaler)):
            for batch in batches_of(batches, loss_fn is not None, max_batches):
                run_pass(session, batch.copied())
        if session.read is None:
            raise ProbeError("batches is empty: a probe needs at least one batch to run the model on")
        keep_lost_of_probe(session)
        if isinstance(optimiser, torch.optim.Optimizer):
            first = first_updates(optimiser, session.parameters(), session.moving)
            session.first_updates = {name: Sum(ratio**2, 1) for name, ratio in first.items()}
        affine = affine_of(session)
        kind = _kind_of_optimiser(optimiser)
        return Measured.of(replace(session.sealed(training, kind), affine=affine))


def _note(session: Session, scaler: torch.amp.GradScaler) -> None:
    session.loss_scale = session.watch.scale = float(scaler.get_scale())


def refuse_empty(model: nn.Module) -> None:
    """Raises ProbeError for parameters without numbers: those of lazy layers and of the meta device."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ProbeError(f"{name} has no shape yet: run the model once on real data before probing it")
        if tensor.is_meta:
            raise ProbeError(
                f"{name} is on the meta device and holds no numbers: give the model memory "
                "(model.to_empty(device=...)) and load or initialise its weights before probing it"
            )


def _refuse_sharded(model: nn.Module) -> None:
    if sharded(model):
        raise ProbeError(
            "the weights are in shards (FSDP): probe the model before it is wrapped, "
            "or watch its training with relucheck.watch"
        )


def _kind_of_optimiser(optimiser: object) -> str:
    if optimiser is None or isinstance(optimiser, str):
        return optimiser or ""
    return type(optimiser).__name__
