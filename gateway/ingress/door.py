"""A listening door: opens, lets sessions in, and closes without dropping what is in flight."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, final

from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.session import PARTING
from gateway.ingress.tls import Certificate
from gateway.ingress.wire import Wire
from gateway.unix_socket import MODE, bind_unix

Live = Callable[[Wire, Certificate | None], Awaitable[None]]


@final
class Door:
    """An open listener. `close` ends it within the stop timeout.

    `live` is a whole session on one wire; `landing` is where the event loop puts what it reads (see `Wire`).
    """

    def __init__(
        self, live: Live, landing: memoryview, limits: Limits, certificate: Certificate | None
    ) -> None:
        self._session: Final = live
        self._landing: Final = landing
        self._limits: Final = limits
        self._certificate: Final = certificate
        self._wires: Final[set[Wire]] = set()
        self._server: asyncio.Server | None = None
        self._own_socket: Path | None = None  # one that was handed down is others' too
        self.port = 0
        """The TCP port that was given, or found; 0 for a UNIX socket."""

    @classmethod
    async def open(
        cls,
        live: Live,
        landing: memoryview,
        limits: Limits,
        settings: ListenerSettings,
        sock: socket.socket | None = None,
    ) -> Door:
        """Listens, on `sock` where one is handed down (socket activation, workers).

        Raises OSError where the address is not to be had, and BadCertificate.
        """
        certificate = Certificate(settings.certificate) if settings.certificate is not None else None
        door = cls(live, landing, limits, certificate)
        loop = asyncio.get_running_loop()
        if sock is not None:
            create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            door._server = await create(door._enter, sock=sock, backlog=_BACKLOG)
        elif settings.unix is not None:
            bound = bind_unix(settings.unix, MODE)
            door._server = await loop.create_unix_server(door._enter, sock=bound, backlog=_BACKLOG)
            door._own_socket = settings.unix
        else:
            door._server = await loop.create_server(
                door._enter,
                settings.host,
                settings.port,
                backlog=_BACKLOG,
                reuse_port=settings.reuse_port or None,
            )
        name = door._server.sockets[0].getsockname()
        door.port = name[1] if isinstance(name, tuple) else 0
        return door

    def _enter(self) -> Wire:
        wire = Wire(self._live, self._landing)
        self._wires.add(wire)
        return wire

    async def _live(self, wire: Wire) -> None:
        try:
            await self._session(wire, self._certificate)
        finally:
            self._wires.discard(wire)

    async def close(self) -> None:
        """Lets in nobody more; what is in flight is finished, everything else is told to come again.

        A session that waits for a command is told at once. One whose message is still coming in
        has until there is just time enough left to store it, and to tell the peer. Ends within the
        stop timeout.
        """
        assert self._server is not None
        self._server.close()
        if self._own_socket is not None:
            self._own_socket.unlink(missing_ok=True)
        limits = self._limits
        for wire in self._wires:
            wire.stop()
        now = asyncio.get_running_loop().time()
        spare = limits.stop_timeout - limits.store_timeout
        telling = min(PARTING, spare / 2)
        await self._sessions_end(now + spare - telling)
        for wire in self._wires:
            wire.stop(at_once=True)
        await self._sessions_end(now + limits.stop_timeout - telling / 2)
        for wire in self._wires:
            if wire.task is not None:
                wire.task.cancel()
        await self._sessions_end(now + limits.stop_timeout)

    async def _sessions_end(self, until: float) -> None:
        """Waits for the sessions that are there, no longer than until that time of the loop."""
        tasks = [wire.task for wire in self._wires if wire.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, until - asyncio.get_running_loop().time()))


_BACKLOG: Final = 1_024
