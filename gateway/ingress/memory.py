"""How much mail may be in flight at once, over all sessions of a process.

Half of the bound is for messages that are coming in: a session whose message would go past it
is turned away, so that the others can finish. The other half is for the working copies of
messages that are being stored: there a copy waits for its turn, since those before it end soon.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

from gateway.ingress.limits import COPIES_WHILE_STORING, Limits

# A bytearray that grows takes an eighth more than it holds.
_GROWTH: Final = 8


class MemoryFull(Exception):
    """The message would take the process past its bound."""


@final
class Memory:
    """The bound of one process. Not thread-safe: it belongs to the event loop."""

    def __init__(self, limits: Limits) -> None:
        self._receiving_bound: Final = limits.memory_for_mail // 2
        self._storing_bound: Final = limits.memory_for_mail - self._receiving_bound
        self._receiving = 0
        self._storing = 0
        self._waiting: Final[deque[tuple[int, asyncio.Future[None]]]] = deque()

    @property
    def in_flight(self) -> int:
        """Octets charged now."""
        return self._receiving + self._storing

    def has_room_for(self, octets: int) -> bool:
        """Whether a message of that size could come in now."""
        return self._receiving + octets + octets // _GROWTH <= self._receiving_bound

    def charge(self, octets: int) -> None:
        """For `Receiving`. Raises MemoryFull, and then has charged nothing."""
        if self._receiving + octets > self._receiving_bound:
            raise MemoryFull
        self._receiving += octets

    @asynccontextmanager
    async def storing(self, octets: int) -> AsyncIterator[None]:
        """The working copies of one message of that size, in their turn: first come, first served."""
        copies = octets * COPIES_WHILE_STORING
        if self._waiting or self._storing + copies > self._storing_bound:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((copies, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give_back(copies)
                raise
        else:
            self._storing += copies
        try:
            yield
        finally:
            self._give_back(copies)

    def _give_back(self, copies: int) -> None:
        self._storing -= copies
        while self._waiting:
            needed, turn = self._waiting[0]
            if turn.done():  # given up
                self._waiting.popleft()
            elif self._storing + needed <= self._storing_bound:
                self._waiting.popleft()
                self._storing += needed
                turn.set_result(None)
            else:
                break


@final
class Receiving:
    """What one session holds of the bound for the message that is coming in."""

    def __init__(self, memory: Memory) -> None:
        self._memory: Final = memory
        self._held = 0

    def hold(self, octets: int) -> None:
        """The message now takes `octets`. Raises MemoryFull, and then holds what it held before."""
        octets += octets // _GROWTH
        self._memory.charge(octets - self._held)
        self._held = octets

    def release(self) -> None:
        self.hold(0)
