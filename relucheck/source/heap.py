"""Writes that can be taken back, so that the branches of an ``if`` start from one state and join."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Store = dict[Any, Any]
Change = tuple[Store, Any, Any]


class Missing:
    """The value of a name that is not set."""


MISSING = Missing()


class Heap:
    """All state of a run. Every write to a dict of the interpreter goes through ``store``."""

    __slots__ = ("_journals",)

    def __init__(self) -> None:
        self._journals: list[dict[tuple[int, Any], Change]] = []

    def store(self, target: Store, key: Any, value: Any) -> None:
        """Set ``target[key]``, remembering what was there if a branch is open."""
        if self._journals and getattr(target, "born", -1) < len(self._journals):
            self._journals[-1].setdefault((id(target), key), (target, key, target.get(key, MISSING)))
        target[key] = value

    @property
    def level(self) -> int:
        """The number of open branches."""
        return len(self._journals)

    def fork(self, run: Callable[[], str]) -> tuple[str, dict[tuple[int, Any], Change]]:
        """Run one alternative, take its writes back, and return how it ended and what it wrote."""
        self._journals.append({})
        try:
            flow = run()
        finally:
            journal = self._journals.pop()
            written = {k: (t, key, t.get(key, MISSING)) for k, (t, key, _) in journal.items()}
            for target, key, old in journal.values():
                _put(target, key, old)
        return flow, written

    def suspend(self) -> list[dict[tuple[int, Any], Change]]:
        """Close all branches for a while: what follows is not taken back."""
        journals, self._journals = self._journals, []
        return journals

    def resume(self, journals: list[dict[tuple[int, Any], Change]]) -> None:
        """Go on with the branches that ``suspend`` closed."""
        self._journals = journals

    def put(self, target: Store, key: Any, value: Any) -> None:
        """Like ``store``; MISSING removes the key."""
        if value is not MISSING:
            self.store(target, key, value)


def _put(target: Store, key: Any, value: Any) -> None:
    if value is MISSING:
        target.pop(key, None)
    else:
        target[key] = value
