"""A listening door: opens, lets sessions in, and closes without dropping what is in flight."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Final, final

from gateway.ingress.dialect import Dialect
from gateway.ingress.limits import ListenerSettings
from gateway.ingress.reception import Reception
from gateway.ingress.session import PARTING, Session
from gateway.ingress.tls import Certificate
from gateway.ingress.visit import Visit
from gateway.ingress.wire import Wire


@final
class Door:
    """An open listener. `close` ends it within the stop timeout."""

    def __init__(
        self,
        reception: Reception,
        dialect: Dialect,
        settings: ListenerSettings,
        certificate: Certificate | None,
    ) -> None:
        self._reception: Final = reception
        self._dialect: Final = dialect
        self._settings: Final = settings
        self._certificate: Final = certificate
        self._wires: Final[set[Wire]] = set()
        self._server: asyncio.Server | None = None
        self._own_socket: Path | None = None  # one that was handed down is others' too
        self.port = 0
        """The TCP port that was given, or found; 0 for a UNIX socket."""

    @classmethod
    async def open(
        cls,
        reception: Reception,
        dialect: Dialect,
        settings: ListenerSettings,
        sock: socket.socket | None = None,
    ) -> Door:
        """Listens, on `sock` where one is handed down (socket activation, workers).

        Raises OSError where the address is not to be had, and BadCertificate.
        """
        certificate = Certificate(settings.certificate) if settings.certificate is not None else None
        door = cls(reception, dialect, settings, certificate)
        loop = asyncio.get_running_loop()
        if sock is not None:
            create = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            door._server = await create(door._enter, sock=sock, backlog=_BACKLOG)
        elif settings.unix is not None:
            door._server = await loop.create_unix_server(door._enter, str(settings.unix), backlog=_BACKLOG)
            settings.unix.chmod(settings.unix_mode)
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
        wire = Wire(self._live, self._reception.landing)
        self._wires.add(wire)
        return wire

    async def _live(self, wire: Wire) -> None:
        try:
            visit = Visit(self._reception, self._dialect, self._settings, wire)
            await Session(visit, self._certificate).run()
        finally:
            self._wires.discard(wire)

    async def close(self) -> None:
        """Lets in nobody more; what is in flight is finished, everything else gets 421.

        A session that waits for a command is told at once. One whose message is still coming in
        has until there is just time enough left to store it, and to tell the peer. Ends within the
        stop timeout.
        """
        assert self._server is not None
        self._server.close()
        if self._own_socket is not None:
            self._own_socket.unlink(missing_ok=True)
        limits = self._reception.limits
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
