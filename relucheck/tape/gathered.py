"""Whole weights, which FSDP puts together for a call and throws away after it.

``model.parameters()`` gives shards, or one flat parameter; what a layer computes with is another
tensor, kept as an attribute of its module while that runs. So it is found there, by identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from relucheck.tape.names import Names
from relucheck.tape.wrappers import attributes_of, is_dtensor, without_prefixes


@dataclass(slots=True)
class Gathered:
    """The whole weights of one pass; ``used`` is told of each when it is read first."""

    names: Names
    used: Callable[[str, Tensor], None]
    known: dict[int, tuple[Tensor, str]] = field(default_factory=dict)

    def name_of(self, tensor: Tensor, module: nn.Module | None, *, everywhere: bool) -> str:
        """The parameter that a tensor is the whole of, empty where it is none.

        ``module`` is the one that runs, ``everywhere`` says to look into all others as well. Weights
        are held on to, so that no identity is used twice.
        """
        held = self.known.get(id(tensor))
        if held is not None:
            return held[1]
        if is_dtensor(tensor) or tensor.ndim == 0:
            return ""
        name = self._found(tensor, module, everywhere)
        if name:
            self.known[id(tensor)] = (tensor, name)
            self.used(name, tensor)
        return name

    def _found(self, tensor: Tensor, module: nn.Module | None, everywhere: bool) -> str:
        if module is not None and (name := self._within(tensor, module)):
            return name
        if not (everywhere and tensor.requires_grad):  # other constants are many, and the search is long
            return ""
        every = (self._within(tensor, part) for part in self.names.model.modules())
        return next(filter(None, every), "")

    def _within(self, tensor: Tensor, module: nn.Module) -> str:
        name = next((name for name, value in attributes_of(module) if value is tensor), None)
        path = self.names.path(module)
        return "" if name is None or path is None else without_prefixes(f"{path}.{name}".lstrip("."))
