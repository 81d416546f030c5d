"""A pass of relucheck's own in a distributed training, in which no other process takes part.

What a model's forward does beside computing (gathering features of all processes, synchronised BatchNorm) would
wait for processes that do not come. Every collective of ``torch.distributed`` is an operation of the dispatcher, so it
is seen before it is run, and the pass is given up there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from relucheck.tape.meeting import in_group

_COLLECTIVES = frozenset({"c10d", "_c10d_functional", "_c10d_functional_autograd"})


class CommunicatesError(Exception):
    """The model was about to wait for other processes."""


class _Alone(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Stops at the first collective, before it begins."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not through the guard against torch.compile, which imports the compiler."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in _COLLECTIVES:
            raise CommunicatesError(f"{func} needs the other processes")
        return func(*args, **(kwargs or {}))


@contextmanager
def alone() -> Iterator[None]:
    """Raises CommunicatesError where what runs inside would wait for the other processes of a training."""
    if not in_group():
        yield
        return
    with _Alone():  # type: ignore[no-untyped-call]
        yield
