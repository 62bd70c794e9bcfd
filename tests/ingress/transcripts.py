"""Wire tests as transcripts.

    C: what the client sends, with CRLF
    S: what the server must answer; `*` stands for any run of characters

Octets that a line of text cannot show are written as in Python: `\\n`, `\\x00`. A line `C| ...` is
sent as it stands, with no CRLF of its own. All `C` lines up to the next `S` go out in one write.
"""

from __future__ import annotations

import asyncio
import re
from types import TracebackType

_SECONDS = 10.0


class Peer:
    """A client that speaks octets and checks every one that it gets back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Peer:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def line(self) -> str:
        async with asyncio.timeout(_SECONDS):
            line = await self.reader.readline()
        return line.decode("ascii").removesuffix("\r\n")

    async def reply(self) -> str:
        """One whole reply, its lines joined by a newline."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return "\n".join(lines)

    async def play(self, transcript: str) -> None:
        """Plays a transcript; the first line that differs fails the test, with both in its text."""
        outgoing = b""
        for written in transcript.strip().splitlines():
            line = written.strip()
            if not line:
                continue
            if line.startswith("C:"):
                outgoing += _octets(line[2:].removeprefix(" ")) + b"\r\n"
            elif line.startswith("C|"):
                outgoing += _octets(line[2:].removeprefix(" "))
            elif line.startswith("S:"):
                if outgoing:
                    await self.send(outgoing)
                    outgoing = b""
                expected = line[2:].strip()
                got = await self.line()
                assert _matches(expected, got), f"expected {expected!r}, got {got!r}"
            elif line == "-- closed":
                if outgoing:
                    await self.send(outgoing)
                    outgoing = b""
                assert await self.closed() == b""
            else:
                raise AssertionError(f"neither C nor S: {line!r}")
        if outgoing:
            await self.send(outgoing)

    async def closed(self) -> bytes:
        """What is left until the server closes."""
        async with asyncio.timeout(_SECONDS):
            return await self.reader.read()


def _octets(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1") if "\\" in text else text.encode()


def _matches(expected: str, got: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("*")), got) is not None
