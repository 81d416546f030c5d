"""A training loop, watched from outside: which network ran, and what its backward pass brought.

Between inspected steps only two things are in place: a wrapper around ``backward`` that counts, and
the optimisers' global hooks. For an inspected step, calls of modules are listened to as well; the
first network that is called from outside any other begins the recording, and ``backward`` ends it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from relucheck.boundary import guarded
from relucheck.measurements import DETERMINED_FROM
from relucheck.net import Crash
from relucheck.tape.batches import Batch, tensors_in
from relucheck.tape.beneath import Beneath, Careful
from relucheck.tape.inspected import Inspected, begun
from relucheck.tape.meeting import Meeting
from relucheck.tape.replay import Replay
from relucheck.tape.shares import Seen, seen_over
from relucheck.tape.subject import Subject
from relucheck.tape.telling import inspection_of
from relucheck.tape.updates import Before
from relucheck.tape.wrappers import class_name, unwrapped, without_prefixes
from relucheck.timeline import Inspection

LATEST = 4
"""Backward passes that a network's call waits for its gradients, where others come first: a generator is called
before the passes of its discriminator, whose loss is detached from it."""

MOST_CALLS = 1000
"""Calls of networks without a backward pass after which a recording is given up."""


@dataclass(slots=True)
class Watcher:
    """The state of one watched stretch of a program; ``watching`` puts it in place.

    ``every``: one step in that many is inspected (now and then one later, so that no alternation of
    losses hides one); ``first``: so many at the start all are. ``only``: the network to look at, as a
    whole or by its parts. ``stop`` is the frame at which the user's call stack ends, ``window`` the
    samples by which units are judged. ``told`` hears of every step, ``logger`` of what an inspected
    one showed. ``alive`` says whether the watched stretch still runs, where nothing else ends it.
    ``live`` are the networks called since the last backward pass, ``parked`` those called before it whose
    gradients are still to come. ``elsewhere``: other threads than that of the watch ran backward passes.
    ``meeting`` is where the other processes of a distributed training are met, joined in the first
    inspected step; ``place`` is where in the code the watch begins.
    """

    every: int
    first: int
    only: nn.Module | None
    stop: CodeType
    window: float = DETERMINED_FROM
    told: Callable[[Watcher], None] | None = None
    logger: Callable[[Inspection], object] | None = None
    alive: Callable[[], bool] | None = None
    place: str = ""
    step: int = 0
    due: int = 0
    inspections: int = 0
    finished: bool = False
    calls: int = 0
    depth: int = 0
    backwards: int = 0
    elsewhere: bool = False
    thread: int = field(default_factory=threading.get_ident)
    subjects: dict[int, Subject] = field(default_factory=dict)
    live: dict[int, Inspected] = field(default_factory=dict)
    parked: dict[int, Inspected] = field(default_factory=dict)
    recent: tuple[Inspected, ...] = ()
    scaler: torch.amp.GradScaler | None = None
    scalers: list[tuple[torch.amp.GradScaler, weakref.ref[Tensor]]] = field(default_factory=list)
    before: list[Before] = field(default_factory=list)
    optimiser: torch.optim.Optimizer | None = None
    optimised: bool = False
    rest: Inspection | None = None
    listener: Careful = field(default_factory=Careful)
    meeting: Meeting | None = None
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
        returned = False
        try:
            output = original(module, *args, **kwargs)
            returned = True
        finally:
            self.depth -= 1
            if not returned:  # the user may catch what it raised, and train on
                self._guarded(lambda: self._raised(module))
        self._guarded(lambda: self._returned(module, output))
        return output

    def _wanted(self, module: nn.Module) -> bool:
        if self.depth or self.backwards or not self.listening or threading.get_ident() != self.thread:
            return False
        if not torch.is_grad_enabled() or not self._within(module):
            return False
        trainable = module is self.only or any(p.requires_grad for p in module.parameters())
        return trainable and self.recording.possible

    def _within(self, module: nn.Module) -> bool:
        """Whether a module is the network that is asked for, or one of its parts, compiled or not."""
        written = getattr(module, "_orig_mod", module)
        return self.only is None or module is self.only or any(m is written for m in self.only.modules())

    def _subject(self, module: nn.Module) -> Subject:
        """A network that is seen for the first time, named by its place in ``only`` or else its class."""
        kind = class_name(unwrapped(module))
        if self.only is None:
            same = sum(class_name(subject.model) == kind for subject in self.subjects.values())
            title = f"{kind}#{same + 1}" if same else kind
            return Subject.of(module, self.window, title, title)
        path = next(
            (without_prefixes(name) for name, part in self.only.named_modules() if part is module), ""
        )
        return Subject.of(module, self.window, path, f"{path} ({kind})" if path else kind)

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
            subject = self.subjects[id(module)] = self._subject(module)
        self._forget(self.parked.pop(id(subject.model), None))
        held = self.live.get(id(module))
        if held is None or held.training != module.training:
            self._forget(held)
            held = self.live[id(module)] = begun(subject, self.step, self.stop, self._present())
        held.feed(batch)
        self.recording.start(held.recorder)

    def _present(self) -> int:
        """The processes whose samples count together with those of this one, itself included."""
        if self.meeting is None:
            self.meeting = Meeting.joined(self.place)
        return 1 if self.meeting is None else self.meeting.present

    def _returned(self, module: nn.Module, output: Any) -> None:
        held = self.live.get(id(module))
        if held is None:
            return
        if all(isinstance(one.recorder, Replay) for one in self.live.values()):
            self.recording.stop()  # the loss is only read where the net is
        if any(t.requires_grad for t in tensors_in(output)):
            held.returned(output)
        else:  # nothing to learn here: a frozen network or a target
            self._forget(self.live.pop(id(module)))

    def _raised(self, module: nn.Module) -> None:
        """A call has ended in an exception: what it did is no pass of its network, nor are earlier calls of it."""
        self.listener.recorder = None
        held = self.live.pop(id(module), None)
        if held is not None:
            held.release()
            held.session.sites.abandon()

    def _forget(self, held: Inspected | None) -> None:
        if held is not None:
            held.release()

    def _give_up(self) -> None:
        """Ends a recording that no backward pass will come for."""
        self.recording.stop()
        for held in (*self.live.values(), *self.parked.values()):
            held.release()
        self.live.clear()
        self.parked.clear()

    # -- backward passes ------------------------------------------------------------------------------

    def backward(self, original: Callable[..., Any], loss: Any, args: Any, kwargs: Any) -> Any:
        """A backward pass, with what was recorded for it; those inside another one just run."""
        if self.backwards or threading.get_ident() != self.thread:
            self.elsewhere |= threading.get_ident() != self.thread
            return original(loss, *args, **kwargs)
        held = self._recorded()
        self._guarded(lambda: self._scale(held, loss))
        for one in held:
            self._guarded(one.listen)
        done = False
        try:
            with self._at_work():
                result = original(loss, *args, **kwargs)
            done = True
            for one in held:
                self._guarded(one.collect)
        finally:
            held = self._parted(held) if done else held
            for one in held:
                one.release()
            if done:
                if held or self.optimised:
                    self._tell()
                with self._at_work():  # passes of our own are none of the user's
                    self._guarded(lambda: self._ended(held, loss))
        return result

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Calls of networks in here are not watched."""
        self.backwards += 1
        try:
            yield
        finally:
            self.backwards -= 1

    def _recorded(self) -> tuple[Inspected, ...]:
        if self.recording.running:
            self.recording.stop()
        held = (*self.parked.values(), *self.live.values())
        self.live.clear()
        self.parked.clear()
        self.calls = 0
        return held

    def _parted(self, held: tuple[Inspected, ...]) -> tuple[Inspected, ...]:
        """The passes that are over; those whose gradients come with a later backward pass are parked."""
        late = {id(one): one for one in held if one.awaits(LATEST)}
        for one in late.values():
            one.park()
            self.parked[id(one.subject.model)] = one
        return tuple(one for one in held if id(one) not in late)

    def _ended(self, held: tuple[Inspected, ...], loss: Any) -> None:
        if held:
            self.recent = tuple(one for one in held if one.counts)
        for one in held:
            if not one.counts:
                one.drop()
        for one in self.recent if held else ():
            one.keep(next(tensors_in(loss), None))
            if self.logger is not None:
                one.weigh()
        if held and self.optimiser is not None:  # inside the closure that an optimiser was given
            self._snapshot(self.optimiser)
        self.inspections += bool(held and self.recent)
        if self.step >= self.due and (self.recent or not (held or self.parked)):
            self.due = _next(self.step, self.every, self.first)
        self.step += 1
        if self.told is not None:
            self.told(self)

    # -- gradient scalers ------------------------------------------------------------------------------

    def scaling(self, scaler: torch.amp.GradScaler, scaled: Any) -> None:
        """A GradScaler has multiplied a loss; its scale is asked for only where it is wanted."""
        self.scalers = [pair for pair in self.scalers if pair[1]() is not None]
        self.scalers += [(scaler, weakref.ref(loss)) for loss in tensors_in(scaled)]
        self.scaler = scaler

    def _scale(self, held: tuple[Inspected, ...], loss: Any) -> None:
        """Tells the passes what their loss was multiplied by: it was scaled itself, or what it was made of."""
        scaler = next(
            (s for s, scaled in self.scalers for t in tensors_in(loss) if t is scaled()), self.scaler
        )
        self.scaler = None
        scale = float(scaler.get_scale()) if held and scaler is not None else 1.0
        for one in held:
            one.scaled_by(scale)

    # -- optimisers -----------------------------------------------------------------------------------

    def stepping(self, optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """An optimiser is about to change the weights, after it has called its closure if it has one."""
        self.optimiser = optimiser
        self._guarded(lambda: self._snapshot(optimiser))

    def _snapshot(self, optimiser: torch.optim.Optimizer) -> None:
        known = {id(before.subject) for before in self.before}
        new = [one.subject for one in self.recent if id(one.subject) not in known]
        self.before.extend(Before.of(subject, optimiser) for subject in new)

    def stepped(self, optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """It has changed them."""
        self.optimiser = None
        if self.before:
            self._guarded(self._compare)
            self.before.clear()
            if not any(one.waiting for one in self.recent):
                self.settle()

    def _compare(self) -> None:
        for before in self.before:
            ratios = before.compare()
            self.optimised |= bool(ratios)
            for one in self.recent:
                if one.subject is before.subject:
                    one.updates.update(ratios)

    # -- what loggers hear ----------------------------------------------------------------------------

    def settle(self) -> None:
        """Nothing more comes for the step inspected last, once an optimiser has used its gradients."""
        if self.optimised:
            self._guarded(self._close_windows)
            self._tell()

    def _close_windows(self) -> None:
        for one in self.recent:
            if id(one.subject.model) not in self.live:  # a pass under way belongs to its window
                one.subject.close_if_full()

    def _tell(self) -> None:
        """Hands the logger what was seen; an error of the logger is the user's to see."""
        inspection = self._inspection()
        self.recent, self.optimised = (), False
        if inspection is not None and self.logger is not None:
            self.logger(inspection)

    def _inspection(self) -> Inspection | None:
        if self.logger is None or self.crash is not None:
            return None
        done = guarded(
            lambda: inspection_of(self.recent, self.subjects.values()), "", "a step could not be told"
        )
        if isinstance(done, Crash):
            self.listener.crash = done
            return None
        return done

    def tell_rest(self) -> None:
        """Hands the logger what the end of the watching has brought."""
        rest, self.rest = self.rest, None
        if rest is not None and self.logger is not None:
            self.logger(rest)

    # -- all of it ------------------------------------------------------------------------------------

    @property
    def listening(self) -> bool:
        """Whether the next step is to be inspected."""
        return self.step >= self.due and self.crash is None and not self.finished

    @property
    def abandoned(self) -> bool:
        """Whether the watching is over, or what it watches has ended without a word."""
        if self.finished:
            return True
        return self.alive is not None and threading.get_ident() == self.thread and not self.alive()

    def finish(self) -> None:
        """Nothing of the watching is left, and the last window is closed."""
        if self.finished:
            return
        self._give_up()
        self.before.clear()
        for subject in self.subjects.values():
            self._guarded(subject.close)
        self.rest, self.recent = self._inspection(), ()
        self.finished, self.alive, self.optimiser = True, None, None

    def ended(self, *, failed: bool) -> None:
        """Tells the other processes of a distributed training, without waiting for them."""
        meeting = self.meeting
        if meeting is None:
            return
        if failed:
            meeting.leave()
            return
        done = guarded(lambda: meeting.give(self._own()), "", "the figures could not be sent")
        if isinstance(done, Crash):
            self.listener.crash = self.crash or done
            meeting.leave()

    def seen(self, *, failed: bool, patience: float) -> Seen:
        """What was seen, by all processes of a distributed training together unless this one has failed."""
        own, meeting = self._own(), self.meeting
        if meeting is None or failed:
            return own
        done = guarded(lambda: seen_over(meeting.all(own, patience)), "", "the ranks could not be merged")
        return replace(own, crashes=(*own.crashes, done)) if isinstance(done, Crash) else done

    def _own(self) -> Seen:
        shares = tuple(s for subject in self.subjects.values() if (s := subject.share) is not None)
        crashes = () if self.crash is None else (self.crash,)
        if self.meeting is None:
            return Seen(shares, self.step, self.inspections, crashes, elsewhere=self.elsewhere)
        rank, world = self.meeting.rank, self.meeting.world
        alone = tuple(replace(share, ranks=(rank,)) for share in shares)
        return Seen(alone, self.step, self.inspections, crashes, (rank,), world, self.elsewhere)

    def _guarded(self, work: Callable[[], object]) -> None:
        if self.crash is None:
            with torch._C.DisableTorchFunction():  # what is done here is no call of the network's
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
    patches = _Patches(watcher)
    try:
        patches.place()
        yield
    finally:
        patches.remove()


@dataclass(slots=True)
class _Patches:
    """What is in place while a stretch is watched; calls of modules only while a step is to be inspected."""

    watcher: Watcher
    call: Callable[..., Any] = field(default_factory=lambda: nn.Module.__call__)
    of_tensor: Callable[..., Any] = field(default_factory=lambda: torch.Tensor.backward)
    of_tensors: Callable[..., Any] = field(default_factory=lambda: torch.autograd.backward)
    own_call: Callable[..., Any] = field(init=False)
    own_of_tensor: Callable[..., Any] = field(init=False)
    own_of_tensors: Callable[..., Any] = field(init=False)
    scale: Callable[..., Any] = field(default_factory=lambda: torch.amp.GradScaler.scale)
    own_scale: Callable[..., Any] = field(init=False)
    hooks: list[RemovableHandle] = field(default_factory=list)

    def __post_init__(self) -> None:
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self.over():
                return self.call(module, *args, **kwargs)
            return self.watcher.called(self.call, module, args, kwargs)

        def of_tensor(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            return self.around(self.of_tensor, tensor, args, kwargs)

        def of_tensors(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            return self.around(self.of_tensors, tensors, args, kwargs)

        def scale(scaler: torch.amp.GradScaler, outputs: Any) -> Any:
            scaled = self.scale(scaler, outputs)
            self.watcher.scaling(scaler, scaled)
            return scaled

        self.own_call, self.own_of_tensor, self.own_of_tensors = call, of_tensor, of_tensors
        self.own_scale = scale

    def place(self) -> None:
        self.hooks = [
            register_optimizer_step_pre_hook(self.watcher.stepping),
            register_optimizer_step_post_hook(self.watcher.stepped),
        ]
        torch.Tensor.backward = self.own_of_tensor  # type: ignore[method-assign]
        torch.autograd.backward = self.own_of_tensors
        torch.amp.GradScaler.scale = self.own_scale  # type: ignore[method-assign]
        self.follow()

    def around(self, backward: Callable[..., Any], loss: Any, args: Any, kwargs: Any) -> Any:
        """A backward pass, after which the next step may be inspected or not."""
        if self.over():
            return backward(loss, *args, **kwargs)
        try:
            return self.watcher.backward(backward, loss, args, kwargs)
        finally:
            self.follow()

    def over(self) -> bool:
        """Whether the watched stretch has ended without saying so; then nothing stays in place."""
        if not self.watcher.abandoned:
            return False
        self.remove()
        return True

    def follow(self) -> None:
        """Listens to calls of modules from here on, or no more."""
        if self.watcher.listening and nn.Module.__call__ is self.call:
            nn.Module.__call__ = self.own_call  # type: ignore[method-assign]
        elif not self.watcher.listening:
            self._unlisten()

    def _unlisten(self) -> None:
        if nn.Module.__call__ is self.own_call:
            nn.Module.__call__ = self.call  # type: ignore[method-assign]

    def remove(self) -> None:
        """Takes all of it away; what somebody has put on top since stays, and passes through."""
        if torch.Tensor.backward is self.own_of_tensor:
            torch.Tensor.backward = self.of_tensor  # type: ignore[method-assign]
        if torch.autograd.backward is self.own_of_tensors:
            torch.autograd.backward = self.of_tensors
        if torch.amp.GradScaler.scale is self.own_scale:
            torch.amp.GradScaler.scale = self.scale  # type: ignore[method-assign]
        for hook in self.hooks:
            hook.remove()
        self._unlisten()
        self.watcher.finish()
