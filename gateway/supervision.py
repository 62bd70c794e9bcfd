"""N worker processes on shared ports, and one parent that does nothing but keep them alive.

The kernel spreads connections over the workers' listening sockets (SO_REUSEPORT); a UNIX socket has
no such thing, so the parent binds it once and every worker inherits it. A worker that dies is
replaced. One that cannot start the first time ends the whole, since it would not start the next time either.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final, final

import structlog

from gateway.config import Config, ConfigError
from gateway.serve import DoorName
from gateway.shared_figures import SharedFigures
from gateway.unix_socket import MODE, bind_unix

# A worker that died sooner after its start is not replaced at once: a crash loop must not eat a core.
_SETTLED_AFTER: Final = 5.0  # seconds
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_BEYOND_STOP_TIMEOUT: Final = 5.0

_log: Final = structlog.get_logger("situs.serve")


class WorkersFailed(ConfigError):
    """A worker said that it cannot serve with this configuration; its own line says why."""


@final
class Supervisor:
    """The parent of `count` workers. `run` returns when all have ended after a signal."""

    def __init__(self, config: Config, doors: frozenset[DoorName], count: int) -> None:
        """Raises ConfigError for ports that workers cannot share, or a UNIX socket that is taken."""
        listen = (
            *config.smtp.addresses,
            *config.lmtp.addresses,
            *config.imap.door.addresses,
            config.gateway_listen,
            *([config.metrics_listen] if config.metrics_listen else []),
        )
        if any(address.endswith(":0") for address in listen):
            raise ConfigError(f"{config.path}: --workers shares ports between processes: none may be 0")
        self._config: Final = config
        self._doors: Final = doors
        self._count: Final = count
        self._stopping: Final = asyncio.Event()
        self._alive: Final[dict[int, asyncio.subprocess.Process]] = {}
        self._served: Final[set[int]] = set()  # the workers that have had their doors open
        self._unix: Final = _bind_unix(config, doors)
        self._figures: Final = SharedFigures()

    async def run(self) -> None:
        """Keeps the workers alive until SIGTERM or SIGINT. Raises WorkersFailed."""
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self._stop)
        outlive_hangups()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._count):
                    group.create_task(self._keep(number))
        except* WorkersFailed as failed:
            raise failed.exceptions[0] from None
        finally:
            self._close_unix()
            self._figures.remove()

    def _stop(self) -> None:
        notify("STOPPING=1")
        self._stopping.set()
        for worker in self._alive.values():
            if worker.returncode is None:
                worker.terminate()

    async def _keep(self, number: int) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._live(number)
            if self._stopping.is_set():
                return
            # 2 is the command line's own status for a configuration that cannot be used. Where it could be
            # before, somebody is at work on it: the workers that serve go on.
            if status == 2 and number not in self._served:
                self._stop()
                raise WorkersFailed(f"{self._config.path}: worker {number} cannot serve")
            settled = time.monotonic() - began >= _SETTLED_AFTER
            pause = _FIRST_PAUSE if settled else min(2 * pause, _LONGEST_PAUSE)
            _log.warning("worker ended, another follows", worker=number, status=status, seconds=pause)
            await _unless(self._stopping, pause)

    async def _live(self, number: int) -> int:
        """One worker's life, from its start to its end."""
        reading, writing = os.pipe()
        worker = await asyncio.create_subprocess_exec(
            *self._command(writing),
            pass_fds=[writing, *self._inherited()],
            stdin=asyncio.subprocess.DEVNULL,
            env=self._figures.environment,
        )
        os.close(writing)
        self._alive[number] = worker
        told = asyncio.create_task(self._hear(reading, number))
        try:
            if self._stopping.is_set():
                worker.terminate()
            return await worker.wait()
        except asyncio.CancelledError:
            worker.terminate()
            async with asyncio.timeout(self._config.limits.stop_timeout + _BEYOND_STOP_TIMEOUT):
                await worker.wait()
            raise
        finally:
            await told
            self._alive.pop(number, None)
            self._figures.ended(worker.pid)

    async def _hear(self, reading: int, number: int) -> None:
        """The pipe has one octet when the worker's doors are open, and ends when the worker does."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        try:
            if await reader.read(1):
                _log.info("worker serves", worker=number)
                if number not in self._served:
                    self._served.add(number)
                    if len(self._served) == self._count:
                        notify("READY=1")
        finally:
            transport.close()

    def _command(self, ready: int) -> Sequence[str]:
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(self._config.path)]
        command += ["--shared-ports", "--ready-fd", str(ready)]
        command += ["--only", ",".join(sorted(self._doors))]
        if self._unix is not None:
            command += ["--lmtp-fd", str(self._unix.fileno())]
        return command

    def _inherited(self) -> list[int]:
        return [] if self._unix is None else [self._unix.fileno()]

    def _close_unix(self) -> None:
        if self._unix is not None:
            self._unix.close()
            assert self._config.lmtp.unix is not None
            self._config.lmtp.unix.unlink(missing_ok=True)


def outlive_hangups() -> None:
    """SIGHUP asks to read files again. The doors' certificates are, by themselves; no others.

    Whoever sends it (a hook behind a renewal, a habit) must not end the service by it.
    """
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _say_what_is_read_again)


def _say_what_is_read_again() -> None:
    _log.info("hangup", note="certificates are read again when they change, all else at a restart")


def notify(state: str) -> None:
    """Tells systemd, where it asked to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        # A leading "@" stands for the NUL of the abstract namespace (unix(7)).
        out.connect("\0" + address[1:] if address.startswith("@") else address)
        out.sendall(state.encode())


def _bind_unix(config: Config, doors: frozenset[DoorName]) -> socket.socket | None:
    if config.smtp.unix is not None and DoorName.SMTP in doors:
        raise ConfigError(f"{config.path}: smtp.unix: workers share a UNIX socket for LMTP alone")
    path = config.lmtp.unix
    if path is None or DoorName.LMTP not in doors:
        return None
    try:
        bound = bind_unix(path, MODE)
        bound.listen(1024)
    except OSError as error:
        raise ConfigError(f"{config.path}: cannot listen on {path}: {error.strerror}") from None
    return bound


async def _unless(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
