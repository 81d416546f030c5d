"""What passes add up to, without the model that ran: it can be sent to another process and merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from relucheck.measurements import Affine, NonFinite
from relucheck.net import Net
from relucheck.tape.gradients import GradientWatch, Sum
from relucheck.tape.underflow import Lost
from relucheck.tape.units import Sites


@dataclass(slots=True)
class KeptOutput:
    """One tensor that the network returns, over all passes."""

    step: int
    axis: int | None
    zero: Tensor


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter as a whole: its number of axes, its Frobenius norm, and whether it is trained."""

    ndim: int
    norm: float
    frozen: bool


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts and sums over passes; sums of several tallies are those of all their passes.

    ``has_loss``: the passes end in a loss of the user's. ``sums`` are the squares of norm(dL/dW),
    ``updates`` those of norm(change of W) / norm(W) of the optimiser's steps, both by parameter;
    ``first_updates`` are those of the first step. Of a weight in shards the ratios are weighted by
    the squared norm of each shard, so that the sum over all shards gives the ratio of the whole weight. ``lost`` are
    the entries of dL/dz (by layer) and dL/dW (by parameter) that half precision loses, of a loss that was
    multiplied by ``loss_scale``.
    ``weights`` are the parameters by name, in the model's order.
    """

    name: str
    has_loss: bool = False
    sites: Sites = field(default_factory=Sites)
    watch: GradientWatch = field(default_factory=GradientWatch)
    sums: dict[str, Sum] = field(default_factory=dict)
    updates: dict[str, Sum] = field(default_factory=dict)
    first_updates: dict[str, Sum] = field(default_factory=dict)
    lost: dict[str, Lost] = field(default_factory=dict)
    loss_scale: float = 1.0
    outputs: dict[str, KeptOutput] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    read: Net | None = None
    input_signal: float | None = None
    detached: bool = False
    non_finite: NonFinite | None = None
    samples: int = 0
    batches: int = 0
    training: bool = True
    optimiser: str = ""
    affine: Affine = field(default_factory=Affine)

    @property
    def net(self) -> Net:
        """The net of the first pass, which must have run."""
        assert self.read is not None
        return self.read
