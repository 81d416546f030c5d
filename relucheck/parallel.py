"""Several pieces of work at once, each in a process that is forked from this one.

A forked process has what this one has read already, so only answers travel. Where there is no fork
(Windows), or other threads run, which a fork would cut in the middle, all work is done here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_once(tasks: Sequence[Callable[[], T]]) -> list[T | None]:
    """What each task returns, in their order; None for one whose process was killed.

    The first task is done by this process. A task must not raise: its result is a value.
    """
    if len(tasks) < 2 or not _can_fork():
        return [task() for task in tasks]
    with ExitStack() as ending:
        answers = [_started(task, ending) for task in tasks[1:]]
        first = tasks[0]()
        return [first, *(_received(answer) for answer in answers)]


def _can_fork() -> bool:
    return hasattr(os, "fork") and threading.active_count() == 1


def _started(task: Callable[[], T], ending: ExitStack) -> Connection:
    """The end of a pipe from which the answer of a new process will come."""
    import multiprocessing  # takes a tenth of the start of a lint, and most lints need one process

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def work() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
        theirs.send(task())

    process = context.Process(target=work, daemon=True)
    process.start()
    theirs.close()
    ending.callback(process.join)
    ending.callback(process.terminate)
    ending.callback(ours.close)
    return ours


def _received(answer: Connection) -> T | None:
    try:
        return answer.recv()  # type: ignore[no-any-return]
    except EOFError:
        return None
