"""A pass followed by its calls of torch's functions alone, which are fewer than the operations beneath them.

To hear every operation of the dispatcher costs as much as a small one takes. Where each operation of a pass
ran inside a call that was heard, and each call applied at most one activation, to a tensor that it was given
and had not changed, the calls are enough to tell that a later pass does the same. An activation inside of
something bigger (``torch.rnn_relu``), operations outside of any call (TorchScript) and tensors that are not
those of the dispatcher (``torch.func``) leave no such trace; there the operations are followed (``replay.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from relucheck.tape.numbered import Numbers, Site
from relucheck.tape.values import flat

_WORDS = (bool, str, torch.dtype, torch.device, torch.layout, torch.memory_format)
_NUMBERS = (int, float, complex, slice)


def settings(args: Sequence[Any], *, with_numbers: bool) -> tuple[Any, ...]:
    """What a call is given besides tensors; its numbers and shapes (which follow the batch) only if they matter."""
    kept: list[Any] = []
    for arg in args:
        if arg is None or isinstance(arg, _WORDS) or (with_numbers and isinstance(arg, _NUMBERS)):
            kept.append(arg)
        elif isinstance(arg, (list, tuple)):
            kept.append(settings(arg, with_numbers=with_numbers))
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Called:
    """One call: the function, the numbers of the tensors that it read, and its other arguments.

    ``exact``: numbers among them decide what happens to the units, as where axes move.
    """

    func: Any
    read: tuple[int, ...]
    exact: bool
    settings: tuple[Any, ...]

    def same(self, func: Any, read: tuple[int, ...], args: Sequence[Any]) -> bool:
        """Whether another call does the same."""
        same = self.func is func or self.func == func
        return same and self.read == read and self.settings == settings(args, with_numbers=self.exact)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one pass and the sites by the position of theirs.

    ``idle`` are functions that ran no operation and made no tensor, such as ``x.dim()``.
    """

    made: tuple[Called, ...]
    sites: Mapping[int, Site]
    idle: frozenset[Any]


@dataclass(slots=True)
class _Open:
    """A call that runs."""

    func: Any
    args: tuple[Any, ...]
    tensors: list[Tensor]
    read: tuple[int, ...]
    operations: int = 0
    written: int = 0
    exact: bool = False
    site: Site | None = None

    def place(self, z: Tensor, *, writes: bool) -> int | None:
        """Where among its tensors a call has one that is as it was given, before the operation that runs now."""
        if self.written > writes:
            return None
        return next((i for i, tensor in enumerate(self.tensors) if tensor is z), None)


@dataclass(slots=True)
class CallTracer:
    """Writes down the calls of a pass; ``enough``: they show all that matters."""

    numbers: Numbers
    made: list[Called] = field(default_factory=list)
    sites: dict[int, Site] = field(default_factory=dict)
    idle: set[Any] = field(default_factory=set)
    open: _Open | None = None
    enough: bool = True

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """A function of torch is called."""
        self.enough &= self.open is None  # an error has ended the call before
        given = (*args, *kwargs.values())
        tensors = flat(given)
        self.open = _Open(func, given, tensors, self.numbers.read(tensors))

    def operation(self, *, writes: bool, exact: bool) -> None:
        """An operation is about to run."""
        if self.open is None:
            self.enough = False
            return
        self.open.operations += 1
        self.open.written += writes
        self.open.exact |= exact

    def site(self, site: Site, z: Tensor, *, writes: bool) -> None:
        """The operation is an activation of ``z``; ``site`` says where it is among the operation's tensors."""
        held = self.open
        operand = held.place(z, writes=writes) if held is not None else None
        if held is None or operand is None or held.site is not None:
            self.enough = False
            return
        held.site = replace(site, operand=operand)

    def end(self, out: Any) -> None:
        """The call has returned."""
        held, self.open = self.open, None
        made = flat([out])
        if held is None:
            return
        if not held.operations and not made:
            self.idle.add(held.func)
            return
        if held.site is not None:
            self.sites[len(self.made)] = held.site
        given = settings(held.args, with_numbers=held.exact)
        self.made.append(Called(held.func, held.read, held.exact, given))
        self.numbers.made(made)

    @property
    def calls(self) -> Calls | None:
        """What has to be followed; None where calls do not show all."""
        busy = {called.func for called in self.made}
        return Calls(tuple(self.made), self.sites, frozenset(self.idle - busy)) if self.enough else None
