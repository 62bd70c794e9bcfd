"""Bells within one process: whoever waits for a mailbox hears at once that something happened to it.

A bell says no more than "look again". Nothing rests on it: what another process did rings no bell
here, and whoever waits looks by himself from time to time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

from storage.identity import AccountId


@final
class Bells:
    """One for each process. Not thread-safe: it belongs to the event loop."""

    def __init__(self) -> None:
        self._listening: Final[dict[AccountId, set[asyncio.Event]]] = {}

    def ring(self, account: AccountId, *, but: asyncio.Event | None = None) -> None:
        """Something happened to the mailbox. `but`: whoever did it himself knows already."""
        for event in self._listening.get(account, ()):
            if event is not but:
                event.set()

    @contextmanager
    def listening(self, account: AccountId) -> Iterator[asyncio.Event]:
        """An event that is set at each ring; whoever listens clears it before he looks."""
        event = asyncio.Event()
        events = self._listening.setdefault(account, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._listening.pop(account, None)
