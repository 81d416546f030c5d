"""Hugging Face transformers: a callback that watches ``Trainer.train``.

```python
from relucheck.integrations.transformers import ReluCheckCallback

trainer = Trainer(model, args, train_dataset=data, callbacks=[ReluCheckCallback(every=50)])
```
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from types import FrameType
from typing import Any

if find_spec("transformers") is None:
    raise ImportError(
        'relucheck.integrations.transformers needs transformers: pip install "transformers[torch]"'
    )

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from relucheck.integrations._training import Options, Training
from relucheck.timeline import Inspection
from relucheck.training import TrainingReport

_SUMMARY = "train_runtime"
"""What the trainer logs last of all, before the reporters close."""


class ReluCheckCallback(TrainerCallback):  # type: ignore[misc]
    """Watches the trainer's model from the start of ``train()`` to its end.

    ``every``: one backward pass in that many is inspected, ``first``: and so many at the start.
    ``select`` and ``ignore`` choose rules by code or family. ``fail_on`` is the severity from which a
    finding raises AssertionError at the end of the training (``never``: none does). ``log``: the
    figures of inspected steps go to the trainer's reporters and its ``state.log_history``, as
    ``relucheck/<layer>/<figure>``. ``show``: the report is printed at the end.
    In a training of several processes each measures its own batches; the report is that of all of them, and the
    main one prints it and logs its own figures. Raises ValueError for options that cannot be followed.

    No event tells a callback of an exception in ``train()``, so the trainer's ``training_step`` is
    guarded while it trains. After an exception elsewhere (in another callback, in loading data) the
    watching ends at the next backward pass or call of a network, or when ``report`` is read; as a
    with-block around ``train()``, the callback ends it at once.
    """

    def __init__(
        self,
        *,
        every: int = 50,
        first: int = 5,
        select: str | Iterable[str] = (),
        ignore: str | Iterable[str] = (),
        fail_on: str = "never",
        log: bool = True,
        show: bool = True,
    ) -> None:
        self._training = Training(
            Options.of(
                every=every, first=first, select=select, ignore=ignore, fail_on=fail_on, log=log, show=show
            )
        )
        self._run: _Run | None = None
        self._heard: list[Inspection] = []

    @property
    def report(self) -> TrainingReport:
        """What the latest training showed; raises RuntimeError before its end."""
        if self._run is not None and not self._run.runs():
            self._run.release()
            self._training.end(completed=False)
        return self._training.report

    def __enter__(self) -> ReluCheckCallback:
        return self

    def __exit__(self, *_: object) -> None:
        self._interrupted()

    def _interrupted(self) -> None:
        """The training has not come to its end."""
        if self._run is not None:
            self._run.release()
        if self._training.running:
            self._training.end(completed=False)
            self._training.show()

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Begins to watch, anew where the trainer tries again with a smaller batch."""
        self._interrupted()
        self._run, self._heard = _Run.now(), []
        alive = self._run.runs if self._run is not None else None
        self._training.begin(model, self._heard.append, alive, main=state.is_world_process_zero)
        if self._run is not None:
            self._run.guard(self._interrupted)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Hands on what the step has shown."""
        self._training.settle()
        self._hand_on(args, state, control, others)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        """Ends the watching with the trainer's last log, since at the next event its reporters are closed."""
        if _SUMMARY in (logs or ()):
            self._training.end(completed=True)
            self._hand_on(args, state, control, others)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Prints the report and judges it."""
        if self._training.watch is not None:
            self._training.end(completed=True)
            if self._run is not None:
                self._run.release()
            self._run = None
            self._training.show()
            self._training.judge()

    def _hand_on(self, args: Any, state: Any, control: Any, others: dict[str, Any]) -> None:
        """To the history and to every reporter, but not to what prints each log: there are too many figures."""
        if not state.is_world_process_zero:
            self._heard.clear()
        while self._heard:
            logs = {**self._heard.pop(0).figures, "epoch": state.epoch}
            state.log_history.append({**logs, "step": state.global_step})
            for reporter in self._run.reporters() if self._run is not None else ():
                if reporter is not self:
                    reporter.on_log(args, state, control, logs=dict(logs), **others)


@dataclass(slots=True)
class _Run:
    """One call of ``Trainer.train`` that runs now: no event names the trainer, but the stack does."""

    trainer: Any
    frame: FrameType | None
    before: Callable[..., Any] | None = None
    guarded: Callable[..., Any] | None = None

    @classmethod
    def now(cls) -> _Run | None:
        """The call that the caller is inside of, None where no trainer runs."""
        trainer = next((own for frame in _frames() if isinstance(own := _self(frame), Trainer)), None)
        if trainer is None:
            return None
        return cls(trainer, [frame for frame in _frames() if _self(frame) is trainer][-1])

    def runs(self) -> bool:
        """Whether the call has not ended, in whatever way; asked by the thread that trains."""
        if self.frame is not None and not any(frame is self.frame for frame in _frames()):
            self.frame = None  # it holds on to the model and the data
        return self.frame is not None

    def guard(self, interrupted: Callable[[], None]) -> None:
        """From here on an exception that leaves a training step is told; only there are passes recorded."""
        original = self.trainer.training_step
        self.before = vars(self.trainer).get("training_step")

        def training_step(*args: Any, **kwargs: Any) -> Any:
            with _Told(interrupted):
                return original(*args, **kwargs)

        self.guarded = self.trainer.training_step = training_step

    def release(self) -> None:
        """The trainer's step is its own again, of its class or of the user's."""
        if self.guarded is not None and vars(self.trainer).get("training_step") is self.guarded:
            del self.trainer.training_step
            if self.before is not None:
                self.trainer.training_step = self.before
        self.guarded = None

    def reporters(self) -> Iterator[Any]:
        """The trainer's callbacks but those that print."""
        for callback in self.trainer.callback_handler.callbacks:
            if not isinstance(callback, PrinterCallback | ProgressCallback):
                yield callback


@dataclass(frozen=True, slots=True)
class _Told:
    """Tells of an exception, Ctrl-C included, and lets it pass."""

    interrupted: Callable[[], None]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            self.interrupted()


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _self(frame: FrameType) -> object:
    """The object whose method a frame runs."""
    code = frame.f_code
    first = code.co_varnames[0] if code.co_argcount else ""
    return frame.f_locals.get("self") if first == "self" else None
