"""Counts of many things in little memory, which the workers of one parent share.

What is counted is named by a keyed digest that this tally alone makes: no address is kept, and nobody who
sends some can choose which of them fall together. Two rows of counters, each thing in one of either: its
count is the lower of the two (a count-min sketch), so that it is never less than it should be, and more only
where others share both of its places. `marks` are the last things that were marked, one in each place.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self, final

_SLOTS: Final = 1 << 15  # in a row
_COUNTERS: Final = 2 * _SLOTS
_SECRET: Final = 32  # octets
_HEAD: Final = _SECRET + 8  # the secret, and the window that is counted in
_SIZE: Final = _HEAD + 4 * _COUNTERS + 8 * _SLOTS


@final
class Tally:
    """Each method is one step for whoever shares it."""

    def __init__(self, area: mmap.mmap, lock: int | None) -> None:
        """`lock`: the descriptor of the file that others have open too."""
        self._lock: Final = lock
        whole = memoryview(area)
        self._secret: Final = whole[:_SECRET]
        self._window: Final = whole[_SECRET:_HEAD].cast("Q")
        self._counters: Final = whole[_HEAD : _HEAD + 4 * _COUNTERS].cast("I")
        self._marks: Final = whole[_HEAD + 4 * _COUNTERS :].cast("Q")
        with self._alone():
            if not any(self._secret):
                self._secret[:] = os.urandom(_SECRET)

    @classmethod
    def own(cls) -> Self:
        """One process's."""
        return cls(mmap.mmap(-1, _SIZE), None)

    @classmethod
    def shared(cls, path: Path) -> Self:
        """The same for all who name this file, which only they may read: it goes with its directory."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(descriptor, _SIZE)
        return cls(mmap.mmap(descriptor, _SIZE), descriptor)

    def count(self, bounds: dict[str, int], window: int) -> bool:
        """Counts one more of each thing, unless there are as many of one as its bound in this window: then
        none is counted, and the answer is no."""
        with self._alone():
            if self._window[0] != window:
                self._window[0] = window
                self._counters[:] = memoryview(bytes(4 * _COUNTERS)).cast("I")
            slots = {thing: self._slots(thing) for thing in bounds}
            if any(min(self._counters[at] for at in slots[thing]) >= most for thing, most in bounds.items()):
                return False
            for at in (at for pair in slots.values() for at in pair):
                self._counters[at] += 1
            return True

    def take_back(self, *things: str) -> None:
        """One less of each."""
        with self._alone():
            for at in (at for thing in things for at in self._slots(thing)):
                self._counters[at] = max(0, self._counters[at] - 1)

    def mark(self, thing: str) -> None:
        """It stays marked until another comes to its place."""
        digest = self._digest(thing)
        with self._alone():
            self._marks[digest % _SLOTS] = digest

    def is_marked(self, thing: str) -> bool:
        digest = self._digest(thing)
        with self._alone():
            return self._marks[digest % _SLOTS] == digest

    def _slots(self, thing: str) -> tuple[int, int]:
        digest = self._digest(thing)
        return digest % _SLOTS, _SLOTS + (digest >> 32) % _SLOTS

    def _digest(self, thing: str) -> int:
        keyed = hashlib.blake2b(thing.encode(), digest_size=8, key=bytes(self._secret))
        return int.from_bytes(keyed.digest(), "little") or 1  # a place that nothing has come to holds 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """For some microseconds; the lock of a worker that dies is free."""
        if self._lock is None:
            yield
            return
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
