"""A pass that does what an earlier one did, followed without being read again: only its sites are looked at.

Reading an operation (what is it, whose units are these?) costs more than many an operation itself. Most
networks do the same in every pass. So a pass that is read in full leaves a *trace*: which operation ran on
which other one's result. As long as a later pass does the same, step for step, what was found out about the
first holds for it. Where it does something else it is no replay, nothing of it counts, and it has to be read.
What a loop does with the network's output, losses and metrics, need not be the same. Where the calls of torch's
functions show all that matters (``calls.py``), a later pass is followed by them alone, which costs less still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from relucheck.tape.aten import PLATEAUS, AtenOp
from relucheck.tape.batches import Batch
from relucheck.tape.calls import Calls, CallTracer
from relucheck.tape.numbered import Numbers, Site
from relucheck.tape.units import SiteKey, Sites
from relucheck.tape.values import Value, flat

_SET = frozenset({"permute", *PLATEAUS, "clip", "threshold"})
"""Operations for which numbers among the arguments decide what happens to the units."""


def _settings(args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(tuple(a) if isinstance(a, list) else a for a in args if not isinstance(a, Tensor))


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
    """What one pass did, the sites by the position of their step, and the parameters and buffers that were there.

    ``calls`` is the same by the calls of functions, where they show all of it.
    """

    steps: tuple[Traced, ...]
    sites: Mapping[int, Site]
    held: tuple[Tensor, ...]
    calls: Calls | None = None

    def parameters(self, names: Mapping[int, str]) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters with their names."""
        for tensor in self.held:
            if id(tensor) in names:
                yield names[id(tensor)], tensor  # type: ignore[misc]


@dataclass(slots=True)
class Tracer:
    """Writes down what a pass does while it is read in full.

    ``faithful``: every site reads a tensor of its own step, so that a replay can find it.
    """

    held: tuple[Tensor, ...]
    numbers: Numbers
    calls: CallTracer
    steps: list[Traced] = field(default_factory=list)
    sites: dict[int, Site] = field(default_factory=dict)
    faithful: bool = True

    @classmethod
    def of(cls, model: nn.Module) -> Tracer:
        held = (*model.parameters(), *model.buffers())
        return cls(held, Numbers.of(held), CallTracer(Numbers.of(held)))

    def given(self, tensors: Sequence[Tensor]) -> None:
        """Inputs of the network."""
        self.numbers.given(tensors)
        self.calls.numbers.given(tensors)

    def step(self, op: AtenOp, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
        """An operation is about to run."""
        exact = op.op in _SET
        self.steps.append(Traced(op, self.numbers.read(tensors), _settings(args) if exact else ()))
        self.calls.operation(writes=op.inplace, exact=exact)

    def site(self, key: SiteKey | None, z: Tensor, main: Value, tensors: Sequence[Tensor]) -> None:
        """The operation that is about to run is an activation of ``z``, or would be if ``z`` were not empty."""
        operand = next((i for i, tensor in enumerate(tensors) if tensor is z), None)
        if operand is None or z.numel() == 0:
            self.faithful = False
        elif key is not None:
            site = self.sites[len(self.steps) - 1] = Site(
                key, operand, z.ndim, main.axis, main.parts, main.alone
            )
            self.calls.site(site, z, writes=self.steps[-1].op.inplace)

    @property
    def trace(self) -> Trace | None:
        return Trace(tuple(self.steps), self.sites, self.held, self.calls.calls) if self.faithful else None


@dataclass(slots=True)
class Replay:
    """A pass that is expected to do what the trace says; it listens in the place of a ``Recorder``.

    What a recorder wants to know besides, a replay does not need.
    """

    trace: Trace
    sites: Sites
    position: int = 0
    diverged: bool = False
    reading_loss: bool = False
    numbers: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = Numbers.of(self.trace.held)

    @classmethod
    def of(cls, trace: Trace, sites: Sites) -> Replay:
        """A replay by calls where they are enough."""
        return OperationReplay(trace, sites) if trace.calls is None else CallReplay(trace, sites)

    @property
    def length(self) -> int:
        """How many steps there are to follow."""
        return len(self.trace.steps)

    @property
    def done(self) -> bool:
        """Whether the pass has done all that the trace says and nothing else."""
        return not self.diverged and self.position == self.length

    def feed(self, batch: Batch) -> None:
        """Declares the tensors of a batch as the network's inputs."""
        self.numbers.given(batch.tensors)

    feed_more = feed

    def expect(self, same: bool, site: Site | None, tensors: Sequence[Tensor]) -> Replay | None:
        """The next step is about to run; counts units where it is an activation."""
        self.position += 1
        if not same:
            self.diverged = True
        elif site is not None:
            with torch.no_grad():
                self.diverged = not site.observe(self.sites, tensors[site.operand])
        return None if self.diverged else self

    def before(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Replay | None:
        """An operation is about to run."""
        return None

    def after(self, call: object, args: Sequence[Any], out: Any) -> None:
        """It has run."""

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Replay | None:
        """A function of torch is called."""
        return None

    def unfold(self, call: object, out: Any) -> None:
        """It has returned."""

    def enter(self, module: nn.Module, args: Any) -> None:
        """A module's forward begins."""

    def leave(self, module: nn.Module, output: Any) -> None:
        """A module's forward has ended."""

    def settle(self) -> None:
        """Autograd has finished the operation before."""


@dataclass(slots=True)
class OperationReplay(Replay):
    """A pass followed by the operations of the dispatcher."""

    def before(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Replay | None:
        """Compares a step of the network with the trace."""
        if self.diverged:
            return None
        if self.reading_loss:
            return self
        tensors = flat((*args, *kwargs.values()) if kwargs else args)
        steps, position = self.trace.steps, self.position
        expected = steps[position] if position < len(steps) else None
        same = expected is not None and expected.same(op, self.numbers.read(tensors), args)
        return self.expect(same, self.trace.sites.get(position), tensors)

    def after(self, call: object, args: Sequence[Any], out: Any) -> None:
        """Numbers what a step has made."""
        self.numbers.made((out,) if isinstance(out, Tensor) else flat([out]))


@dataclass(slots=True)
class CallReplay(Replay):
    """A pass followed by its calls of functions."""

    calls: Calls = field(init=False)

    def __post_init__(self) -> None:
        Replay.__post_init__(self)
        assert self.trace.calls is not None  # see ``of``
        self.calls = self.trace.calls

    @property
    def length(self) -> int:
        """How many calls there are to follow."""
        return len(self.calls.made)

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Replay | None:
        """Compares a call of the network with the trace."""
        if self.diverged or self.reading_loss or func in self.calls.idle:
            return None
        given = (*args, *kwargs.values()) if kwargs else args
        tensors = flat(given)
        made, position = self.calls.made, self.position
        expected = made[position] if position < len(made) else None
        same = expected is not None and expected.same(func, self.numbers.read(tensors), given)
        return self.expect(same, self.calls.sites.get(position), tensors)

    def unfold(self, call: object, out: Any) -> None:
        """Numbers what a call has made."""
        if call is not None:
            self.numbers.made((out,) if isinstance(out, Tensor) else flat([out]))
