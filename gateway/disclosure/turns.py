"""One at a time for each key, within a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final
from weakref import WeakValueDictionary


@final
class Turns:
    """Twins of one request take turns, and the later ones find what the first has done.

    A lock lives for as long as somebody holds it or waits for it: keys leave nothing behind.
    """

    def __init__(self) -> None:
        self._locks: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Waits until nobody else has this key."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield
