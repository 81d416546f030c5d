"""A pass that does what an earlier one did, followed without being read again: only its sites are looked at.

Reading an operation (what is it, whose units are these?) costs more than many an operation itself. Most
networks do the same in every pass. So a pass that is read in full leaves a *trace*: which operation ran on
which other one's result. As long as a later pass does the same, step for step, what was found out about the
first holds for it. Where it does something else it is no replay, nothing of it counts, and it has to be read.
What a loop does with the network's output, losses and metrics, need not be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from relucheck.tape.aten import PLATEAUS, AtenOp
from relucheck.tape.batches import Batch
from relucheck.tape.units import SiteKey, Sites, laid_out
from relucheck.tape.values import Value, flat, has_memory

UNKNOWN = 0
"""The number of a tensor that no step of the pass has made."""


_SET = frozenset({"permute", *PLATEAUS, "clip", "threshold"})
"""Operations for which numbers among the arguments decide what happens to the units."""


def _settings(args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(tuple(a) if isinstance(a, list) else a for a in args if not isinstance(a, Tensor))


@dataclass(frozen=True, slots=True)
class Site:
    """An activation site of a step: which of its tensors is the pre-activation, and which axes hold units."""

    key: SiteKey
    operand: int
    ndim: int
    axis: int | None
    parts: tuple[int, ...]
    alone: bool

    def units(self, z: Tensor) -> tuple[Tensor, int | None] | None:
        """A pre-activation and its axis of units; None for one that has other units."""
        if z.ndim != self.ndim or z.numel() == 0 or z.ndim == 0:
            return None
        z, axis = laid_out(z, self.axis, self.parts, self.alone)
        return (z, axis) if z.shape[-1 if axis is None else axis] == self.key.units else None


@dataclass(frozen=True, slots=True)
class Traced:
    """One step: the operation, the numbers of the tensors that it read, and its other arguments where they matter.

    They matter where axes move and for activations, whose slope they may set.
    """

    op: AtenOp
    read: tuple[int, ...]
    settings: tuple[Any, ...]

    def same(self, op: AtenOp, read: tuple[int, ...], args: Sequence[Any]) -> bool:
        """Whether another step does the same."""
        return self.op is op and self.read == read and (op.op not in _SET or self.settings == _settings(args))


@dataclass(frozen=True, slots=True)
class Trace:
    """What one pass did, the sites by the position of their step, and the parameters and buffers that were there."""

    steps: tuple[Traced, ...]
    sites: Mapping[int, Site]
    held: tuple[Tensor, ...]

    def parameters(self, names: Mapping[int, str]) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters with their names."""
        for tensor in self.held:
            if id(tensor) in names:
                yield names[id(tensor)], tensor  # type: ignore[misc]


@dataclass(slots=True)
class Numbers:
    """Tensors of one pass by their address, numbered as they are made, so that two passes can be compared.

    A tensor that is made overwrites the number of what lay at its address before.
    """

    at: dict[int, int] = field(default_factory=dict)
    last: int = UNKNOWN

    @classmethod
    def of(cls, held: Iterable[Tensor]) -> Numbers:
        """The numbers at the beginning, of parameters and buffers."""
        numbers = cls()
        numbers.made(held)
        return numbers

    def made(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self.last += 1
            try:
                self.at[tensor.data_ptr()] = self.last
            except RuntimeError:  # sparse tensors and those of torch.func have no address
                continue

    def given(self, tensors: Iterable[Tensor]) -> None:
        """Inputs of the network; one that an earlier step has made keeps its number."""
        for tensor in tensors:
            if has_memory(tensor) and tensor.data_ptr() not in self.at:
                self.last += 1
                self.at[tensor.data_ptr()] = self.last

    def read(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        at = self.at
        try:
            return tuple([at.get(t.data_ptr(), UNKNOWN) for t in tensors])
        except RuntimeError:  # sparse tensors and those of torch.func have no address
            return tuple(at.get(t.data_ptr(), UNKNOWN) if has_memory(t) else UNKNOWN for t in tensors)


@dataclass(slots=True)
class Tracer:
    """Writes down what a pass does while it is read in full.

    ``faithful``: every site reads a tensor of its own step, so that a replay can find it.
    """

    held: tuple[Tensor, ...]
    numbers: Numbers
    steps: list[Traced] = field(default_factory=list)
    sites: dict[int, Site] = field(default_factory=dict)
    faithful: bool = True

    @classmethod
    def of(cls, model: nn.Module) -> Tracer:
        held = (*model.parameters(), *model.buffers())
        return cls(held, Numbers.of(held))

    def step(self, op: AtenOp, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
        """An operation is about to run."""
        self.steps.append(Traced(op, self.numbers.read(tensors), _settings(args) if op.op in _SET else ()))

    def site(self, key: SiteKey | None, z: Tensor, main: Value, tensors: Sequence[Tensor]) -> None:
        """The operation that is about to run is an activation of ``z``, or would be if ``z`` were not empty."""
        operand = next((i for i, tensor in enumerate(tensors) if tensor is z), None)
        if operand is None or z.numel() == 0:
            self.faithful = False
        elif key is not None:
            self.sites[len(self.steps) - 1] = Site(key, operand, z.ndim, main.axis, main.parts, main.alone)

    @property
    def trace(self) -> Trace | None:
        return Trace(tuple(self.steps), self.sites, self.held) if self.faithful else None


@dataclass(slots=True)
class Replay:
    """A pass that is expected to do what the trace says; it listens in the place of a ``Recorder``."""

    trace: Trace
    sites: Sites
    position: int = 0
    diverged: bool = False
    reading_loss: bool = False
    numbers: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = Numbers.of(self.trace.held)

    @property
    def done(self) -> bool:
        """Whether the pass has done all that the trace says and nothing else."""
        return not self.diverged and self.position == len(self.trace.steps)

    def feed(self, batch: Batch) -> None:
        """Declares the tensors of a batch as the network's inputs."""
        self.numbers.given(batch.tensors)

    feed_more = feed

    def before(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Replay | None:
        """Compares a step of the network with the trace, and counts units where it is an activation."""
        if self.diverged:
            return None
        if self.reading_loss:
            return self
        tensors = flat((*args, *kwargs.values()) if kwargs else args)
        steps, position = self.trace.steps, self.position
        self.position += 1
        expected = steps[position] if position < len(steps) else None
        if expected is None or not expected.same(op, self.numbers.read(tensors), args):
            self.diverged = True
            return None
        site = self.trace.sites.get(position)
        if site is not None:
            self._observe(site, tensors[site.operand])
        return self

    def _observe(self, site: Site, z: Tensor) -> None:
        with torch.no_grad():
            units = site.units(z)
            if units is None:
                self.diverged = True
            else:
                self.sites.observe(site.key, *units, self.sites.counts[site.key].plateau)

    def after(self, call: object, args: Sequence[Any], out: Any) -> None:
        """Numbers what a step has made."""
        self.numbers.made((out,) if isinstance(out, Tensor) else flat([out]))

    # What a recorder wants to know besides, a replay does not need.

    def enter(self, module: nn.Module, args: Any) -> None:
        """A module's forward begins."""

    def leave(self, module: nn.Module, output: Any) -> None:
        """A module's forward has ended."""

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """A function of torch is called."""

    def unfold(self, fold: object, outputs: list[Tensor]) -> None:
        """It has returned."""

    def settle(self) -> None:
        """Autograd has finished the operation before."""
