"""The one error boundary: a fault of relucheck itself becomes a value, and the work goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from relucheck.net import Crash

T = TypeVar("T")


def guarded(work: Callable[[], T], path: str, doing: str) -> T | Crash:
    """The result of ``work``, or the crash that it ended in; ``doing`` names the work in the message."""
    try:
        return work()
    except Exception as error:  # any fault of ours may surface here, and it must cost one file at most
        from relucheck.net import Crash

        return Crash(path, f"{doing}: {_words(error)}", _traceback(error))


def _words(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback(error: Exception) -> str:
    import traceback

    # a RecursionError has a thousand frames; the innermost tell enough
    return "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-30))
