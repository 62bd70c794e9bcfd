"""Where a message's header ends, and how much of a message a folder's index keeps.

One rule for the index and for whoever takes a message apart: what FETCH tells of a header must be the same
whether it was read from the one or cut out of the other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar, final

# RFC 5322 2.1: an empty line ends the header. Lines end in CRLF; a bare LF is taken for one, since a message
# that its owner's program has written so is read so everywhere else.
_LINE_END: Final = re.compile(rb"\r?\n")
_EMPTY_LINE: Final = re.compile(rb"\n\r?\n")
# A header that is longer stays in its message: 250 of those taken in at once are 16 MB, and a sender who
# writes no empty line cannot make an index of his mail. Nearly all headers have 2 to 20 KB.
LONGEST: Final = 64 * 1024
# A longer one, which may be made to be hard to read, is told when somebody asks for it.
LONGEST_TOLD: Final = LONGEST // 2
# That of a message of some forty parts. Whoever sends more of them is read when somebody asks.
LONGEST_STRUCTURE: Final = 16 * 1024
# To take a message apart takes a millisecond for some megabytes of one attachment, and more for one that is
# made to be hard.
LONG_ENOUGH_FOR_A_THREAD: Final = 256 * 1024

_T = TypeVar("_T")


def header_end(octets: bytes, start: int = 0, end: int | None = None) -> int:
    """Where a header block that begins at `start` ends: behind its empty line, or with its octets."""
    end = len(octets) if end is None else end
    found = _LINE_END.match(octets, start, end) or _EMPTY_LINE.search(octets, start, end)
    return found.end() if found else end


def header_block(content: bytes) -> bytes:
    """The header through its empty line (RFC 3501 6.4.5: HEADER); all of a message that has none."""
    return content[: header_end(content)]


class Heading(NamedTuple):
    """What an index keeps of a message: its header block, and what a door tells most often of the header
    and of the whole.

    An empty `block` was too long, or is that of a message without an octet; `told` and `structure` are
    empty where they were not made, were too long, or were made by rules that are no longer the door's. The
    message itself has all of them.
    """

    block: bytes
    told: bytes = b""
    structure: bytes = b""


class Wanted(NamedTuple):
    """Which of a `Heading` somebody asks for."""

    block: bool = False
    told: bool = False
    structure: bool = False


class Editions(NamedTuple):
    """Of a door's rules. Each changes with what the rule gives: what was kept by another edition's is not
    shown."""

    told: int
    structure: int


@final
@dataclass(frozen=True, slots=True)
class Telling:
    """How a door tells a header block, and how it tells what a whole message is made of."""

    editions: Editions
    tell: Callable[[bytes], bytes]
    structure: Callable[[bytes], bytes]

    def indexed(self, content: bytes) -> Heading:
        """What the index keeps of a message."""
        structure = self.structure(content)
        if len(structure) > LONGEST_STRUCTURE:
            structure = b""
        end = header_end(content)
        if end > LONGEST:
            return Heading(b"", structure=structure)
        block = content[:end]
        return Heading(block, self.tell(block) if end <= LONGEST_TOLD else b"", structure)

    def read(self, content: bytes, wanted: Wanted) -> Heading:
        """What is wanted of a message, out of the message itself."""
        block = header_block(content)
        return Heading(
            block,
            self.tell(block) if wanted.told else b"",
            self.structure(content) if wanted.structure else b"",
        )

    async def heading(self, content: bytes) -> Heading:
        """As `indexed`, and no other session waits for it."""
        return await aside(self.indexed, content)


async def aside(work: Callable[[bytes], _T], content: bytes) -> _T:
    """Work on a message, in a thread where it is so long that other sessions would have to wait for it."""
    if len(content) < LONG_ENOUGH_FOR_A_THREAD:
        return work(content)
    return await asyncio.to_thread(work, content)


NOT_TOLD: Final = Telling(Editions(0, 0), lambda _: b"", lambda _: b"")
