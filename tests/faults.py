"""A reverse proxy for S3 on loopback that records every request, and fails those it is told to.

It stands between a region's store and its engine, and knows nothing of S3 beyond HTTP/1.1:

    async with FaultProxy(settings.endpoint) as proxy:
        store = await RegionStore.open(replace(settings, endpoint=proxy.endpoint), DEPLOYMENT)
        proxy.fail(Fault.RESET, Moment.AFTER, when=lambda request: request.method == "PUT")
        ...
        assert [request.range for request in proxy.requests] == ["bytes=0-99"]

`Moment.BEFORE`: the engine never sees the request. `Moment.AFTER`: the engine has done what was
asked, and the client is not told. That is the difference that every retry has to be right about.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

_MAX_HEAD: Final = 64 * 1024


class Fault(StrEnum):
    """How an answer goes wrong."""

    INTERNAL_ERROR = "500"
    SLOW_DOWN = "503 SlowDown"
    RESET = "reset"
    STALL = "stall"
    WRONG_BODY = "wrong body"
    NOWHERE = "404 NoSuchBucket"  # the one that nobody tries again: it costs no patience


class Moment(StrEnum):
    """Whether the engine did what was asked before the answer went wrong."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class Request:
    """One request as the engine would see it; `body` is what was sent, `range` the Range header."""

    method: str
    path: str
    query: str
    range: str | None
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The object's key: the path without the bucket."""
        return self.path.lstrip("/").partition("/")[2]

    @property
    def bucket(self) -> str:
        return self.path.lstrip("/").partition("/")[0]


Matches = Callable[[Request], bool]


@dataclass
class _Plan:
    fault: Fault
    moment: Moment
    when: Matches
    times: int


class FaultProxy:
    """An async context; `endpoint` is its URL. Faults are used up one by one, oldest first."""

    def __init__(self, engine: str) -> None:
        target = urlsplit(engine)
        assert target.hostname is not None
        assert target.port is not None
        self._target: Final = (target.hostname, target.port)
        self.engine_address: Final = f"{target.hostname}:{target.port}"
        self.requests: Final[list[Request]] = []
        self.failed: Final[list[Request]] = []
        self._plans: Final[list[_Plan]] = []
        self._connections: Final[set[asyncio.Task[None]]] = set()
        self._server: asyncio.Server | None = None
        self.endpoint = ""
        self.redirect_to: str | None = None  # every request gets a 307 to here

    def fail(
        self,
        fault: Fault,
        moment: Moment = Moment.BEFORE,
        *,
        when: Matches = lambda _: True,
        times: int = 1,
    ) -> None:
        """Let the next `times` requests that match go wrong."""
        self._plans.append(_Plan(fault, moment, when, times))

    def fail_from(self, fault: Fault, number: int) -> None:
        """Let every request go wrong, before it took effect, once `number` have been recorded."""
        self.fail(fault, when=lambda _: len(self.requests) > number, times=1_000_000)

    def heal(self) -> None:
        """Forget all faults that have not happened yet."""
        self._plans.clear()

    def writes(self) -> list[Request]:
        """The recorded requests that ask the engine to change something."""
        return [request for request in self.requests if request.method in ("PUT", "POST", "DELETE")]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_MAX_HEAD)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while await self._one(reader, writer):
                    pass
            finally:
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass on one request and its answer. False when the connection is done with."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = await _read_request(head, reader, writer)
        self.requests.append(request)
        if self.redirect_to is not None:
            where = f"Location: {self.redirect_to}{request.path}\r\n"
            writer.write(f"HTTP/1.1 307 Temporary Redirect\r\n{where}Content-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return True
        plan = self._due(request)
        if plan is None or plan.moment is Moment.AFTER:
            answer = await self._ask_engine(head, request.body)
        if plan is None:
            writer.write(answer)
            await writer.drain()
            return _ends_by_itself(answer)
        self.failed.append(request)
        return await _go_wrong(plan.fault, writer)

    def _due(self, request: Request) -> _Plan | None:
        for plan in self._plans:
            if plan.when(request):
                plan.times -= 1
                if plan.times == 0:
                    self._plans.remove(plan)
                return plan
        return None

    async def _ask_engine(self, head: bytes, body: bytes) -> bytes:
        """The engine's whole answer, on a connection of its own."""
        lines = head.split(b"\r\n")
        kept = [line for line in lines[1:-2] if not line.lower().startswith((b"connection:", b"expect:"))]
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            writer.write(b"\r\n".join([lines[0], *kept, b"Connection: close", b"", b""]) + body)
            await writer.drain()
            answer = b"".join([part async for part in _until_eof(reader)])
        finally:
            writer.close()
        # The client may keep its connection: what ends the engine's answer is its own framing.
        return answer.replace(b"\r\nConnection: close\r\n", b"\r\n", 1).replace(
            b"\r\nconnection: close\r\n", b"\r\n", 1
        )


def _ends_by_itself(answer: bytes) -> bool:
    """False where only the closing of the connection says that the answer is complete."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return b"\ncontent-length:" in head or b"\ntransfer-encoding:" in head


async def _until_eof(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while part := await reader.read(65536):
        yield part


async def _read_request(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":  # boto3's puts wait for it
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert "transfer-encoding" not in headers, "no client of ours sends chunks"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    return Request(method, path, query, headers.get("range"), headers, body)


async def _go_wrong(fault: Fault, writer: asyncio.StreamWriter) -> bool:
    match fault:
        case Fault.RESET:
            writer.transport.abort()
            return False
        case Fault.STALL:
            await asyncio.Event().wait()  # until the proxy is closed
            return False
        case Fault.WRONG_BODY:
            writer.write(_answer("200 OK", b"<html>It works!</html>"))
        case Fault.SLOW_DOWN:
            writer.write(_answer("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>"))
        case Fault.NOWHERE:
            writer.write(_answer("404 Not Found", b"<Error><Code>NoSuchBucket</Code></Error>"))
        case Fault.INTERNAL_ERROR:
            writer.write(_answer("500 Internal Server Error", b"<Error><Code>InternalError</Code></Error>"))
    await writer.drain()
    return True


def _answer(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
