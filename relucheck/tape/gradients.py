"""Gradients of layers: of their weights, at their outputs, and over the time steps of a recurrent net.

The weights' gradients come from ``torch.autograd.grad``, which touches no ``.grad``. The gradient at a
layer's output is read by a hook on the tensor itself, placed as soon as autograd has recorded it, so
that an in-place activation after it changes nothing (``register_full_backward_hook`` breaks those).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from relucheck.tape.units import SiteKey


@dataclass(slots=True)
class Sum:
    """A running sum of squares over a number of entries, or over what they weigh."""

    squares: float = 0.0
    count: float = 0

    def add_scaled(self, size: float) -> None:
        """Adds a norm; one that overflowed under a loss scale, whose step is skipped, stands until another comes."""
        if math.isfinite(size) and math.isinf(self.squares):
            self.squares, self.count = 0.0, 0
        if math.isfinite(size) or not self.count:
            self.squares += size**2 if math.isfinite(size) else math.inf
            self.count += 1

    @property
    def rms(self) -> float | None:
        return (self.squares / self.count) ** 0.5 if self.count else None

    @classmethod
    def over(cls, parts: Iterable[Sum]) -> Sum:
        """The sum over all the entries of several; those that have overflowed count where no other one does not."""
        parts = list(parts)
        parts = [p for p in parts if not math.isinf(p.squares)] or parts
        return cls(sum(p.squares for p in parts), sum(p.count for p in parts))


@dataclass(slots=True)
class GradientWatch:
    """What arrives in backward passes at the outputs of layers and of recurrent activations.

    ``half`` are the layers whose output is of fp16, so that their gradients are too. ``scale`` is what the loss
    of the pass under way was multiplied by, which is taken out of all figures.
    """

    outputs: dict[str, Sum] = field(default_factory=dict)
    half: set[str] = field(default_factory=set)
    steps: dict[SiteKey, list[float]] = field(default_factory=dict)
    scale: float = 1.0

    def watch_output(self, layer: str, output: Tensor) -> None:
        """Sums the squares of dL/dz of a layer's output over all passes."""
        if not output.requires_grad:
            return
        if output.dtype is torch.float16:
            self.half.add(layer)
        total = self.outputs.setdefault(layer, Sum())

        def arrived(gradient: Tensor) -> None:
            size = norm(gradient) / self.scale
            if self.scale == 1 or math.isfinite(size):  # a GradScaler skips a step that overflows
                total.squares += size**2
                total.count += gradient.numel()

        output.register_hook(arrived)  # type: ignore[no-untyped-call]

    def watch_step(self, site: SiteKey, output: Tensor) -> None:
        """Keeps norm(dL/dh_t) of one application of a site in one pass, in order of execution."""
        if not output.requires_grad:
            return
        norms = self.steps.setdefault(site, [])
        position = len(norms)
        norms.append(0.0)

        def arrived(gradient: Tensor) -> None:
            norms[position] = norm(gradient) / self.scale

        output.register_hook(arrived)  # type: ignore[no-untyped-call]


_TINY, _HUGE = 1e-15, 1e15
"""Between these, squares of single precision neither underflow nor overflow."""

_AT_ONCE = frozenset({torch.float32, torch.float64, torch.strided})
"""Types and layouts of tensors whose norms can be taken together."""


def norm(tensor: Tensor) -> float:
    """The Frobenius norm; in double precision where squares of single precision would underflow."""
    entries = entries_of(tensor.detach())
    value = float(torch.linalg.vector_norm(entries))
    if _TINY < value < _HUGE:
        return value
    wide = torch.complex128 if entries.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(entries, dtype=wide))


def entries_of(tensor: Tensor) -> Tensor:
    """The entries of a tensor of any layout on one axis; of a sparse one those that it stores."""
    if tensor.layout is torch.strided:
        return tensor.flatten()
    return (tensor.coalesce() if tensor.layout is torch.sparse_coo else tensor).values().flatten()


def norms(tensors: Sequence[Tensor]) -> list[float]:
    """The Frobenius norm of each tensor, with one wait for the device where all are alike."""
    kinds = {(t.device, t.dtype, t.layout) for t in tensors}
    if len(kinds) != 1 or not _AT_ONCE.issuperset(next(iter(kinds))[1:]):
        return [norm(tensor) for tensor in tensors]
    sizes = torch.stack(torch._foreach_norm([t.detach() for t in tensors])).tolist()
    return [
        size if _TINY < size < _HUGE else norm(tensor) for tensor, size in zip(tensors, sizes, strict=True)
    ]


def weight_gradients(loss: Tensor, parameters: Iterable[Tensor], *, reentrant: bool) -> list[Tensor | None]:
    """dL/dp for every parameter, None where the loss does not depend on it; no ``.grad`` is touched.

    Reentrant checkpointing refuses ``autograd.grad``; there ``backward`` is run, and the caller
    restores ``.grad`` (``state.kept``).
    """
    wanted = list(parameters)
    if not wanted or not loss.requires_grad:
        return [None] * len(wanted)
    if not reentrant:
        return list(torch.autograd.grad(loss, wanted, allow_unused=True))
    for parameter in wanted:
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    return [parameter.grad for parameter in wanted]


def is_reentrant(loss: Tensor) -> bool:
    """Whether the graph holds a reentrantly checkpointed block."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().startswith("CheckpointFunction"):
            return True
        seen.add(node)
        waiting.extend(previous for previous, _ in node.next_functions)
    return False
