"""One connection: octets in under a deadline, replies out, nothing read past what was asked for.

The session runs as one task and asks for more octets when it needs them; a reply is written
together with its neighbours, when the session has to wait (RFC 2920 3.2). A peer that is gone is
noticed when the session next asks: losing it never cancels what the session is doing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final, cast, final

from gateway.ingress.pump import TlsPump

# Octets taken from the socket at a time. While a session waits for a command, little more than a
# command is let in: what is read but not yet charged to the memory bound stays small.
COMMAND_BLOCK: Final = 4_096
MESSAGE_BLOCK: Final = 65_536
_LINGER: Final = 10.0  # seconds


class Disconnected(Exception):
    """The peer is gone."""


class TimedOut(Exception):
    """The peer sent nothing, or took nothing, for too long."""


class Stopping(Exception):
    """The server stops, and this session has to end. `idle`: it was waiting for a command."""

    def __init__(self, *, idle: bool) -> None:
        super().__init__()
        self.idle: Final = idle


@final
class Wire(asyncio.BufferedProtocol):
    """A connection as the session sees it. `buffer` holds what has come and is not yet used.

    `landing` (MESSAGE_BLOCK octets) is where the event loop puts what it reads. All connections
    of a process share one: the loop fills it and calls `buffer_updated` in the same step.
    """

    _transport: asyncio.Transport  # from `connection_made` on, which is before anybody is told of the wire

    def __init__(self, run: Callable[[Wire], Coroutine[None, None, None]], landing: memoryview) -> None:
        self.buffer: Final = bytearray()
        self.task: asyncio.Task[None] | None = None
        self.gone = False  # no reply can reach the peer any more
        self.ended = False  # the peer will send nothing more, and may still be listening
        self._stopping = False
        self._stopping_at_once = False
        self._run: Final = run
        self._landing: Final = landing
        self._loop: Final = asyncio.get_running_loop()
        self._tls: TlsPump | None = None
        self._out: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._idle = False  # the waiter waits for a command, not for the rest of something
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._block = COMMAND_BLOCK
        self._reading = True
        self._full = False  # the peer takes less than we have for it
        self._writable = asyncio.Event()  # not full, or not to be waited for
        self._writable.set()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, where there is one."""
        return self._tls.session if self._tls is not None else None

    @property
    def has_unread(self) -> bool:
        """Whether octets have come that nobody has asked for."""
        return bool(self.buffer) or not self._reading

    @property
    def peername(self) -> object:
        """What the socket calls the peer."""
        return self._transport.get_extra_info("peername")

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.task = self._loop.create_task(self._run(self))

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._landing[: self._block]

    def buffer_updated(self, nbytes: int) -> None:
        octets = self._landing[:nbytes]
        if self._tls is None:
            self.buffer.extend(octets)
        else:
            self._tls.receive(octets)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        else:
            # The session is busy: what it has not asked for stays in the kernel.
            self._reading = False
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        # A peer that half-closes after its last command is still owed the replies.
        self.ended = True
        self._wake(Disconnected())
        return True

    def connection_lost(self, _reason: Exception | None) -> None:
        self.gone = True
        self._full = False
        self._writable.set()
        self._wake(Disconnected())
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._full = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self._full = False
        self._writable.set()

    # -- what the session calls

    def now(self) -> float:
        """The loop's time, which `until` is of."""
        return self._loop.time()

    async def more(
        self, seconds: float, *, until: float | None = None, idle: bool = False, block: int = COMMAND_BLOCK
    ) -> None:
        """Writes what is due, then waits until `buffer` has grown, by about `block` octets.

        Waits `seconds` at most, and not past `until` (the loop's time).
        Raises Disconnected, TimedOut, and, where the session is `idle`, Stopping.
        """
        if self._out:
            self._hand_on()
        if self._full:
            await self._until_taken(seconds)
        if self._tls is None:
            return await self._receive(seconds, until, block, idle=idle)
        try:
            while not self._tls.decrypt(self.buffer):
                self._send(self._tls.due())
                await self._receive(seconds, until, block, idle=idle)
        except ssl.SSLError:
            self.ended = True
            raise Disconnected from None

    def write(self, data: bytes) -> None:
        """To be sent with the next `more` or `flush`."""
        self._out.append(data)

    async def flush(self, seconds: float) -> None:
        """Hands on what is due. A peer that takes no replies is TimedOut: it fills no memory of ours.

        Raises Stopping for such a peer when the server stops: what is due to it has been handed on.
        """
        if self._out:
            self._hand_on()
        if self._full:
            await self._until_taken(seconds)

    async def start_tls(self, context: ssl.SSLContext, seconds: float) -> None:
        """Takes what is in `buffer` as the beginning of the handshake. Raises Disconnected, TimedOut."""
        await self.flush(seconds)
        pump = TlsPump(context)
        pump.receive(bytes(self.buffer))
        self.buffer.clear()
        self._tls = pump
        until = self._loop.time() + seconds
        try:
            while not pump.handshake():
                self._send(pump.due())
                await self._receive(seconds, until, COMMAND_BLOCK, idle=False)
        except ssl.SSLError:
            raise Disconnected from None
        finally:
            self._send(pump.due())  # the last flight, or the alert that says what is wrong

    def stop(self, *, at_once: bool = False) -> None:
        """A session that waits for a command, or for its peer to take replies, gets Stopping.

        `at_once`: one that waits for anything.
        """
        self._stopping = True
        self._stopping_at_once = at_once
        if self._idle or at_once:
            self._wake(Stopping(idle=self._idle))
        self._writable.set()  # who waits for a peer to take its replies waits no longer

    async def part(self, seconds: float) -> None:
        """Sends what is due, and listens on a little without hearing.

        Closing a socket that holds unread octets resets it, and a peer that was still sending
        would never see the reply that says why.
        """
        # OSError: shutting down a socket whose peer has left.
        with suppress(Disconnected, TimedOut, Stopping, OSError):
            await self.flush(seconds)
            self._send(self._farewell())
            if not self._is_lost():
                self._transport.write_eof()
            self._stopping_at_once = False
            until = self._loop.time() + seconds
            while True:
                self.buffer.clear()
                await self._receive(seconds, until, MESSAGE_BLOCK, idle=False)

    def close(self) -> None:
        """Sends what is due and closes; a peer that takes nothing is cut off after a while."""
        if not self._is_lost():
            if self._out:
                self._hand_on()
            self._send(self._farewell())
            self._transport.close()
            if self._transport.get_write_buffer_size():
                self._loop.call_later(_LINGER, self._transport.abort)
        self._out.clear()

    def abort(self) -> None:
        """Closes at once, whatever the peer has not yet taken."""
        self.gone = True
        self._transport.abort()

    # -- within

    def _hand_on(self) -> None:
        self._send(self._encrypted(self._out[0] if len(self._out) == 1 else b"".join(self._out)))
        self._out.clear()

    async def _until_taken(self, seconds: float) -> None:
        if not self._stopping:
            try:
                async with asyncio.timeout(seconds):
                    await self._writable.wait()
            except TimeoutError:
                raise TimedOut from None
        if self._full:
            raise Stopping(idle=False)

    async def _receive(self, seconds: float, until: float | None, block: int, *, idle: bool) -> None:
        """Waits for octets from the socket."""
        if self._is_lost() or self.ended:
            raise Disconnected
        if self._stopping_at_once or (idle and self._stopping):
            raise Stopping(idle=idle)
        self._block = block
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        self._waiter, self._idle = self._loop.create_future(), idle
        deadline = self._loop.time() + seconds
        self._arm(deadline if until is None else min(deadline, until))
        try:
            await self._waiter
        finally:
            self._waiter, self._idle = None, False

    def _send(self, octets: bytes) -> None:
        if octets and not self._is_lost():
            self._transport.write(octets)

    def _is_lost(self) -> bool:
        # A transport that has failed is closing before `connection_lost` says so: uvloop then
        # raises RuntimeError for whatever is asked of it.
        return self.gone or self._transport.is_closing()

    def _encrypted(self, octets: bytes) -> bytes:
        if self._tls is None:
            return octets
        try:
            return self._tls.encrypt(octets)
        except ssl.SSLError:
            self.ended = True
            return self._tls.due()

    def _farewell(self) -> bytes:
        pump, self._tls = self._tls, None
        return pump.goodbye() if pump is not None else b""

    def _wake(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _arm(self, deadline: float) -> None:
        # One timer follows a deadline that moves with each wait: setting and cancelling a timer
        # for each command would cost more than the command.
        self._deadline = deadline
        if self._timer is None or self._timer.cancelled() or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expire)
        else:
            self._wake(TimedOut())
