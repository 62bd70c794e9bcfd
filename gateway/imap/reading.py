"""Taking commands off the wire: lines that end in CRLF, and the literals that they announce.

Client and server have to agree on where a command ends, whatever is wrong with it. A literal that
is refused before its octets were asked for is simply not sent; one that comes unasked (RFC 7888)
is taken off the wire and thrown away, so that nothing inside it is ever read as a command.
"""

from __future__ import annotations

import re
from typing import Final, final

from gateway.imap import replies as say
from gateway.imap.replies import Ended, Refused, Status
from gateway.imap.scanner import LITERAL_MARK, RawCommand
from gateway.ingress.limits import Limits
from gateway.ingress.memory import Memory, MemoryFull, Receiving
from gateway.ingress.wire import MESSAGE_BLOCK, Wire

# RFC 2683 3.2.1.5 asks for 8,000 octets at least; a client that syncs sends longer sets.
COMMAND_LINE: Final = 65_536
_LITERAL: Final = re.compile(rb"\{([0-9]{1,19})(\+?)\}\Z")
_QUOTED: Final = re.compile(rb'"(?:[^\\"]|\\.)*"')
_APPEND: Final = re.compile(rb"[^ ]+ APPEND ", re.IGNORECASE)
_TIMES_TOO_LONG: Final = 4
_CONTINUE: Final = b"+ go on\r\n"


class Garbled(Exception):
    """What came is no command, and has been taken off the wire. `status` says what was wrong."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status: Final = status


@final
class CommandReader:
    """The commands of one session, one after the other."""

    def __init__(self, wire: Wire, limits: Limits, memory: Memory) -> None:
        self._wire: Final = wire
        self._limits: Final = limits
        self._receiving: Final = Receiving(memory)
        self.signed_in = False

    async def read(self, seconds: float) -> RawCommand:
        """The next command, waiting `seconds` at most for it to begin.

        Its literals are charged to the memory bound until `release`. Raises Garbled, TaggedRefusal, Ended
        for what is not even taken off the wire, and what `Wire.more` raises.
        """
        parts: list[bytes] = []
        literals: list[bytes] = []
        left = COMMAND_LINE if self.signed_in else COMMAND_LINE // 8
        refusal: Status | None = None
        while True:
            line = await self._line(seconds, left, idle=not parts)
            left -= len(line)
            announced = _announced(line)
            if announced is None:
                parts.append(line)
                if refusal is not None:
                    raise TaggedRefusal(parts[0], refusal)
                return RawCommand(LITERAL_MARK.join(parts), tuple(literals))
            size, waits, line = announced
            parts.append(line)
            if refusal is None:
                refusal = self._refusal(parts[0], size, left, sum(map(len, literals)))
            if refusal is not None and waits:
                raise TaggedRefusal(parts[0], refusal)
            if waits:
                self._wire.write(_CONTINUE)
            if refusal is not None:
                if size > self._longest_discarded:
                    raise Ended(say.ENDLESS)
                await self._discard(size)
            else:
                literals.append(await self._literal(size))
                if not _APPEND.match(parts[0]):
                    left -= size

    async def line(self, seconds: float) -> bytes:
        """One line that is no command: the answer to a continuation. Raises Garbled."""
        return await self._line(seconds, COMMAND_LINE // 8, idle=False)

    async def answer(self, seconds: float) -> bytes:
        """As `line`, from a client that may take its time: a server that stops does not wait for it."""
        return await self._line(seconds, COMMAND_LINE // 8, idle=True)

    def release(self) -> None:
        """The literals of the last command are not needed any more."""
        self._receiving.release()

    @property
    def _longest_discarded(self) -> int:
        """A client that sends without asking is told NO where it may have meant it."""
        return _TIMES_TOO_LONG * self._limits.message_size if self.signed_in else COMMAND_LINE

    def _refusal(self, beginning: bytes, size: int, left: int, held: int) -> Status | None:
        if self.signed_in and _APPEND.match(beginning):
            if size > self._limits.message_size:
                return say.TOO_BIG
        elif size > left:
            return say.LONG_LITERAL
        try:
            self._receiving.hold(held + size)
        except MemoryFull:
            return say.NO_MEMORY
        return None

    async def _line(self, seconds: float, longest: int, *, idle: bool) -> bytes:
        buffer = self._wire.buffer
        scanned, too_long = 0, False
        while (end := buffer.find(b"\n", scanned)) < 0:
            if len(buffer) > longest:
                too_long = True
                del buffer[:-1]
            scanned = len(buffer)
            await self._wire.more(seconds, idle=idle and not buffer)
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        if too_long or end > longest:
            raise Garbled(say.LONG_LINE)
        if not line.endswith(b"\r\n") or LITERAL_MARK in line:
            raise Garbled(say.BAD_LINE)
        return line[:-2]

    async def _literal(self, size: int) -> bytes:
        buffer = self._wire.buffer
        while len(buffer) < size:
            await self._wire.more(self._limits.data_timeout, block=MESSAGE_BLOCK)
        with memoryview(buffer) as view:
            octets = bytes(view[:size])
        del buffer[:size]
        return octets

    async def _discard(self, size: int) -> None:
        buffer = self._wire.buffer
        while True:
            taken = min(size, len(buffer))
            del buffer[:taken]
            size -= taken
            if not size:
                return
            await self._wire.more(self._limits.data_timeout, block=MESSAGE_BLOCK)


class TaggedRefusal(Refused):
    """A command is refused while it is read; `beginning` is its first line, with the tag."""

    def __init__(self, beginning: bytes, status: Status) -> None:
        super().__init__(status)
        self.beginning: Final = beginning


def _announced(line: bytes) -> tuple[int, bool, bytes] | None:
    """The literal that a line ends in: its size, whether its sender waits to be asked (RFC 7888), and
    the line before it. None where there is none: braces in a quoted string announce nothing."""
    found = _LITERAL.search(line)
    if found is None or b'"' in _QUOTED.sub(b"", line[: found.start()]):
        return None
    return int(found.group(1)), not found.group(2), line[: found.start()]
