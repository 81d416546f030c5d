"""One inspected step of one network: from its call to the end of the backward pass."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.hooks import RemovableHandle

from relucheck.measurements import NonFinite, Phase
from relucheck.tape.alone import CommunicatesError, alone
from relucheck.tape.batches import Batch, tensors_in
from relucheck.tape.finite import Hunt, finite, is_mask, kind_of, located
from relucheck.tape.gathered import Gathered
from relucheck.tape.gradients import GradientWatch, Sum, norm, norms
from relucheck.tape.meeting import in_group
from relucheck.tape.modes import recording
from relucheck.tape.names import owner_of
from relucheck.tape.passes import keep_known_outputs, keep_net, keep_outputs
from relucheck.tape.recorder import Recorder
from relucheck.tape.replay import Replay, Tracer
from relucheck.tape.session import Session
from relucheck.tape.state import no_trace
from relucheck.tape.subject import Subject
from relucheck.tape.tally import Weight
from relucheck.tape.units import Sites
from relucheck.tape.wrappers import is_dtensor, part_of


@dataclass(slots=True)
class Inspected:
    """What a network's calls showed since the last backward pass, until the next one is over.

    ``arrived`` are the norms of dL/dW that its parameters received, by name, ``sizes`` the norms of
    its weights at that time where somebody wants them, ``updates`` the ratios of the optimiser's
    step after it. ``scale`` is what a GradScaler multiplied the loss by, and is taken out of all of them; ``late``
    counts backward passes that brought nothing. Several calls (the time steps of a loop, two halves of a batch)
    count as one pass. In a distributed training they are the gradients of this process's own batch, before they
    are averaged over all.
    """

    subject: Subject
    step: int
    session: Session
    recorder: Recorder | Replay
    stop: CodeType
    training: bool
    scaled: bool
    parameters: tuple[tuple[str, nn.Parameter], ...]
    batch: Batch | None = None
    output: Any = None
    arrived: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    updates: dict[str, float] = field(default_factory=dict)
    handles: list[RemovableHandle] = field(default_factory=list)
    bare: list[Tensor] = field(default_factory=list)
    empty: dict[str, nn.Parameter] = field(default_factory=dict)
    calls: int = 0
    late: int = 0
    listening: bool = False
    received: dict[int, Tensor] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    sums: dict[str, Tensor] = field(default_factory=dict)
    scale: float = 1.0

    def feed(self, batch: Batch) -> None:
        """A call is about to run; what an earlier one returned stays known as that."""
        self.recorder.reading_loss = False
        if self.batch is None:
            self.batch = batch
            self.session.sites.samples = max(1, self.session.samples_of(batch))
            self.recorder.feed(batch)
            return
        self.recorder.feed_more(batch)

    def returned(self, output: Any) -> None:
        """A call has returned; what follows is the loss, up to the next one."""
        self.output = output
        self.calls += 1
        self.recorder.reading_loss = True
        busy = torch._C._len_torch_dispatch_stack() > 0
        with (
            _disable_current_modes() if busy else nullcontext()
        ):  # looking at the output is no step of the network
            self._keep_outputs(output)
        if self.session.watch.half and self.subject.lost is None:
            self._listen_to(output)

    def scaled_by(self, scale: float) -> None:
        """The backward pass is about to run, of a loss that was multiplied so."""
        self.scale = self.session.watch.scale = scale

    def _keep_outputs(self, output: Any) -> None:
        if isinstance(self.recorder, Recorder):
            keep_outputs(self.session, self.recorder.values.get, output)
        elif not keep_known_outputs(self.session, output):
            self.recorder.diverged = True

    def _listen_to(self, output: Any) -> None:
        """Keeps the gradients that the network's outputs receive, until the pass is over."""
        self.received.clear()
        for index, tensor in enumerate(t for t in tensors_in(output) if t.requires_grad):
            self.handles.append(tensor.register_hook(partial(self.received.__setitem__, index)))  # type: ignore[no-untyped-call]

    def listen(self) -> None:
        """A backward pass is about to run: notes the norm of every gradient that arrives, without holding on to it.

        Where a parameter has none yet, it is what lies there afterwards, unless somebody takes it away before.
        """
        if self.listening:  # since a backward pass that brought nothing
            return
        self.listening, single = True, not in_group()
        for name, parameter in self.parameters:
            if not parameter.requires_grad or not parameter.is_leaf or is_dtensor(parameter):
                continue
            if single and parameter.grad is None and not parameter._post_accumulate_grad_hooks:
                self.empty[name] = parameter
                continue
            if parameter._backward_hooks is None:
                self.bare.append(parameter)
            handle = parameter.register_hook(self._noting(name))  # type: ignore[no-untyped-call]
            self.handles.append(handle)

    def collect(self) -> None:
        """The backward pass is over: notes the norms of what lies where there was no gradient."""
        found = {n: g for n, p in self.empty.items() if (g := p.grad) is not None}
        sizes = norms(list(found.values()))
        self.arrived.update({n: size / self.scale for n, size in zip(found, sizes, strict=True)})

    def _noting(self, name: str) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            self.arrived[name] = norm(gradient) / self.scale

        return note

    def gather(self, name: str, weight: Tensor) -> None:
        """A whole weight is read that is put together for this call only (FSDP)."""
        self.session.gathered[name] = Weight(weight.ndim, norm(weight), not weight.requires_grad)
        self.uses[name] += 1
        if weight.requires_grad:
            self.handles.append(weight.register_hook(self._adding(name)))  # type: ignore[no-untyped-call]

    def _adding(self, name: str) -> Callable[[Tensor], None]:
        """Notes the norm of a gradient that may arrive in parts, one for each call of the layer."""

        def note(gradient: Tensor) -> None:
            if self.uses[name] > 1:
                before = self.sums.get(name)
                gradient = self.sums[name] = gradient.clone() if before is None else before + gradient
            self.arrived[name] = norm(gradient) / self.scale

        return note

    def release(self) -> None:
        """Takes the hooks off the parameters."""
        for handle in self.handles:
            handle.remove()
        for parameter in self.bare:
            if not parameter._backward_hooks:  # torch leaves an empty dict behind
                parameter._backward_hooks = None
        self.handles.clear()
        self.bare.clear()
        self.empty.clear()
        self.sums.clear()

    @property
    def counts(self) -> bool:
        """Whether the pass showed anything: gradients arrived, and a replay was one to the end."""
        return bool(self.arrived) and (isinstance(self.recorder, Recorder) or self.recorder.done)

    def awaits(self, latest: int) -> bool:
        """Whether a sound pass has had no gradient yet, and not for so many backward passes."""
        followed = isinstance(self.recorder, Recorder) or self.recorder.done
        return followed and bool(self.calls) and not self.arrived and self.late < latest

    def park(self) -> None:
        """Another backward pass has gone by; the output is let go, with the graph that hangs off it."""
        self.late += 1
        self.output = None

    def drop(self) -> None:
        """Forgets a pass that does not count; one that was no replay will be read, and those after it."""
        self.session.sites.abandon()
        if isinstance(self.recorder, Replay) and not self.recorder.done:
            self.session.trace, self.subject.varies = None, True

    def keep(self, loss: Tensor | None) -> None:
        """Adds the pass to the window's sums, after its backward pass has run."""
        session, batch = self.session, self.batch
        assert batch is not None  # a pass begins with a call
        if session.read is None and isinstance(self.recorder, Recorder):
            keep_net(session, self.recorder, batch)
            self.subject.judge(batch)
        if self.received and self.calls == 1:
            outputs = sum(t.requires_grad for t in tensors_in(self.output))
            self.subject.count_lost(batch, [self.received.get(i) for i in range(outputs)], self.scale)
        self.received.clear()
        session.first_batch = None
        for name in session.trained():
            _add(session.sums, name, self.arrived.get(name), self.scale)
        session.sites.end_pass()
        session.samples += session.sites.samples
        session.batches += 1
        self.subject.steps += 1
        if self.subject.non_finite is None and not self._sound(loss):
            self.subject.non_finite = self._culprit(batch, loss)
        if self.scale != 1:  # the scaler skips a step that overflows
            self.arrived = {name: size for name, size in self.arrived.items() if math.isfinite(size)}
        self.batch = self.output = None

    def weigh(self) -> None:
        """Notes the norms of the weights that a gradient has arrived at."""
        own = {
            name: norm(parameter)
            for name, parameter in self.session.parameters()
            if parameter.ndim >= 2 and name in self.arrived and not is_dtensor(parameter)
        }
        whole = {name: weight.norm for name, weight in self.session.gathered.items() if weight.ndim >= 2}
        self.sizes = {name: size for name, size in {**own, **whole}.items() if name in self.arrived}

    @property
    def waiting(self) -> bool:
        """Whether a weight has a gradient that no optimiser has used yet."""
        weights = (name for name, p in self.session.parameters() if p.ndim >= 2)
        return any(name in self.arrived and name not in self.updates for name in weights)

    def _sound(self, loss: Tensor | None) -> bool:
        """Whether loss and gradients are finite; a GradScaler skips steps whose gradients are not."""
        if loss is not None and not finite(loss.detach()):
            return False
        return self.scaled or all(map(math.isfinite, self.arrived.values()))

    def _culprit(self, batch: Batch, loss: Tensor | None) -> NonFinite:
        """The first operation that is not finite, by another forward pass that leaves no trace.

        In a distributed training it is this process's own, and there is none where it would wait for processes whose
        batch was sound.
        """
        session, step = self.session, self.subject.until
        for tensor in batch.tensors:
            if not finite(tensor) and not is_mask(tensor):
                return NonFinite(Phase.INPUT, kind_of([tensor]), "input", "", step)
        for name, parameter in session.parameters():
            if not finite(part := part_of(parameter)):
                return NonFinite(Phase.PARAMETER, kind_of([part]), name, owner_of(name), step)
        broken = loss is not None and not finite(loss.detach())
        unknown = NonFinite(Phase.FORWARD if broken else Phase.BACKWARD, "NaN", "loss", "", step)
        if self.subject.sharded:  # a layer's weights are put together by all
            return unknown
        try:
            with alone():
                return self._hunted(batch, step) or (replace(unknown, operation="") if broken else unknown)
        except CommunicatesError:
            return unknown

    def _hunted(self, batch: Batch, step: int) -> NonFinite | None:
        session, hunt = self.session, Hunt()
        probe = Recorder(
            session.names, Sites(session.sites.samples), GradientWatch(), self.stop, True, hunt=hunt
        )
        with no_trace(self.subject.model), recording(probe):
            probe.feed(batch)
            self.subject.model(*batch.args, **batch.kwargs)
        return located(hunt.first, probe.steps, step) if hunt.first is not None else None


def begun(subject: Subject, step: int, stop: CodeType, ranks: int) -> Inspected:
    """A network is called for the first time since the last backward pass."""
    session = subject.renew(step, ranks)
    session.sites.abandon()
    recorder = _listener(subject, session, stop)
    scaled = any(
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
        for device in ("cpu", "cuda")
    )
    # those of this call, which torch.func may have put in their places
    parameters = tuple(session.parameters())
    one = Inspected(subject, step, session, recorder, stop, subject.model.training, scaled, parameters)
    if subject.sharded and isinstance(recorder, Recorder):
        recorder.gathered = Gathered(session.names, one.gather)
    return one


def _listener(subject: Subject, session: Session, stop: CodeType) -> Recorder | Replay:
    """Follows the pass by the trace of the one that began the window; that one is read in full.

    In a distributed training all are: wrappers do something else now and then, and a step that one rank
    left out would put its windows out of step with the others'.
    """
    if session.trace is not None:
        return Replay.of(session.trace, session.sites)
    first = session.read is None
    alike = not (subject.varies or subject.sharded or in_group())
    tracer = Tracer.of(subject.model) if first and alike else None
    return Recorder(session.names, session.sites, session.watch, stop, first, tracer=tracer)


def _add(sums: dict[str, Sum], name: str, size: float | None, scale: float) -> None:
    total = sums.setdefault(name, Sum())
    if size is not None and scale != 1:
        total.add_scaled(size)
    elif size is not None:
        total.squares += size**2
        total.count += 1
