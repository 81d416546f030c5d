"""What real passes showed: a few plain numbers for each activation, layer and output.

The measured rules read nothing else, so they can be tested without torch. Definitions: one *unit*
is one feature (Linear) or channel (Conv), decided by the layer that feeds the activation; one
*sample* is one independent example, and positions inside it never count as samples. A unit is
*dead* on the data if no sample lets its slope be non-zero at any position (torch's relu'(0) is 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from relucheck.span import Span

CONFIDENCE_ERROR = 0.05
"""One-sided error probability of every bound on an activation probability."""

DETERMINED_FROM = 299
"""Samples from which "never fired in N samples" bounds the probability by 1 % (Clopper-Pearson)."""

JUDGED_FROM = 32
"""Samples below which nothing is said about silent units at all."""


def never_seen_bound(samples: int) -> float:
    """The upper bound on an event's probability when it never happened in that many samples.

    The one-sided 95 % bound of Clopper and Pearson, ``1 - 0.05 ** (1 / N)``; 1 without samples.
    """
    return 1.0 if samples < 1 else 1.0 - CONFIDENCE_ERROR ** (1.0 / samples)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Pre-activations of one site, all units together: ``counts`` of equal bins from ``low`` to ``high``.

    ``below`` and ``above`` count the entries outside. Of large tensors an even sample is counted.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    below: int = 0
    above: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts) + self.below + self.above


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation site: the same function applied to the same layer's units, in every pass.

    ``name`` is the module's path (``network.1``; ``#2`` for the second use of a shared module) or
    ``producer:function``. ``function`` is the canonical name of ``relucheck.ops``. ``dead``,
    ``linear`` and ``saturated`` count units: slope zero on all samples, always on, slope below 5 %
    of its largest on at least 95 % of the samples. ``certified`` units are dead for every input
    whatsoever. ``activity`` is the share of samples in which each unit fires, empty where axis 0
    of the tensor is not the batch. ``permanent``: what feeds the layer cannot change in training.
    ``signal`` is the between-sample standard deviation of the input over its RMS, in nine of ten
    units at most; ``cosine`` the mean cosine between the inputs of two samples, 1 where all are alike
    (Poole et al. 2016); ``dimension`` the number of directions that they differ in, the
    participation ratio of their covariance (Gao et al. 2017), at most the number of samples less one, with
    all positions of a sample as one vector. All three are of the first batch. ``calls`` are
    the applications in one pass: the time steps of a recurrent net. ``last``: its value leaves
    the network as a prediction. ``trunk``: no shortcut leads around it. ``node`` is the id in the net.
    """

    name: str
    function: str
    units: int
    samples: int
    dead_units: tuple[int, ...] = ()
    linear_units: tuple[int, ...] = ()
    saturated_units: tuple[int, ...] = ()
    certified_units: tuple[int, ...] = ()
    activity: tuple[float, ...] = ()
    one_sided: bool = False
    permanent: bool = False
    last: bool = False
    trunk: bool = False
    signal: float | None = None
    cosine: float | None = None
    dimension: float | None = None
    histogram: Histogram | None = None
    calls: int = 1
    producer: str = ""
    node: int | None = None
    span: Span | None = None

    @property
    def dead(self) -> int:
        """Units whose slope is zero on everything seen."""
        return len(self.dead_units)

    @property
    def linear(self) -> int:
        """Units that are on for everything seen, so that the activation is the identity on them."""
        return len(self.linear_units)

    @property
    def saturated(self) -> int:
        """Units that sit on a plateau for at least 95 % of the samples."""
        return len(self.saturated_units)

    @property
    def certified(self) -> int:
        """Units proved dead for every input."""
        return len(self.certified_units)

    @property
    def dead_share(self) -> float:
        return self.dead / self.units if self.units else 0.0

    @property
    def collapsed_share(self) -> float:
        """Silent plus always-on units: where it is 1, the layer is affine on the data."""
        return (self.dead + self.linear) / self.units if self.units and self.one_sided else 0.0

    @property
    def max_active_probability(self) -> float:
        """Upper bound (one-sided, 95 %) on how often a unit never seen to fire does fire."""
        return never_seen_bound(self.samples)

    @property
    def undetermined(self) -> bool:
        """Too few samples for "fires on at most 1 % of inputs"."""
        return self.samples < DETERMINED_FROM


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient of one layer's weight, from input to output.

    ``norm`` is the Frobenius norm of dL/dW and ``elasticity`` is ``norm * weight_norm``, which no
    rescaling of ReLU layers changes; both are root mean squares over the batches. ``rms`` is that
    of dL/dz, the gradient at the layer's output. ``ratio`` is the elasticity over the largest among
    layers of the same ``kind``. ``update`` is norm(change of W) / norm(W) of one step of the optimiser,
    where one was seen, ``first_update`` that of its first step, measured or, for an optimiser given to a
    probe, computed. ``rectified``: its output goes straight into an activation with a zero slope on
    one side. ``underflow`` is the share of the nonzero entries of dL/dz or of dL/dW, whichever loses
    more, that become 0 in the layer's half precision; None in other precisions. ``trunk``: everything
    that reaches the output passes this layer, so that no shortcut goes around it. ``steps`` holds
    norm(dL/dh_t) of a recurrent layer, first to last.
    """

    name: str
    parameter: str
    kind: str
    norm: float | None
    weight_norm: float
    rms: float | None = None
    ratio: float | None = None
    update: float | None = None
    first_update: float | None = None
    rectified: bool = False
    underflow: float | None = None
    frozen: bool = False
    trunk: bool = False
    steps: tuple[float, ...] = ()
    node: int | None = None
    span: Span | None = None

    @property
    def no_gradient(self) -> bool:
        """Trainable, and no gradient at all arrived (which is not the same as a gradient of zero)."""
        return self.norm is None and not self.frozen

    @property
    def elasticity(self) -> float | None:
        return None if self.norm is None else self.norm * self.weight_norm


@dataclass(frozen=True, slots=True)
class OutputUnits:
    """One output of the network; ``zero_units`` are exactly 0 on all samples behind an activation."""

    name: str
    units: int
    zero_units: tuple[int, ...]
    samples: int
    function: str = ""
    node: int | None = None
    span: Span | None = None


class Phase(Enum):
    """Where a NaN or an infinity appeared first."""

    INPUT = "input"
    PARAMETER = "parameter"
    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The first operation whose result is NaN or infinite though what it read was finite.

    ``operation`` is empty where all that the network computes is finite, and only the loss made of it is not.
    """

    phase: Phase
    value: str
    operation: str
    layer: str
    batch: int
    node: int | None = None
    span: Span | None = None


class Verdict(Enum):
    """The result of the affine test."""

    AFFINE = "affine"
    CONSTANT = "constant"
    NOT_AFFINE = "not affine"
    NOT_TESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Affine:
    """Whether the network is one affine map of its input.

    ``spread`` is the largest relative difference of the vector-Jacobian product over probes at
    several scales, None where it was not needed. ``layers`` are the affine layers that collapse;
    ``learns``: a slope of it is trained, so that it need not stay so (PReLU of slope 1). For a chain of
    ``nn.Linear``, ``equivalent`` is the one layer that does the same, and
    ``difference`` the largest relative difference of its outputs from the network's.
    """

    verdict: Verdict = Verdict.NOT_TESTED
    spread: float | None = None
    layers: tuple[str, ...] = ()
    learns: bool = False
    equivalent: str = ""
    difference: float | None = None
    node: int | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Measurements:
    """Everything measured on one model; the subject of the RLU6 rules.

    ``unreached`` are the trainable parameters that no batch gave a gradient; ``detached``: the loss
    itself requires no gradient. ``batch_norms`` counts the BatchNorm layers applied. ``input_signal``
    is the between-sample standard deviation of the input over its RMS. ``optimiser`` is a class name
    of torch.optim, empty where it is not known. ``loss_scale`` is what a GradScaler multiplied the loss by.
    """

    name: str
    samples: int
    batches: int
    training: bool
    activations: tuple[Activation, ...] = ()
    gradients: tuple[Gradient, ...] = ()
    outputs: tuple[OutputUnits, ...] = ()
    non_finite: NonFinite | None = None
    affine: Affine = Affine()
    unreached: tuple[str, ...] = ()
    detached: bool = False
    batch_norms: int = 0
    optimiser: str = ""
    input_signal: float | None = None
    loss_scale: float = 1.0
    path: str = ""
