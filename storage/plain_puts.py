"""Puts to an engine that is reached in the clear, on connections of our own.

obstore sends every request from threads of its own, and half of what it takes of the CPU for a small
put is one thread waking another. A put that nobody else can race needs none of that: one request, one
short answer. Only the first attempt of such a put goes this way (`storage.objects`). Whatever comes
back that is not plainly a success ends the connection, and obstore sends what is sent again.

Over TLS obstore sends all of it: its threads keep the encryption off the event loop.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from contextlib import suppress
from typing import Final, final
from urllib.parse import urlsplit

from storage.credentials import StaticKeys
from storage.engine import ATTEMPT_SHARE, CONNECT_SECONDS, Access
from storage.identity import Clock, utc_now
from storage.put_signature import PutSignature

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 (\d{3})[ \r]")  # RFC 9112 4
_ETAG: Final = re.compile(rb"\r\netag:[ \t]*([!-~]+)[ \t]*\r\n", re.IGNORECASE)
_EMPTY: Final = re.compile(rb"\r\ncontent-length:[ \t]*0[ \t]*\r\n", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\n(?:connection:[^\r]*close|transfer-encoding:)", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_LONGEST: Final = 64 * 1024  # octets of an answer: S3's own are some hundred
_IDLE: Final = 100  # connections that are kept
_IDLE_SECONDS: Final = 60.0


class Answered(OSError):
    """The engine's answer is no success; the text has its status, as obstore's errors do."""


@final
class PlainPuts:
    """The connections for one bucket. Not thread-safe; a connection belongs to the loop it was opened on."""

    def __init__(self, signature: PutSignature, host: str, port: int, attempt: float) -> None:
        """`attempt` in seconds: how long an answer may take."""
        self._signature: Final = signature
        self._address: Final = (host, port)
        self._attempt: Final = attempt
        self._idle: Final[deque[_Line]] = deque()

    @classmethod
    def of(cls, name: str, access: Access, deadline: float, clock: Clock = utc_now) -> PlainPuts | None:
        """For a bucket; None where it is not reached in the clear, or with keys that are renewed."""
        url = urlsplit(access.endpoint)
        if url.scheme != "http" or url.hostname is None or url.path.strip("/") or url.username is not None:
            return None
        if not isinstance(access.credentials, StaticKeys):
            return None
        signature = PutSignature(access.credentials, access.region, url.netloc, name, clock)
        return cls(signature, url.hostname, url.port or 80, deadline * ATTEMPT_SHARE)

    async def put(self, key: str, body: bytes, *, legal_hold: bool) -> str:
        """One attempt, without a condition; the object's ETag. Raises one of `EngineError`."""
        head = self._signature.head(key, body, legal_hold=legal_hold)
        line = self._take() or await _Line.open(*self._address, min(self._attempt, CONNECT_SECONDS))
        try:
            answer = await line.ask(head, body, self._attempt)
            etag = _etag_of(answer)
        except BaseException:  # a caller that is cancelled too: half an exchange is no connection
            line.close()
            raise
        self._keep(line, answer)
        return etag

    def _take(self) -> _Line | None:
        loop = asyncio.get_running_loop()
        while self._idle:
            line = self._idle.pop()
            if line.loop is not loop:
                line.leave()
            elif line.is_quiet():
                return line
            else:
                line.close()
        return None

    def _keep(self, line: _Line, answer: bytes) -> None:
        """A connection is kept for the next put where nothing can have come but this answer."""
        ends = answer.find(b"\r\n\r\n") + 4 == len(answer)
        if not ends or _CLOSES.search(answer) or not _EMPTY.search(answer):
            line.close()
            return
        line.used_at = line.loop.time()
        self._idle.append(line)
        oldest = self._idle[0]
        if len(self._idle) > _IDLE or line.used_at - oldest.used_at > _IDLE_SECONDS:
            self._idle.popleft().leave()


@final
class _Line:
    """One connection: a request goes out, its answer comes back, and so on in turn (RFC 9112 9.3).

    It listens for as long as it is open. What comes unasked, the engine's farewell too, closes it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.loop: Final = loop
        self.is_open = True
        self.used_at = 0.0
        self._socket: Final = sock
        self._answer = b""
        self._waiter: asyncio.Future[bytes] | None = None
        loop.add_reader(sock.fileno(), self._readable)

    @classmethod
    async def open(cls, host: str, port: int, seconds: float) -> _Line:
        """Tries the host's addresses in turn. Raises OSError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                *others, last = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                for found in others:
                    with suppress(OSError):
                        return await cls._to(loop, found[0], found[4])
                return await cls._to(loop, last[0], last[4])
        except TimeoutError:
            raise TimeoutError("no connection in time") from None

    @classmethod
    async def _to(cls, loop: asyncio.AbstractEventLoop, family: int, address: object) -> _Line:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)  # type: ignore[arg-type]
        except BaseException:
            sock.close()
            raise
        return cls(loop, sock)

    async def ask(self, head: bytes, body: bytes, seconds: float) -> bytes:
        """What is answered to one request within `seconds`: all of it, or as much as came. Raises OSError."""
        self._answer, self._waiter = b"", self.loop.create_future()
        timer = self.loop.call_later(seconds, self._end)
        try:
            sent = self._sent_at_once(head, body)
            if sent < len(head) + len(body):
                async with asyncio.timeout(seconds):
                    await self._send_from(sent, head, body)
            return await self._waiter
        finally:
            self._waiter = None
            timer.cancel()

    def is_quiet(self) -> bool:
        """Whether it is open, and nothing has come that the loop had no time for yet."""
        try:
            if self.is_open:
                self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False  # whatever ended it, it has ended
        return False

    def close(self) -> None:
        """To be called on the connection's own loop."""
        if self.is_open:
            self.is_open = False
            self.loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def leave(self) -> None:
        """Closes it from wherever; one whose loop is over is closed as it is forgotten."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.close)

    def __del__(self) -> None:
        self._socket.close()  # of a bucket that is gone, on a loop that is over

    def _sent_at_once(self, head: bytes, body: bytes) -> int:
        """Octets that the kernel has taken: of a small request all of them."""
        with suppress(BlockingIOError):
            return self._socket.sendmsg((head, body))
        return 0

    async def _send_from(self, sent: int, head: bytes, body: bytes) -> None:
        if sent < len(head):
            await self.loop.sock_sendall(self._socket, head[sent:])
        await self.loop.sock_sendall(self._socket, memoryview(body)[max(0, sent - len(head)) :])

    def _readable(self) -> None:
        try:
            came = self._socket.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        self._answer += came
        if not came or self._waiter is None or self._waiter.done() or len(self._answer) > _LONGEST:
            self.close()
            self._end()
        elif _is_whole(self._answer):
            self._end()

    def _end(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._answer)


def _is_whole(answer: bytes) -> bool:
    """By its own framing (RFC 9112 6.3). An answer in chunks ends with the last one; one that says neither
    ends with the connection."""
    end = answer.find(b"\r\n\r\n") + 4
    if end < 4:
        return False
    length = _LENGTH.search(answer, 0, end)
    if length is not None:
        return len(answer) >= end + int(length.group(1))
    return answer.endswith(b"\r\n0\r\n\r\n")


def _etag_of(answer: bytes) -> str:
    """Raises Answered for another status than 200, ConnectionError for what is no answer of S3."""
    head, end, body = answer.partition(b"\r\n\r\n")
    status = _STATUS_LINE.match(answer)
    if status is None or not end:
        raise ConnectionError("no answer, or half of one")
    if (code := status.group(1).decode()) != "200":
        raise Answered(f"status code: {code}: {body[:500].decode('latin-1')}")
    etag = _ETAG.search(head + b"\r\n")
    if etag is None:
        # Somebody's web page with status 200: a balancer that lost its engine shows such things.
        raise ConnectionError("an answer without ETag")
    return etag.group(1).decode()
