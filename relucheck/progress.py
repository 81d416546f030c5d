"""A line on a terminal that tells that a long run is under way, and for how long."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
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
    done = Event()
    teller = Thread(target=_tell, args=(what, stream, patience, done), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell(what: str, stream: TextIO, patience: float, done: Event) -> None:
    """Write the line once a second until the run is done."""
    start = time.monotonic()
    shown = False
    while not done.wait(1.0 if shown else patience):
        stream.write(f"{_CLEAR}{what} ... {time.monotonic() - start:.0f} s")
        stream.flush()
        shown = True
    if shown:
        stream.write(_CLEAR)
        stream.flush()
