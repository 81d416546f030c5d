"""A line on a terminal that tells that a long run is under way, and for how long."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TextIO

PATIENCE = 1.0
"""Seconds that a run may take before anything is said about it."""

_CLEAR = "\r\x1b[K"


@contextmanager
def progress(what: str, stream: TextIO, patience: float = PATIENCE) -> Iterator[None]:
    """Show ``what`` and the seconds so far, from ``patience`` seconds on; nothing where nobody watches.

    The line is taken away again at the end, whatever ends the run.
    """
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    line = _Line(what, stream)
    try:
        with _each_second(line.show, patience):
            yield
    finally:
        line.clear()


@dataclass(slots=True)
class _Line:
    what: str
    stream: TextIO
    start: float = field(default_factory=time.monotonic)
    shown: bool = False

    def show(self) -> None:
        self.shown = True
        self.stream.write(f"{_CLEAR}{self.what} ... {time.monotonic() - self.start:.0f} s")
        self.stream.flush()

    def clear(self) -> None:
        if self.shown:
            self.stream.write(_CLEAR)
            self.stream.flush()


def _each_second(work: Callable[[], None], patience: float) -> AbstractContextManager[None]:
    """Do some work every second: by the alarm clock where there is one, for then processes can be forked meanwhile."""
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _by_alarm(work, patience)
    return _by_thread(work, patience)


@contextmanager
def _by_alarm(work: Callable[[], None], patience: float) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, lambda *_: work())
    signal.setitimer(signal.ITIMER_REAL, patience, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _by_thread(work: Callable[[], None], patience: float) -> Iterator[None]:
    done = threading.Event()

    def tell() -> None:
        wait = patience
        while not done.wait(wait):
            work()
            wait = 1.0

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
