"""What a message has to be before it is taken, whatever it says."""

from __future__ import annotations

from io import IncrementalNewlineDecoder
from typing import Final

from gateway.ingress.limits import Limits
from gateway.ingress.replies import BARE_CR_LF, HAS_NUL, LONG_TEXT_LINE, LOOP, Reply

_BLOCK: Final = 65_536  # octets that are looked at in a piece: the check takes no second message's memory


def fault(content: bytes, limits: Limits) -> Reply | None:
    """Why the message is refused; None where it is not."""
    if _has_bare_cr_or_lf(content):
        return BARE_CR_LF
    if b"\0" in content:
        return HAS_NUL
    if _has_line_over(limits.text_line, content):
        return LONG_TEXT_LINE
    if _hops(content) > limits.received_hops:
        return LOOP
    return None


def _has_bare_cr_or_lf(content: bytes) -> bool:
    """Whether any line ends otherwise than in CRLF (RFC 5321 2.3.8).

    Python's reader of text files keeps a note of the line ends it has met, in one pass in C: four times
    as fast as counting CR, LF and CRLF, fifty times as fast as a regular expression.
    """
    reader = IncrementalNewlineDecoder(None, translate=False)
    for start in range(0, len(content), _BLOCK):
        reader.decode(content[start : start + _BLOCK].decode("latin-1"))
    reader.decode("", final=True)  # a CR at the very end had waited for its LF
    return reader.newlines not in (None, "\r\n")


def _has_line_over(limit: int, content: bytes) -> bool:
    """Steps from one line end to the last one within reach: a few steps for most messages."""
    position = 0
    while len(content) - position > limit:
        last = content.rfind(b"\r\n", position, position + limit + 2)
        if last < 0:
            return True
        position = last + 2
    return False


def _hops(content: bytes) -> int:
    """Received fields in the header section (RFC 5321 6.3)."""
    end = content.find(b"\r\n\r\n")
    header = (content if end < 0 else content[:end]).lower()
    return header.count(b"\r\nreceived:") + header.startswith(b"received:")
