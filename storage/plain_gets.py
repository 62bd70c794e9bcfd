"""Gets of whole objects from an engine that is reached in the clear, on connections of our own.

As with puts (`storage.plain_puts`), half of what obstore takes of the CPU for a small object is one thread
waking another. Only the first attempt goes this way (`storage.objects`). Whatever comes back that is not
plainly the object ends the connection, and obstore asks again. Over TLS obstore does all of it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self, final
from urllib.parse import urlsplit

from storage.credentials import StaticKeys
from storage.engine import ATTEMPT_SHARE, CONNECT_SECONDS, Access
from storage.identity import Clock, utc_now
from storage.plain_puts import Answered
from storage.put_signature import PutSignature

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 (\d{3})[ \r]")  # RFC 9112 4
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\n(?:connection:[^\r]*close|transfer-encoding:)", re.IGNORECASE)
_ETAG: Final = re.compile(rb"\r\netag:[ \t]*[!-~]+[ \t]*\r\n", re.IGNORECASE)
_LONGEST: Final = 64 * 1024  # octets of a short answer: S3's own are some hundred
_IDLE: Final = 100  # connections that are kept
_IDLE_SECONDS: Final = 60.0
_ERROR: Final = 500  # octets of an error's page that are worth reading
_FIRST: Final = 64 * 1024  # octets: the head, and all of most messages
_LONGEST_HEAD: Final = 16 * 1024
_SUCCESS: Final = b"HTTP/1.1 200"


@final
class PlainGets:
    """The connections for one bucket. Not thread-safe; a connection belongs to the loop it was opened on."""

    def __init__(self, signature: PutSignature, host: str, port: int, attempt: float) -> None:
        """`attempt` in seconds: what one get may take, the opening of a connection included."""
        self._signature: Final = signature
        self._address: Final = (host, port)
        self._attempt: Final = attempt
        self._idle: Final[deque[_Line]] = deque()

    @classmethod
    def of(cls, name: str, access: Access, deadline: float, clock: Clock = utc_now) -> Self | None:
        """For a bucket; None where it is not reached in the clear, or with keys that are renewed."""
        url = urlsplit(access.endpoint)
        if url.scheme != "http" or url.hostname is None or url.path.strip("/") or url.username is not None:
            return None
        if not isinstance(access.credentials, StaticKeys):
            return None
        signature = PutSignature(access.credentials, access.region, url.netloc, name, clock)
        return cls(signature, url.hostname, url.port or 80, deadline * ATTEMPT_SHARE)

    async def get(self, key: str, longest: int) -> bytes:
        """The whole object. Raises one of `EngineError`, for one of more than `longest` octets as well."""
        head = self._signature.head_of_get(key)
        async with self._line() as line:
            await line.send(head)
            answer = await line.receive(_FIRST)
            while (end := answer.find(b"\r\n\r\n") + 4) < 4:
                more = await line.receive(_FIRST)
                if not more or len(answer) > _LONGEST_HEAD:
                    raise ConnectionError("no answer, or half of one")
                answer += more
            if not answer.startswith(_SUCCESS):
                answer = await _whole(line, answer)  # S3 says in the body what there is not
            told = _head_of_success(answer)
            found = _LENGTH.search(told)
            # RFC 9112 6.3: what does not say how long it is ends with the connection, and may be cut off.
            if found is None or _CLOSES.search(told) or int(found.group(1)) > longest:
                raise ConnectionError("an answer that is not told in one piece")
            length = int(found.group(1))
            missing = end + length - len(answer)
            if missing < 0:
                raise ConnectionError("more than was asked for")
            if not missing:
                return answer[end:]
            body = bytearray(length)
            body[: length - missing] = memoryview(answer)[end:]
            with memoryview(body) as place:
                await line.fill(place[length - missing :])
            return bytes(body)

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[_Line]:
        """One for a request and its answer, in the time of an attempt. It is kept for the next one, unless
        anything is raised meanwhile, in a caller that is cancelled too: half an exchange is no connection.
        Raises OSError."""
        try:
            async with asyncio.timeout(self._attempt):
                line = self._take() or await _Line.open(*self._address)
                try:
                    yield line
                except BaseException:
                    line.close()
                    raise
        except TimeoutError:
            raise TimeoutError("no answer in time") from None
        self._keep(line)

    def _take(self) -> _Line | None:
        loop = asyncio.get_running_loop()
        while self._idle:
            line = self._idle.pop()
            if line.loop is loop and line.is_quiet():
                return line
            line.close()
        return None

    def _keep(self, line: _Line) -> None:
        line.used_at = line.loop.time()
        self._idle.append(line)
        oldest = self._idle[0]
        if len(self._idle) > _IDLE or line.used_at - oldest.used_at > _IDLE_SECONDS:
            self._idle.popleft().close()


@final
class _Line:
    """One connection: a request goes out, its answer comes back, and so on in turn (RFC 9112 9.3)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.loop: Final = loop
        self.used_at = 0.0
        self._socket: Final = sock

    @classmethod
    async def open(cls, host: str, port: int) -> _Line:
        """Tries the host's addresses in turn. Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            *others, last = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            for found in others:
                with suppress(OSError):
                    return await cls._to(loop, found[0], found[4])
            return await cls._to(loop, last[0], last[4])

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

    def is_quiet(self) -> bool:
        """Whether it is still open, and nothing has come that nobody asked for."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def send(self, head: bytes) -> None:
        """Raises OSError."""
        await self.loop.sock_sendall(self._socket, head)

    async def receive(self, octets: int) -> bytes:
        """So many at most; none where the other side has closed. Raises OSError."""
        return await self.loop.sock_recv(self._socket, octets)

    async def fill(self, place: memoryview) -> None:
        """As many as it has room for. Raises OSError."""
        while place:
            came = await self.loop.sock_recv_into(self._socket, place)
            if not came:
                raise ConnectionError("half of an answer")
            place = place[came:]

    def close(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        self._socket.close()  # an idle one, whose bucket is gone


async def _whole(line: _Line, answer: bytes) -> bytes:
    """One that is short, of which `answer` has come already. Raises OSError."""
    while not _is_whole(answer):
        if len(answer) > _LONGEST:
            raise ConnectionError("an answer that does not end")
        came = await line.receive(_LONGEST)
        if not came:
            break
        answer += came
    return answer


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


def _head_of_success(answer: bytes) -> bytes:
    """The head of an answer with status 200, through the line end before its empty line. Raises Answered for
    another status, ConnectionError for what is no answer of S3."""
    head, end, body = answer.partition(b"\r\n\r\n")
    status = _STATUS_LINE.match(answer)
    if status is None or not end:
        raise ConnectionError("no answer, or half of one")
    if (code := status.group(1).decode()) != "200":
        raise Answered(f"status code: {code}: {body[:_ERROR].decode('latin-1')}")
    head += b"\r\n"
    if not _ETAG.search(head):
        # Somebody's web page with status 200: a balancer that lost its engine shows such things.
        raise ConnectionError("an answer without ETag")
    return head
