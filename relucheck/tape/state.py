"""Everything that passes through a model may change, kept and put back bit for bit.

A model's state is more than its tensors: training flags, ``requires_grad``, ``.grad``, hooks and
whatever a forward stores on ``self``. All of it lives in the ``__dict__`` of the modules, so that is
what is kept; tensors are copied too, since they change in place.
"""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class _Kept:
    """One tensor: the object, a copy of its values, its gradient and whether it wants one."""

    tensor: Tensor
    values: Tensor
    grad: Tensor | None
    requires_grad: bool

    @classmethod
    def of(cls, tensor: Tensor) -> _Kept:
        grad = tensor.grad if tensor.is_leaf else None
        return cls(tensor, tensor.detach().clone(), grad, tensor.requires_grad)

    def restore(self) -> None:
        """Writes only where something changed, so that version counters stay as they were."""
        now = self.tensor.detach()
        if now.shape != self.values.shape:
            self.tensor.data = self.values
        elif not _same_bits(now, self.values):
            now.copy_(self.values)
        if self.tensor.is_leaf:
            if self.tensor.requires_grad != self.requires_grad:
                self.tensor.requires_grad_(self.requires_grad)
            if self.tensor.grad is not self.grad:
                self.tensor.grad = self.grad


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Equality that also holds for NaN."""
    if torch.equal(a, b):
        return True
    return (
        a.is_floating_point()
        and torch.equal(a.isnan(), b.isnan())
        and torch.equal(a.nan_to_num(), b.nan_to_num())
    )


_PLAIN = (list, dict, set, OrderedDict)


@dataclass(frozen=True, slots=True)
class _Attributes:
    """The attributes of one module, with the contents of its plain lists, dicts and sets."""

    module: nn.Module
    attributes: dict[str, Any]
    contents: dict[str, Any]

    @classmethod
    def of(cls, module: nn.Module) -> _Attributes:
        plain = {name: value.copy() for name, value in module.__dict__.items() if type(value) in _PLAIN}
        return cls(module, dict(module.__dict__), plain)

    def restore(self) -> None:
        self.module.__dict__.clear()
        self.module.__dict__.update(self.attributes)
        for name, before in self.contents.items():
            value = self.attributes[name]
            if isinstance(value, list):
                value[:] = before
            else:
                value.clear()
                value.update(before)


@contextmanager
def kept(*modules: nn.Module) -> Iterator[None]:
    """Whatever happens inside, the modules are afterwards as they were, also after Ctrl-C.

    Costs one copy of the parameters and buffers for as long as it lasts.
    """
    every = {id(part): part for module in modules for part in module.modules()}.values()
    held = {id(t): t for part in every for t in _tensors(part)}.values()
    attributes = [_Attributes.of(part) for part in every]
    tensors = [_Kept.of(tensor) for tensor in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for attribute in attributes:
                attribute.restore()
            for tensor in tensors:
                tensor.restore()


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """The parameters, the buffers and any other tensor that a module holds itself."""
    for group in (module._parameters, module._buffers, module.__dict__):
        for value in group.values():
            if isinstance(value, Tensor) and not nn.parameter.is_lazy(value):
                yield value


@contextmanager
def kept_randomness() -> Iterator[None]:
    """The generators of torch (all devices in use), numpy and random, put back afterwards."""
    numpy = sys.modules.get("numpy")
    python = random.getstate()
    arrays = numpy.random.get_state() if numpy is not None else None
    used = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    devices = torch.cuda.get_rng_state_all() if used else None
    cpu = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
        if numpy is not None and arrays is not None:
            numpy.random.set_state(arrays)
        random.setstate(python)


@contextmanager
def without_fused_attention() -> Iterator[None]:
    """No fast path of nn.TransformerEncoderLayer: it hides a whole layer in one operation."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def no_trace(*modules: nn.Module) -> Iterator[None]:
    """All of the above at once, with gradients recorded whatever mode the caller is in."""
    with ExitStack() as stack:
        stack.enter_context(kept_randomness())
        stack.enter_context(kept(*modules))
        stack.enter_context(without_fused_attention())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


def settle_modes(model: nn.Module) -> None:
    """Sets the modes that the figures mean something in; ``no_trace`` puts the flags back.

    A BatchNorm that never saw a batch normalises with mean 0 and variance 1, which makes figures
    in eval mode false (theory, section 2): it measures in training mode. Dropout is off, since
    activity is counted without its noise. All else stays in the caller's mode.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            if module.num_batches_tracked is not None and int(module.num_batches_tracked) == 0:
                module.train(True)
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            module.train(False)
