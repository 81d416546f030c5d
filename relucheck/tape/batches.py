"""Batches as users write them, as calls of a model and of a loss.

A batch is a tensor, a dict of keyword arguments, or ``(inputs, targets)`` where inputs is a tensor, a
tuple (positional) or a dict (keyword). With a loss function, a longer flat tuple holds positional
inputs with the targets last. Without one, a tuple of several tensors is positional inputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

LossFunction = Callable[..., Tensor]


class ProbeError(ValueError):
    """The input of a probe cannot be used; the message says what was wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of the model, its tensors in order, and the targets for the loss."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    targets: Any = None
    tensors: tuple[Tensor, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", tuple(tensors_in((self.args, dict(self.kwargs)))))

    def copied(self) -> Batch:
        """The same batch with its own tensors: an in-place first layer must not change the user's."""
        return Batch(_copied(self.args), _copied(dict(self.kwargs)), self.targets)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same call with every tensor of the inputs replaced."""
        return Batch(mapped(self.args, change), mapped(dict(self.kwargs), change), self.targets)

    def shapes(self) -> str:
        return ", ".join(str(tuple(t.shape)) for t in self.tensors) or "no tensor"

    def samples(self, axis: int) -> int:
        """The number of independent examples: the length of the batch axis of the first input."""
        for tensor in self.tensors:
            if tensor.ndim > axis:
                return int(tensor.shape[axis])
        return 1


def as_batch(raw: Any, with_targets: bool) -> Batch:
    """The call that a batch of the user stands for; raises ProbeError for other kinds of object."""
    if isinstance(raw, Tensor):
        return Batch((raw,), {})
    if isinstance(raw, Mapping):
        return Batch((), dict(raw))
    if isinstance(raw, tuple | list):
        return _from_sequence(tuple(raw), with_targets)
    raise ProbeError(
        f"a batch must be a tensor, a dict of keyword arguments or (inputs, targets): {type(raw).__name__}"
    )


def _from_sequence(parts: tuple[Any, ...], with_targets: bool) -> Batch:
    if not parts:
        raise ProbeError("a batch is an empty tuple; it must hold the model's inputs")
    if len(parts) == 1:
        return as_batch(parts[0], with_targets=False)
    if len(parts) == 2:  # what every DataLoader yields; without a loss the targets are not used
        return _call(parts[0], parts[1])
    if with_targets:
        return Batch(parts[:-1], {}, parts[-1])
    return Batch(parts, {})


def _call(inputs: Any, targets: Any) -> Batch:
    if isinstance(inputs, Mapping):
        return Batch((), dict(inputs), targets)
    if isinstance(inputs, tuple | list):
        return Batch(tuple(inputs), {}, targets)
    return Batch((inputs,), {}, targets)


def batches_of(batches: Any, with_targets: bool, limit: int | None) -> Iterator[Batch]:
    """The batches of an iterable, at most ``limit``; a lone tensor or dict is one batch."""
    raw = (batches,) if isinstance(batches, Tensor | Mapping) else batches
    if not isinstance(raw, Iterable):
        raise ProbeError(f"batches must be an iterable of batches, not {type(batches).__name__}")
    if isinstance(raw, tuple) and raw and any(isinstance(part, Tensor) for part in raw) and _one(raw):
        raw = (raw,)
    for index, item in enumerate(raw):
        if limit is not None and index >= limit:
            return
        yield as_batch(item, with_targets)


def _one(parts: tuple[Any, ...]) -> bool:
    """Whether a tuple is one batch ``(inputs, targets)`` rather than several batches.

    Targets are integers, or have fewer axes than the inputs; batches of one loader look alike.
    """
    if len(parts) != 2 or not isinstance(parts[0], Tensor) or not isinstance(parts[1], Tensor):
        return not all(isinstance(part, Tensor | tuple | list | Mapping) for part in parts)
    return parts[0].dtype != parts[1].dtype or parts[0].ndim != parts[1].ndim


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, dicts and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


def named_tensors_in(value: Any, name: str = "output") -> Iterator[tuple[str, Tensor]]:
    """The same with the path of each tensor: ``output``, ``output.logits``, ``output[1]``."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors_in(item, f"{name}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from named_tensors_in(item, f"{name}[{index}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from named_tensors_in(getattr(value, field.name), f"{name}.{field.name}")


def _copied(value: Any) -> Any:
    return mapped(value, lambda t: t.detach().clone().requires_grad_(t.requires_grad and t.is_leaf))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A value with every tensor in its tuples, lists and dicts replaced."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(mapped(item, change) for item in value)
    return value


def loss_of(output: Any, batch: Batch, loss_fn: LossFunction | None) -> Tensor:
    """The scalar that is differentiated: the loss function's, the output's own, or a projection."""
    __tracebackhide__ = True
    if loss_fn is not None:
        loss = loss_fn(output) if batch.targets is None else loss_fn(output, batch.targets)
        return _scalar(loss)
    own = own_loss(output)
    return projection(output) if own is None else _scalar(own)


def own_loss(output: Any) -> Tensor | None:
    """The loss that a model's output brings along, as those of transformers do."""
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return own if isinstance(own, Tensor) else None


def _scalar(returned: object) -> Tensor:
    loss = returned
    if not isinstance(loss, Tensor):
        raise ProbeError(f"the loss function must return a tensor, not {type(loss).__name__}")
    if loss.is_complex():
        raise ProbeError(
            f"the loss function returned {loss.dtype}: a loss must be real, take its abs() or .real"
        )
    if loss.is_meta:
        raise ProbeError("the loss is on the meta device: some part of the model holds no numbers")
    if (
        not loss.is_floating_point()
    ):  # a count or a comparison, of which RLU613 says that nothing depends on it
        loss = loss.double()
    return loss if loss.ndim == 0 else loss.mean()


def projection(output: Any) -> Tensor:
    """A fixed random projection of every floating output, which reaches all of it.

    Uneven weights matter: a plain sum has gradient zero through softmax and normalisation. Each
    output is projected with weights of unit variance over its entries and averaged over axis 0.
    """
    parts = [_projected(tensor) for tensor in tensors_in(output) if tensor.is_floating_point()]
    if not parts:
        raise ProbeError(
            f"the model returned {type(output).__name__} without a floating-point tensor; pass loss_fn, "
            "which receives the output and returns a scalar tensor"
        )
    return torch.stack(parts).sum()


def _projected(tensor: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(tensor.shape, generator=generator).to(tensor.device)
    product = tensor * weights.to(torch.promote_types(tensor.dtype, torch.float32))
    return product.sum() / max(1, tensor.shape[0] if tensor.ndim else 1)
