"""Where the processes of a distributed training exchange what they saw, once, when a watch has ended.

They meet at the key-value store behind ``torch.distributed``'s default group, not in a collective:
a collective hangs where one process does not come, and it would be one more among the user's. Here
every process lays down what it has, or that it has failed, and goes on; who wants the report of all
collects it, for a limited time. The store outlives ``destroy_process_group``, with which scripts end.
"""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import distributed

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds to wait for processes that have joined a watch and not yet ended it."""

GRACE = 5.0
"""Seconds to wait for those that have never joined one: they do not watch."""

_PART = 4 * 2**20
"""Bytes of one entry; TCPStore takes no more than 8 MiB."""

_SOONEST, _LATEST = 0.005, 0.2  # seconds between two looks at the store


def in_group() -> bool:
    """Whether this process is one of several of a distributed training, at this moment."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@dataclass(slots=True)
class Meeting:
    """One watch, as seen by all processes that take part: the n-th that each has begun at one place.

    A watch that another process has ended without this one is over, and its number is passed over.
    """

    store: Any
    rank: int
    world: int
    name: str
    full: bool = False

    @classmethod
    def joined(cls, place: str) -> Meeting | None:
        """Joins the others who watch at a place in the code; None where there are none, or no store."""
        if not in_group():
            return None
        store = distributed.distributed_c10d._get_default_store()
        if store is None:  # as with MPI
            return None
        rank, world = distributed.get_rank(), distributed.get_world_size()
        try:
            one = cls(store, rank, world, _next(store, place, rank))
            while one._is_set([one._key("over", 0)]):
                one.name = _next(store, place, rank)
            store.set(one._key("here", rank), "1")
        except distributed.DistError:
            return None
        return one

    @property
    def present(self) -> int:
        """The number of processes that are known to watch: all of them have joined, or this one."""
        with suppress(distributed.DistError):
            self.full = self.full or self._is_set(self._key("here", rank) for rank in range(self.world))
        return self.world if self.full else 1

    def leave(self) -> None:
        """Nobody shall wait for this process, which has failed."""
        with suppress(distributed.DistError):
            self.store.set(self._key("gone", self.rank), "1")

    def give(self, own: object) -> None:
        """Lays down what this process has, for whoever asks; waits for nobody."""
        with suppress(distributed.DistError):
            self._put(self._key("own", self.rank), own)

    def all(self, own: T, patience: float) -> dict[int, T]:
        """What the processes have given, by rank; those that do not come in time are left out.

        Every process may ask, or only one. ``own`` is what this one has.
        """
        found, now = {self.rank: own}, time.monotonic()
        limits = now + min(GRACE, patience), now + patience
        with suppress(distributed.DistError):  # the process that keeps the store may have ended
            for rank in range(self.world):
                one = None if rank == self.rank else self._awaited(rank, *limits)
                if one is not None:
                    found[rank] = one
            self.store.set(self._key("over", 0), "1")
        return dict(sorted(found.items()))

    def _awaited(self, rank: int, joined_by: float, given_by: float) -> Any:
        """What a process has given; None where it has failed or does not come in time."""
        key = self._key("own", rank)

        def here() -> bool:
            return self._is_set([self._key("here", rank)])

        def said() -> bool:
            return self._is_set([key]) or self._is_set([self._key("gone", rank)])

        if not _wait(lambda: here() or said(), joined_by) or not _wait(said, given_by):
            return None
        return self._get(key) if self._is_set([key]) else None

    def _key(self, word: str, rank: int) -> str:
        return f"{self.name}/{word}/{rank}"

    def _is_set(self, keys: Iterable[str]) -> bool:
        keys = list(keys)
        return not keys or bool(self.store.check(keys))

    def _put(self, key: str, value: object) -> None:
        data = zlib.compress(pickle.dumps(value), 1)
        parts = [data[start : start + _PART] for start in range(0, len(data), _PART)]
        for index, part in enumerate(parts):
            self.store.set(f"{key}/{index}", part)
        self.store.set(key, str(len(parts)))  # last, as it says that all is there

    def _get(self, key: str) -> Any:
        count = int(self.store.get(key))
        return pickle.loads(zlib.decompress(b"".join(self.store.get(f"{key}/{i}") for i in range(count))))


def _wait(met: Callable[[], bool], end: float) -> bool:
    """Whether something is so, at a time of the monotonic clock at the latest."""
    pause = _SOONEST
    while not met():
        if time.monotonic() >= end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LATEST)
    return True


def _next(store: Any, place: str, rank: int) -> str:
    """The name of the next watch that a process begins at a place; the store counts them."""
    number = store.add(f"relucheck/{place}/begun/{rank}", 1)
    return f"relucheck/{place}/{number}"
