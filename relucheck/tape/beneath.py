"""Recording that begins and ends anywhere: at a model's call, and at ``backward()`` somewhere else.

``modes.recording`` is a with-block. A training step is none: it begins inside the user's call and
ends in another one, and between them the user may enter and leave modes of his own. So the modes are
put *beneath* all others, where no exit of another mode can take them off by mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn, overrides
from torch.nn.modules import module as module_hooks
from torch.utils import _python_dispatch as dispatch
from torch.utils.hooks import RemovableHandle

from relucheck.boundary import guarded
from relucheck.net import Crash
from relucheck.tape.aten import AtenOp
from relucheck.tape.modes import Dispatch, Functions
from relucheck.tape.recorder import Recorder
from relucheck.tape.replay import CallReplay, OperationReplay, Replay

T = TypeVar("T")

_function_modes: Callable[[], list[Any]] = overrides._get_current_function_mode_stack
_pop: Callable[[], Any] = overrides._pop_mode
_push: Callable[[Any], None] = overrides._push_mode


@dataclass(slots=True)
class Careful:
    """Stands before the recorder of the network that runs: a fault of ours must not stop a training.

    After the first fault nothing is recorded any more, and ``crash`` says what it was.
    """

    recorder: Recorder | Replay | None = None
    crash: Crash | None = None

    def _told(self, work: Callable[[Recorder | Replay], T]) -> T | None:
        recorder = self.recorder
        if recorder is None or self.crash is not None:
            return None
        done = guarded(lambda: work(recorder), "", "a training step could not be recorded")
        if isinstance(done, Crash):
            self.crash = done
            return None
        return done

    def enter(self, module: nn.Module, args: Any) -> None:
        """See ``Recorder.enter``; so are all the others."""
        self._told(lambda r: r.enter(module, args))

    def leave(self, module: nn.Module, output: Any) -> None:
        self._told(lambda r: r.leave(module, output))

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self._told(lambda r: r.begin(func, args, kwargs))

    def unfold(self, call: Any, out: Any) -> None:
        self._told(lambda r: r.unfold(call, out))

    def before(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        return self._told(lambda r: r.before(op, args, kwargs))

    def after(self, call: Any, args: Sequence[Any], out: Any) -> None:
        self._told(lambda r: r.after(call, args, out))

    def settle(self) -> None:
        self._told(lambda r: r.settle())


@dataclass(slots=True)
class Beneath:
    """The modes and hooks of one recorded step."""

    listener: Careful
    functions: Functions | None = None
    operations: Dispatch | None = None
    handles: list[RemovableHandle] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.operations is not None or self.functions is not None

    def start(self, recorder: Recorder | Replay) -> None:
        """From here on the recorder hears what it needs: operations, calls of functions, calls of modules."""
        if not self.running:
            compiled_as_written(True)
        self.listener.recorder = recorder
        if self.operations is None and not isinstance(recorder, CallReplay):
            self.operations = Dispatch(self.listener)
            _put_operations(self.operations)
        if not self.handles and isinstance(recorder, Recorder):
            self.handles = [
                module_hooks.register_module_forward_pre_hook(self.listener.enter),
                module_hooks.register_module_forward_hook(
                    lambda module, args, output: self.listener.leave(module, output), always_call=True
                ),
            ]
        if self.functions is None and not isinstance(recorder, OperationReplay):
            self.functions = Functions(self.listener)
            _put_functions(self.functions)

    def stop(self) -> None:
        """No hook and no mode is left, whatever else is on the stacks."""
        self.listener.settle()
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if self.functions is not None:
            _take_functions(self.functions)
        if self.operations is not None:
            _take_operations(self.operations)
        if self.running:
            compiled_as_written(False)
        self.functions = self.operations = self.listener.recorder = None

    @property
    def possible(self) -> bool:
        """Whether a step can be recorded here.

        Not while torch.compile or a fake device traces the code, nor where another recording than this one runs.
        """
        stack = dispatch._get_current_dispatch_mode_stack()
        busy = any(m.is_infra_mode() or (isinstance(m, Dispatch) and m is not self.operations) for m in stack)
        heard = any(isinstance(m, Functions) and m is not self.functions for m in _function_modes())
        return not (torch.compiler.is_compiling() or busy or heard)


def compiled_as_written(now: bool) -> None:
    """Lets what torch.compile made run as the user wrote it, as a compiled graph has no operations."""
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        torch.compiler.set_stance("force_eager" if now else "default")


def _put_functions(mode: Functions) -> None:
    above = [_pop() for _ in _function_modes()]
    mode.__enter__()  # type: ignore[no-untyped-call]
    for other in reversed(above):
        _push(other)


def _take_functions(mode: Functions) -> None:
    if not any(other is mode for other in _function_modes()):
        return
    above = []
    while (top := _pop()) is not mode:
        above.append(top)
    for other in reversed(above):
        _push(other)


def _put_operations(mode: Dispatch) -> None:
    above = [dispatch._pop_mode() for _ in dispatch._get_current_dispatch_mode_stack()]
    mode.__enter__()  # type: ignore[no-untyped-call]
    for other in reversed(above):
        dispatch._push_mode(other)


def _take_operations(mode: Dispatch) -> None:
    stack = dispatch._get_current_dispatch_mode_stack()
    if not any(other is mode for other in stack):
        return
    above = []
    while stack and stack[-1] is not mode:
        above.append(dispatch._pop_mode())
        stack.pop()
    mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
    for other in reversed(above):
        dispatch._push_mode(other)
