"""Writes that can be taken back, so that the branches of an ``if`` start from one state and join."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relucheck.source.values import State

Store = dict[Any, Any]
Change = tuple[Store, Any, Any]


class Missing:
    """The value of a name that is not set."""


MISSING = Missing()


Journal = dict[tuple[int, Any], Change]


class Heap:
    """All state of a run. Every write to a dict of the interpreter goes through ``store``."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: list[tuple[int, Journal]] = []

    def store(self, target: Store, key: Any, value: Any) -> None:
        """Set ``target[key]``, remembering what was there if a branch is open that it existed before."""
        if self._open:
            since, journal = self._open[-1]
            if getattr(target, "serial", 0) < since:
                journal.setdefault((id(target), key), (target, key, target.get(key, MISSING)))
        target[key] = value

    def fork(self, run: Callable[[], str]) -> tuple[str, Journal]:
        """Run one alternative, take its writes back, and return how it ended and what it wrote."""
        self._open.append((State().serial, {}))
        try:
            flow = run()
        finally:
            _, journal = self._open.pop()
            written = {k: (t, key, t.get(key, MISSING)) for k, (t, key, _) in journal.items()}
            for target, key, old in journal.values():
                _put(target, key, old)
        return flow, written

    def suspend(self) -> list[tuple[int, Journal]]:
        """Close all branches for a while: what follows is not taken back."""
        journals, self._open = self._open, []
        return journals

    def resume(self, journals: list[tuple[int, Journal]]) -> None:
        """Go on with the branches that ``suspend`` closed."""
        self._open = journals

    def put(self, target: Store, key: Any, value: Any) -> None:
        """Like ``store``; MISSING removes the key."""
        if value is not MISSING:
            self.store(target, key, value)


def _put(target: Store, key: Any, value: Any) -> None:
    if value is MISSING:
        target.pop(key, None)
    else:
        target[key] = value
