"""The first operation that turns finite numbers into NaN or infinity, forward or backward.

The hunt costs a look at every tensor, so it runs only on a batch whose loss, output or gradients
were seen not to be finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from relucheck.measurements import NonFinite, Phase
from relucheck.tape.gradients import norm
from relucheck.tape.steps import Step

_MASKS = frozenset({"masked_fill", "where", "constant", "pad", "index"})
"""Operations that write the -inf of an attention mask, which softmax then takes away."""


def finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite; by the norm, which is several times faster than isfinite."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    return math.isfinite(float(tensor.detach()) if tensor.ndim == 0 else norm(tensor))


def is_mask(tensor: Tensor) -> bool:
    """Whether a tensor holds minus infinity but neither NaN nor plus infinity, as attention masks do."""
    return not bool((tensor.isnan() | (tensor == math.inf)).any())


def kind_of(tensors: Sequence[Tensor]) -> str:
    """What is not finite in the tensors: NaN before infinity."""
    floating = [t for t in tensors if t.is_floating_point()]
    return "NaN" if any(bool(t.isnan().any()) for t in floating) else "Inf"


def _breaks(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether an operation makes what is not finite from what is, or NaN from a mask, of a whole row."""
    if all(map(finite, outputs)):
        return False
    return all(map(finite, inputs)) or (kind_of(outputs) == "NaN" and all(map(is_mask, inputs)))


@dataclass(frozen=True, slots=True)
class Suspect:
    """An operation that made what is not finite from what was."""

    phase: Phase
    value: str
    operation: str
    layer: str
    node: int


@dataclass(slots=True)
class Hunt:
    """Looks at every operation of one pass, then at every node of its backward pass."""

    forward: list[Suspect] = field(default_factory=list)
    backward: list[Suspect] = field(default_factory=list)

    def check(
        self, op: str, layer: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], node: int
    ) -> None:
        """Called after each operation; hooks its autograd node once autograd has made it."""
        if op not in _MASKS and _breaks(inputs, outputs):
            self.forward.append(Suspect(Phase.FORWARD, kind_of(outputs), op, layer, node))

    def watch(self, op: str, layer: str, output: Tensor, node: int) -> None:
        """Checks what the operation's derivative makes of the gradient that arrives at it."""
        function = output.grad_fn
        if function is None:
            return

        def ran(made: Sequence[Tensor | None], received: Sequence[Tensor | None]) -> None:
            before = [g for g in received if g is not None]
            after = [g for g in made if g is not None]
            if all(map(finite, before)) and not all(map(finite, after)):
                self.backward.append(Suspect(Phase.BACKWARD, kind_of(after), op, layer, node))

        function.register_hook(ran)

    @property
    def first(self) -> Suspect | None:
        """The first in the order in which things ran: all of forward, then backward."""
        return next(iter((*self.forward, *self.backward)), None)


def located(suspect: Suspect, steps: Sequence[Step], batch: int) -> NonFinite:
    """A suspect with its place in the user's source."""
    step = steps[suspect.node] if suspect.node < len(steps) else None
    span = step.places[-1] if step is not None and step.places else None
    name = step.op if step is not None else suspect.operation
    return NonFinite(suspect.phase, suspect.value, name, suspect.layer, batch, suspect.node, span)
