"""A training loop, watched from outside: which network ran, and what its backward pass brought.

Between inspected steps only two things are in place: a wrapper around ``backward`` that counts, and
the optimisers' global hooks. For an inspected step, calls of modules are listened to as well; the
first network that is called from outside any other begins the recording, and ``backward`` ends it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from relucheck.boundary import guarded
from relucheck.measurements import DETERMINED_FROM
from relucheck.net import Crash
from relucheck.tape.batches import Batch, tensors_in
from relucheck.tape.beneath import Beneath, Careful, possible
from relucheck.tape.inspected import Inspected, begun
from relucheck.tape.subject import Subject
from relucheck.tape.underflow import scalers_seen
from relucheck.tape.updates import Before

MOST_CALLS = 1000
"""Calls of networks without a backward pass after which a recording is given up."""


@dataclass(slots=True)
class Watcher:
    """The state of one watched stretch of a program; ``watching`` puts it in place.

    ``every``: one step in that many is inspected (now and then one later, so that no alternation of
    losses hides one); ``first``: so many at the start all are. ``only``: the one network to look at.
    ``stop`` is the frame at which the user's call stack ends, ``window`` the samples by which units are judged.
    """

    every: int
    first: int
    only: nn.Module | None
    stop: CodeType
    window: float = DETERMINED_FROM
    told: Callable[[Watcher], None] | None = None
    step: int = 0
    due: int = 0
    inspections: int = 0
    finished: bool = False
    calls: int = 0
    depth: int = 0
    backwards: int = 0
    thread: int = field(default_factory=threading.get_ident)
    subjects: dict[int, Subject] = field(default_factory=dict)
    live: dict[int, Inspected] = field(default_factory=dict)
    recent: tuple[Inspected, ...] = ()
    scaler: torch.amp.GradScaler | None = None
    before: list[Before] = field(default_factory=list)
    listener: Careful = field(default_factory=Careful)
    recording: Beneath = field(init=False)

    def __post_init__(self) -> None:
        self.recording = Beneath(self.listener)

    @property
    def crash(self) -> Crash | None:
        return self.listener.crash

    # -- calls of modules ---------------------------------------------------------------------------

    def called(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        """A call of a module; the outermost one of a network is recorded."""
        if not self._wanted(module):
            return original(module, *args, **kwargs)
        self._guarded(lambda: self._begin(module, Batch(args, kwargs)))
        self.depth += 1
        try:
            output = original(module, *args, **kwargs)
        finally:
            self.depth -= 1
        self._guarded(lambda: self._returned(module, output))
        return output

    def _wanted(self, module: nn.Module) -> bool:
        if self.depth or self.backwards or self.crash is not None or threading.get_ident() != self.thread:
            return False
        if self.only is not None:
            return module is self.only and torch.is_grad_enabled()
        trainable = any(p.requires_grad for p in module.parameters())
        return trainable and torch.is_grad_enabled() and possible(self.recording.operations)

    def _begin(self, module: nn.Module, batch: Batch) -> None:
        self.calls += 1
        if self.calls > MOST_CALLS:
            self._give_up()
            return
        subject = self.subjects.get(id(module))
        if subject is None:
            if any(
                nn.parameter.is_lazy(p) or p.is_meta for p in module.parameters()
            ):  # no shapes or no numbers yet
                return
            subject = self.subjects[id(module)] = Subject.of(module, self.window)
        held = self.live.get(id(module))
        if held is None or held.training != module.training:
            self._forget(held)
            held = self.live[id(module)] = begun(subject, self.step, self.stop)
        held.feed(batch)
        self.listener.recorder = held.recorder
        if not self.recording.running:
            self.recording.start()

    def _returned(self, module: nn.Module, output: Any) -> None:
        held = self.live.get(id(module))
        if held is None:
            return
        if any(t.requires_grad for t in tensors_in(output)):
            held.returned(output)
        else:  # nothing to learn here: a frozen network or a target
            self._forget(self.live.pop(id(module)))

    def _forget(self, held: Inspected | None) -> None:
        if held is not None:
            held.release()

    def _give_up(self) -> None:
        """Ends a recording that no backward pass will come for."""
        self.recording.stop()
        self.listener.recorder = None
        for held in self.live.values():
            held.release()
        self.live.clear()

    # -- backward passes ------------------------------------------------------------------------------

    def backward(self, original: Callable[..., Any], loss: Any, args: Any, kwargs: Any) -> Any:
        """A backward pass, with what was recorded for it; those inside another one just run."""
        if self.backwards or threading.get_ident() != self.thread:
            return original(loss, *args, **kwargs)
        held = self._recorded()
        self.backwards += 1
        done = False
        try:
            result = original(loss, *args, **kwargs)
            done = True
        finally:
            self.backwards -= 1
            for one in held:
                one.release()
            if done:
                self._guarded(lambda: self._ended(held, loss))
        return result

    def _recorded(self) -> tuple[Inspected, ...]:
        if self.recording.running:
            self.recording.stop()
        self.listener.recorder = None
        held = tuple(self.live.values())
        self.live.clear()
        self.calls = 0
        return held

    def _ended(self, held: tuple[Inspected, ...], loss: Any) -> None:
        if held:
            self.recent = tuple(one for one in held if one.arrived)
        for one in self.recent if held else ():
            one.keep(next(tensors_in(loss), None), self._scale())
        if self.step >= self.due and (self.recent or not held):
            self.inspections += bool(held)
            self.due = _next(self.step, self.every, self.first)
        self.step += 1
        if self.told is not None:
            self.told(self)

    # -- gradient scalers ------------------------------------------------------------------------------

    def scaling(self, scaler: torch.amp.GradScaler) -> None:
        """A GradScaler is about to multiply a loss; its scale is asked for only where it is wanted."""
        self.scaler = scaler

    def _scale(self) -> float:
        return float(self.scaler.get_scale()) if self.scaler is not None else 1.0

    # -- optimisers -----------------------------------------------------------------------------------

    def stepping(self, optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """An optimiser is about to change the weights."""
        if self.recent and not self.before:
            self._guarded(
                lambda: self.before.extend(Before.of(one.subject, optimiser) for one in self.recent)
            )

    def stepped(self, optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """It has changed them."""
        if not self.before:
            return
        self._guarded(self._compare)
        self.before.clear()
        self.recent = ()

    def _compare(self) -> None:
        for before in self.before:
            before.compare()

    # -- all of it ------------------------------------------------------------------------------------

    @property
    def listening(self) -> bool:
        """Whether the next step is to be inspected."""
        return self.step >= self.due and self.crash is None

    def finish(self) -> None:
        """Nothing of the watching is left, and the last window is closed."""
        self._give_up()
        self.recent = ()
        self.before.clear()
        for subject in self.subjects.values():
            self._guarded(subject.close)
        self.finished = True

    def _guarded(self, work: Callable[[], object]) -> None:
        if self.crash is None:
            done = guarded(work, "", "a training step could not be measured")
            if isinstance(done, Crash):
                self.listener.crash = done


def _next(step: int, every: int, first: int) -> int:
    """The step to inspect after one: each of the first, then one in ``every``.

    Every other gap is one longer, or the steps of a loop with two losses (GANs) would always be the same.
    """
    if step + 1 < first:
        return step + 1
    return step + every + (1 if every > 1 and (step // every) % 2 else 0)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Every backward pass inside is seen; afterwards all is as before, also after Ctrl-C."""
    calls = _Calls(watcher)
    tensor_backward, backward = torch.Tensor.backward, torch.autograd.backward

    def of_tensor(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return calls.around(lambda: watcher.backward(tensor_backward, self, args, kwargs))

    def of_tensors(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        return calls.around(lambda: watcher.backward(backward, tensors, args, kwargs))

    hooks = (
        register_optimizer_step_pre_hook(watcher.stepping),
        register_optimizer_step_post_hook(watcher.stepped),
    )
    torch.Tensor.backward = of_tensor  # type: ignore[method-assign]
    torch.autograd.backward = of_tensors
    try:
        calls.follow()
        with scalers_seen(watcher.scaling):
            yield
    finally:
        torch.Tensor.backward = tensor_backward  # type: ignore[method-assign]
        torch.autograd.backward = backward
        for hook in hooks:
            hook.remove()
        calls.remove()
        watcher.finish()


@dataclass(slots=True)
class _Calls:
    """Listens to calls of modules, only while a step is to be inspected."""

    watcher: Watcher
    original: Callable[..., Any] = field(default_factory=lambda: nn.Module.__call__)
    placed: bool = False

    def around(self, backward: Callable[[], Any]) -> Any:
        """A backward pass, after which the next step may be inspected or not."""
        try:
            return backward()
        finally:
            self.follow()

    def follow(self) -> None:
        if self.watcher.listening == self.placed:
            return
        if self.placed:
            self.remove()
            return
        watcher, original = self.watcher, self.original

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return watcher.called(original, module, args, kwargs)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        self.placed = True

    def remove(self) -> None:
        if self.placed:
            nn.Module.__call__ = self.original  # type: ignore[method-assign]
            self.placed = False
