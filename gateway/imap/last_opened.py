"""The message that a client reads piece by piece (`BODY.PEEK[2]<65536.65536>`), fetched and opened once.

A sealed message opens as a whole or not at all: without this each piece would cost a GET of all of it, and
Thunderbird asks for 25 MB in 400 pieces.
"""

from __future__ import annotations

import asyncio
from typing import Final, final

from gateway.imap.sections import Cut
from gateway.ingress.memory import Memory, MemoryFull, Receiving

# What is smaller is fetched in the time that its piece takes to be told.
_WORTH_KEEPING: Final = 64 * 1024
# After its last use: longer than a phone on a thin line takes for a piece, and no longer than that.
_KEPT_FOR: Final = 30.0  # seconds


@final
class LastOpened:
    """One session's. What it keeps is charged to the process's bound; where there is no room, nothing is."""

    def __init__(self, memory: Memory) -> None:
        self._held: Final = Receiving(memory)
        self._kept: tuple[object, int, Cut] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, mailbox: object, uid: int, cut: Cut) -> None:
        """In place of what was kept before. `mailbox` is whatever is the same for as long as it is open."""
        self.let_go()
        if len(cut.octets) < _WORTH_KEEPING:
            return
        try:
            self._held.hold(len(cut.octets))
        except MemoryFull:
            return
        self._kept = mailbox, uid, cut
        self._wait()

    def of(self, mailbox: object, uid: int) -> Cut | None:
        if self._kept is None or self._kept[0] is not mailbox or self._kept[1] != uid:
            return None
        self._wait()
        return self._kept[2]

    def let_go(self) -> None:
        self._kept = None
        self._held.release()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_KEPT_FOR, self.let_go)
