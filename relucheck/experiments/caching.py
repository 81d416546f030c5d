"""The batches of one seed, read once and used by every variant in the same order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from relucheck.experiments.experiment import Experiment, ExperimentError
from relucheck.tape.batches import Batch, ProbeError, batches_of, mapped
from relucheck.targets import words_of


def training_batches(experiment: Experiment, steps: int) -> tuple[Batch, ...]:
    """The batches of the first ``steps`` updates.

    The iterable is begun again where it ends, so that a DataLoader shuffles anew; a generator, which
    cannot be, gives its batches again.
    """
    kept: list[Batch] = []
    while len(kept) < steps:
        more = _read(experiment.training, "training", steps - len(kept), len(kept))
        if not more and not kept:
            raise ExperimentError("Experiment.training yields no batch")
        kept += more or kept[: steps - len(kept)]
    return _placed(kept, experiment.model)


def held_out_batches(experiment: Experiment) -> tuple[Batch, ...]:
    """All held-out batches."""
    kept = _read(experiment.held_out, "held_out", None, 0)
    if not kept:
        raise ExperimentError("Experiment.held_out yields no batch")
    return _placed(kept, experiment.model)


def _read(batches: Iterable[Any], name: str, limit: int | None, first: int) -> list[Batch]:
    with _Said(name, first) as said:
        for batch in batches_of(batches, True, limit):
            said.kept.append(batch)
    return said.kept


class _Said:
    """Lets a failure of the user's data loading out as an ExperimentError that says where."""

    def __init__(self, name: str, first: int) -> None:
        self.name = name
        self.first = first
        self.kept: list[Batch] = []

    def __enter__(self) -> _Said:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ProbeError):
            raise ExperimentError(f"Experiment.{self.name}: {error}") from error
        if isinstance(error, Exception):
            count = self.first + len(self.kept)
            raise ExperimentError(
                f"Experiment.{self.name} failed on batch {count}: {words_of(error)}"
            ) from error


def _placed(batches: Iterable[Batch], model: nn.Module) -> tuple[Batch, ...]:
    """The batches on the model's device, if it has a single one; a plain loop does it step by step."""
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) != 1:
        return tuple(batches)
    (device,) = devices
    return tuple(_moved(batch, device) for batch in batches)


def _moved(batch: Batch, device: torch.device) -> Batch:
    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device)

    return Batch(batch.mapped(move).args, batch.mapped(move).kwargs, mapped(batch.targets, move))
