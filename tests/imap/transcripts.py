"""IMAP sessions as transcripts.

    C: what the client sends, with CRLF
    S: what the server must answer; `...` stands for any run of characters
    -- closed    the server has closed

Octets that a line of text cannot show are written as in Python: `\\x00`. A line `C| ...` is sent as it
stands, with no CRLF of its own. All `C` lines up to the next `S` go out in one write.
"""

from __future__ import annotations

import asyncio
import re

from tests.ingress.transcripts import Peer


class Client(Peer):
    """A client that speaks octets and checks every line that it gets back."""

    async def play(self, transcript: str) -> None:
        """Plays a transcript; the first line that differs fails the test, with both in its text."""
        outgoing = b""
        for written in transcript.strip().splitlines():
            line = written.strip()
            kind, text = line[:2], line[2:].removeprefix(" ")
            if kind in ("C:", "C|"):
                outgoing += _octets(text) + (b"\r\n" if kind == "C:" else b"")
                continue
            if outgoing:
                await self.send(outgoing)
                outgoing = b""
            if kind == "S:":
                got = await self.text_line()
                assert _matches(text, got), f"expected {text!r}, got {got!r}"
            elif line == "-- closed":
                assert await self.closed() == b""
            else:
                assert not line, f"neither C nor S: {line!r}"
        if outgoing:
            await self.send(outgoing)

    async def text_line(self) -> str:
        """The next line; octets above 7F as Latin-1."""
        async with asyncio.timeout(10.0):
            line = await self.reader.readline()
        assert line, "the server has closed"
        return line.decode("latin-1").removesuffix("\r\n")

    async def command(self, tag: str, line: str) -> list[str]:
        """Sends a command; the lines up to the tagged reply, which is the last one."""
        await self.send(f"{tag} {line}\r\n".encode())
        lines = [await self.text_line()]
        while not lines[-1].startswith(f"{tag} "):
            lines.append(await self.text_line())
        return lines


def _octets(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1") if "\\x" in text else text.encode()


def _matches(expected: str, got: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("...")), got) is not None
