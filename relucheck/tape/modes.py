"""One pass, recorded as it runs: every operation with its exact tensors, whatever its spelling.

Three things are watched at once, all from outside the model, so that it is never touched:

- a ``TorchDispatchMode`` sees every ``aten`` operation with the tensors that it reads and makes, be
  it called as a module, a function, a method, inside ``nn.RNN`` or with gradients off. It is the
  truth about tensors: ``F.relu``, ``x.relu_()`` and ``clamp(min=0)`` look alike, the mask of
  ``x * (x > 0)`` is there (an autograd graph does not hold it), and a checkpointed block is seen once,
  since its recomputation happens in backward, outside the mode;
- a ``TorchFunctionMode`` sees how the user's call is spelled, and folds what one call decomposes
  into (cross_entropy = log_softmax and nll_loss, dropout = noise and product) into one step;
- global module hooks give the layer that runs.

Autograd's own graph supplies only what it alone knows: the gradients (``gradients.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from relucheck.tape.aten import SKIPPED, AtenOp, aten_op
from relucheck.tape.replay import CallReplay, Replay


class Listener(Protocol):
    """What the modes and hooks tell of a pass: a ``Recorder``, or something that stands before one."""

    def enter(self, module: nn.Module, args: Any) -> None:
        """A module's forward begins."""

    def leave(self, module: nn.Module, output: Any) -> None:
        """A module's forward has ended."""

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A function of torch is called; what this returns, ``unfold`` gets."""

    def unfold(self, call: Any, out: Any) -> None:
        """The function has returned."""

    def before(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        """An operation is about to run."""

    def after(self, call: Any, args: Sequence[Any], out: Any) -> None:
        """The operation that ``before`` read has run."""

    def settle(self) -> None:
        """Autograd has finished the operation before."""


class Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands every aten call to the recorder, before and after it runs."""

    def __init__(self, recorder: Listener) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not through the guard against torch.compile: it imports the compiler and costs time at every call."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = aten_op(func)
        if op.name in SKIPPED:
            self.recorder.settle()
            return func(*args, **kwargs)
        call = self.recorder.before(op, args, kwargs)
        out = func(*args, **kwargs)
        if call is not None:
            self.recorder.after(call, args, out)
        return out


class Functions(TorchFunctionMode):
    """Hands every call of a torch function to the recorder, which folds what it decomposes into."""

    def __init__(self, recorder: Listener) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = self.recorder.begin(func, args, kwargs)
        out = func(*args, **kwargs)
        self.recorder.unfold(call, out)
        return out


@contextmanager
def following(replay: Replay) -> Iterator[None]:
    """What runs inside is heard as far as a replay needs it, but not by which module it was called."""
    with Functions(replay) if isinstance(replay, CallReplay) else Dispatch(replay):
        yield


@contextmanager
def recording(recorder: Listener) -> Iterator[None]:
    """Everything that runs inside is recorded; afterwards no hook and no mode is left."""
    handles = (
        module_hooks.register_module_forward_pre_hook(recorder.enter),
        module_hooks.register_module_forward_hook(
            lambda module, args, output: recorder.leave(module, output), always_call=True
        ),
    )
    try:
        with Functions(recorder), Dispatch(recorder):
            yield
        recorder.settle()
    finally:
        for handle in handles:
            handle.remove()
