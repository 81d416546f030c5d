"""Calls of activation functions (``F.relu(x)``, ``x.relu()``) replaced while they run, at chosen places only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from relucheck.experiments.structure import Site
from relucheck.tape.places import innermost_place
from relucheck.tape.spellings import spelled

Original = Callable[[], Tensor]
Substitute = Callable[[Tensor, Original], Tensor]
"""Receives what an activation function receives, and the call as it would have been."""

_MODULES = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.ReLU6, nn.Hardtanh)
_FORWARDS = frozenset(module.forward.__code__ for module in _MODULES)
"""Modules of torch call functions too; those are replaced as modules or not at all."""


@dataclass(frozen=True, slots=True)
class Substitutes:
    """What replaces the calls at each site; entered as often as a model is called."""

    by_site: Mapping[Site, Substitute]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if not self.by_site:
            yield
            return
        with _Replacing(self.by_site):
            yield


class _Replacing(TorchFunctionMode):
    def __init__(self, by_site: Mapping[Site, Substitute]) -> None:
        super().__init__()
        self.by_site = by_site
        self.ops = frozenset(site.op for site in by_site)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        spelling, _ = spelled(func)
        if spelling is None or spelling.op not in self.ops:
            return func(*args, **kwargs)
        place = innermost_place(_FORWARDS)
        substitute = self.by_site.get(Site(spelling.op, "", place)) if place is not None else None
        if substitute is None:
            return func(*args, **kwargs)
        received = args[0] if args else kwargs["input"]
        return substitute(received, lambda: func(*args, **kwargs))
