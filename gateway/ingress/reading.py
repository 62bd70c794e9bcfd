"""Taking command lines and messages off the wire, so that both sides agree where each one ends.

Smuggling lives on two readers that disagree. Here a line ends in CRLF and a message in
CRLF "." CRLF (RFC 5321 2.3.8, 4.1.1.4) and in nothing else. A line or a message that holds a
bare CR or LF is taken up to that one true end and refused as a whole: the peer gets one reply
for what it sent as one thing, and nothing inside it is ever read as a command.
"""

from __future__ import annotations

from typing import Final

from gateway.ingress.limits import Limits
from gateway.ingress.memory import Receiving
from gateway.ingress.wire import MESSAGE_BLOCK, TimedOut, Wire

# RFC 5321 4.5.3.1.4 gives a command line 512 octets; SMTPUTF8 and DSN add some hundreds
# (RFC 6531 3.4, RFC 3461 5.1). One bound for all of them.
COMMAND_LINE: Final = 2_048
_AFTER_BARE_LF: Final = 5.0  # seconds
_END: Final = b"\r\n.\r\n"
# Doubled dots do not count as message (RFC 1870 5). A message that is all but full may have this
# share of them; more is refused as too large, which no real mail has come near.
_STUFFING: Final = 64


class LineTooLong(Exception):
    """The command line was longer than COMMAND_LINE; it has been taken off the wire."""


class BadLine(Exception):
    """The command line held a bare CR or LF, or a NUL; it has been taken off the wire."""


async def read_command(wire: Wire, seconds: float) -> bytes:
    """One command line without its CRLF, begun and ended within `seconds` each, however steadily it drips.

    Raises LineTooLong, BadLine, and what `Wire.more` raises.
    """
    buffer = wire.buffer
    scanned = 0
    too_long = False
    until: float | None = None
    while (end := buffer.find(b"\r\n", scanned)) < 0:
        if len(buffer) > COMMAND_LINE:
            too_long = True
            del buffer[:-1]  # the last octet may be the CR of the CRLF that ends the line
        scanned = max(0, len(buffer) - 1)
        if until is None and buffer:
            until = wire.now() + seconds
        if b"\n" in buffer:
            await _rest_of_bare_line(wire, until)
        else:
            await wire.more(seconds, until=until, idle=not buffer)
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    if too_long or end > COMMAND_LINE:
        raise LineTooLong
    if b"\n" in line or b"\r" in line or b"\0" in line:
        raise BadLine
    return line


async def _rest_of_bare_line(wire: Wire, until: float | None) -> None:
    """Waits a little for the CRLF behind a bare LF.

    A peer that ends all its lines in LF alone waits for a reply now; one that tries to smuggle
    has sent more. The first is told soon what is wrong, the second gets one reply for all of it.
    """
    try:
        await wire.more(_AFTER_BARE_LF, until=until)
    except TimedOut:
        wire.buffer.clear()
        raise BadLine from None


async def read_dotted(wire: Wire, limits: Limits, receiving: Receiving, until: float) -> bytes | None:
    """The message behind DATA, dots unstuffed; None for one that is too large.

    One that is too large is read to its end and thrown away, so that the session stays in step.
    Holds what it returns on `receiving`. Raises MemoryFull, and what `Wire.more` raises.
    """
    buffer = wire.buffer
    # The CRLF of the DATA line is the one before the first dot (RFC 5321 4.1.1.4).
    buffer[:0] = b"\r\n"
    bound = limits.message_size + limits.message_size // _STUFFING + len(_END)
    scanned, too_large = 0, False
    while (end := buffer.find(_END, scanned)) < 0:
        too_large = too_large or len(buffer) > bound
        if too_large:
            del buffer[: 1 - len(_END)]
        receiving.hold(len(buffer))
        scanned = max(0, len(buffer) - len(_END) + 1)
        await wire.more(limits.data_timeout, until=until, block=MESSAGE_BLOCK)
    with memoryview(buffer) as view:
        content = bytes(view[2 : end + 2])
    del buffer[: end + len(_END)]
    content = _unstuff(content)
    if too_large or len(content) > limits.message_size:
        receiving.release()
        return None
    receiving.hold(len(content))
    return content


def _unstuff(content: bytes) -> bytes:
    """RFC 5321 4.5.2: the first octet of a line that starts with a dot is not part of the message."""
    if content.startswith(b"."):
        content = content[1:]
    return content.replace(b"\r\n.", b"\r\n")


async def read_chunk(wire: Wire, size: int, limits: Limits, until: float, into: bytearray | None) -> None:
    """The `size` octets behind BDAT (RFC 3030 2), added to `into`, or thrown away where it is None.

    The caller has charged them already. Raises what `Wire.more` raises.
    """
    buffer = wire.buffer
    while True:
        taken = min(size, len(buffer))
        if into is not None:
            into += memoryview(buffer)[:taken]
        del buffer[:taken]
        size -= taken
        if not size:
            return
        await wire.more(limits.data_timeout, until=until, block=min(size, MESSAGE_BLOCK))
