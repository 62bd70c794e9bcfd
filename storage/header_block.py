"""Where a message's header ends, and how much of it a folder's index keeps.

One rule for the index and for whoever takes a message apart: what FETCH tells of a header must be the same
whether it was read from the one or cut out of the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, final

# RFC 5322 2.1: an empty line ends the header. Lines end in CRLF; a bare LF is taken for one, since a message
# that its owner's program has written so is read so everywhere else.
_LINE_END: Final = re.compile(rb"\r?\n")
_EMPTY_LINE: Final = re.compile(rb"\n\r?\n")
# A header that is longer stays in its message: 250 of those taken in at once are 16 MB, and a sender who
# writes no empty line cannot make an index of his mail. Nearly all headers have 2 to 20 KB.
LONGEST: Final = 64 * 1024
# A longer one, which may be made to be hard to read, is told when somebody asks for it.
LONGEST_TOLD: Final = LONGEST // 2


def header_end(octets: bytes, start: int = 0, end: int | None = None) -> int:
    """Where a header block that begins at `start` ends: behind its empty line, or with its octets."""
    end = len(octets) if end is None else end
    found = _LINE_END.match(octets, start, end) or _EMPTY_LINE.search(octets, start, end)
    return found.end() if found else end


def header_block(content: bytes) -> bytes:
    """The header through its empty line (RFC 3501 6.4.5: HEADER); all of a message that has none."""
    return content[: header_end(content)]


class Heading(NamedTuple):
    """What an index keeps of a message's header: the block, and what a door tells of it most often.

    An empty `block` was too long, or is that of a message without an octet; `told` is empty where it was
    not made, or by rules that are no longer the door's. The message itself has both.
    """

    block: bytes
    told: bytes = b""


@final
@dataclass(frozen=True, slots=True)
class Telling:
    """How a door tells a header block. `edition` changes with what `tell` gives: what was kept by another
    edition's rules is not shown."""

    edition: int
    tell: Callable[[bytes], bytes]

    def indexed(self, content: bytes) -> Heading:
        """What the index keeps of a message."""
        end = header_end(content)
        if end > LONGEST:
            return Heading(b"")
        block = content[:end]
        return Heading(block, self.tell(block) if end <= LONGEST_TOLD else b"")


NOT_TOLD: Final = Telling(0, lambda _: b"")
