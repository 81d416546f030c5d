"""What a probe keeps while its batches run: sums and booleans, never a tensor of activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from relucheck.measurements import NonFinite
from relucheck.net import Net
from relucheck.tape.batches import Batch, LossFunction
from relucheck.tape.gradients import GradientWatch, Sum
from relucheck.tape.names import Names
from relucheck.tape.replay import Trace
from relucheck.tape.underflow import Lost
from relucheck.tape.units import Sites


@dataclass(slots=True)
class KeptOutput:
    """One tensor that the network returns, over all passes."""

    step: int
    axis: int | None
    zero: Tensor


@dataclass(slots=True)
class Session:
    """The figures of a probe while its batches run.

    ``trained``: the passes are steps of a training loop, so a loss there is, though not as a function.
    ``trace`` is what the passes do, as long as they all do the same; ``reentrant``: they checkpoint so.
    ``updates`` are norm(change of W) / norm(W) of the optimiser's steps, by parameter; ``first_updates``
    those of the first step. ``moving`` counts the weights of each parameter with a gradient other than 0 in
    the first batch. ``lost`` are the entries of dL/dz (by layer) and dL/dW (by parameter) lost to half precision.
    """

    model: nn.Module
    names: Names
    loss_fn: LossFunction | None
    batch_axis: int
    trained: bool = False
    sites: Sites = field(default_factory=Sites)
    watch: GradientWatch = field(default_factory=GradientWatch)
    sums: dict[str, Sum] = field(default_factory=dict)
    updates: dict[str, Sum] = field(default_factory=dict)
    first_updates: dict[str, float] = field(default_factory=dict)
    moving: dict[str, int] = field(default_factory=dict)
    lost: dict[str, Lost] = field(default_factory=dict)
    loss_scale: float = 1.0
    outputs: dict[str, KeptOutput] = field(default_factory=dict)
    read: Net | None = None
    first_batch: Batch | None = None
    input_signal: float | None = None
    detached: bool = False
    non_finite: NonFinite | None = None
    trace: Trace | None = None
    reentrant: bool | None = None
    samples: int = 0
    batches: int = 0

    @property
    def net(self) -> Net:
        """The net of the first pass, which must have run."""
        assert self.read is not None
        return self.read

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The model's parameters, shared ones once, with their names."""
        for parameter in self.model.parameters():
            yield self.names.parameters[id(parameter)], parameter
