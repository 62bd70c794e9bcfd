"""IDLE (RFC 2177): a client that waits hears of what happens, until it says DONE."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from gateway.imap import replies as say
from gateway.imap.conversation import Conversation
from gateway.imap.replies import Refused
from gateway.ingress.wire import Disconnected, Stopping, TimedOut
from storage.errors import Unavailable

# RFC 2177 3: a server may log out a client that idles for too long, and clients begin anew every 29 minutes.
_LONGEST: Final = 31 * 60.0


async def idle(conversation: Conversation, bell: asyncio.Event, look: Callable[[], Awaitable[None]]) -> None:
    """Until DONE: `look` tells what is new, whenever the bell rings and once in every poll interval.

    Raises Refused for anything but DONE, and what `look` and `Wire.more` raise.
    """
    conversation.say(b"+ idling\r\n")
    await look()
    await conversation.flush()
    line = asyncio.create_task(conversation.reader.answer(_LONGEST))
    try:
        while not await _rings_or_ends(line, bell, conversation.commons.poll_seconds):
            bell.clear()
            # A region that is down for a while is no reason to end an IDLE: the next look will tell.
            with suppress(Unavailable):
                await look()
            await conversation.flush()
        said = await line
    finally:
        if not line.done():
            line.cancel()
            with suppress(asyncio.CancelledError, Disconnected, TimedOut, Stopping):
                await line
    if said.upper() != b"DONE":
        raise Refused(say.bad("IDLE ends with DONE (RFC 2177 3)"))


async def _rings_or_ends(line: asyncio.Task[bytes], bell: asyncio.Event, seconds: float) -> bool:
    """Waits for the client's line, for the bell, or for so many seconds. True when the line has come."""
    ring = asyncio.create_task(bell.wait())
    try:
        await asyncio.wait({line, ring}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ring.cancel()
    return line.done()
