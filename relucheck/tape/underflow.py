"""Gradients that half precision rounds to 0, counted on the gradients of single precision.

fp16 ends at 2^-24 (5.96e-8), and 2^-25 and less become 0 (IEEE 754, round to even); bfloat16 has the range of single
precision. What a backward pass in fp16 lost is not in its gradients, so the pass is run again with
autocast off and half-precision weights widened, and its gradients are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from relucheck.tape.batches import Batch
from relucheck.tape.gradients import GradientWatch

NARROW = torch.float16
"""The one common floating type whose range is smaller than that of single precision."""


@dataclass(slots=True)
class Lost:
    """Entries of gradients that are not 0 in single precision, and those of them that become 0."""

    nonzero: int = 0
    zero: int = 0

    @property
    def share(self) -> float:
        return self.zero / self.nonzero if self.nonzero else 0.0

    @classmethod
    def over(cls, parts: Iterable[Lost]) -> Lost:
        """The entries of all parts."""
        held = list(parts)
        return cls(sum(part.nonzero for part in held), sum(part.zero for part in held))

    def add(self, gradient: Tensor) -> None:
        """Counts the entries of a gradient of single precision or more, the loss's scale in it."""
        there = gradient != 0
        self.nonzero += int(there.sum())
        self.zero += int((there & (gradient.to(NARROW) == 0)).sum())


@dataclass(slots=True)
class LossWatch(GradientWatch):
    """Counts what the gradients at the outputs of ``layers`` would lose, which ran in half precision."""

    layers: frozenset[str] = frozenset()
    lost: dict[str, Lost] = field(default_factory=dict)

    def watch_output(self, layer: str, output: Tensor) -> None:
        if layer in self.layers and output.requires_grad and output.dtype is not NARROW:
            total = self.lost.setdefault(layer, Lost())
            output.register_hook(total.add)  # type: ignore[no-untyped-call]


@contextmanager
def single_precision(model: nn.Module) -> Iterator[None]:
    """No autocast, and the model's half-precision weights and buffers in single precision, for a while."""
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.dtype is NARROW]
    held = [t.data for t in tensors]
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        try:
            for tensor in tensors:
                tensor.data = tensor.data.float()
            yield
        finally:
            for tensor, data in zip(tensors, held, strict=True):
                tensor.data = data


def widened(batch: Batch) -> Batch:
    """The same batch with its half-precision tensors in single precision, targets included."""
    targets = Batch((batch.targets,), {}).mapped(_widened).args[0]
    return replace(batch.mapped(_widened), targets=targets)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.dtype is NARROW else tensor


def weights_lost(gradients: Mapping[str, Tensor | None]) -> Iterator[tuple[str, Lost]]:
    """The same for dL/dW in single precision, by parameter."""
    for name, gradient in gradients.items():
        if gradient is not None and gradient.dtype is not NARROW and not gradient.is_sparse:
            lost = Lost()
            lost.add(gradient)
            yield name, lost


@contextmanager
def scalers_seen(note: Callable[[torch.amp.GradScaler], None]) -> Iterator[None]:
    """Every GradScaler that scales a loss inside is told; afterwards its method is as before."""
    original = torch.amp.GradScaler.scale

    def scale(self: torch.amp.GradScaler, outputs: object) -> object:
        note(self)
        return original(self, outputs)  # type: ignore[call-overload]

    torch.amp.GradScaler.scale = scale  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.amp.GradScaler.scale = original  # type: ignore[method-assign]
