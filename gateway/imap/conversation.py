"""One connection's talk: who is there, what they may be told, and replies that wait for their reader."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, final

from gateway.imap.commons import Commons
from gateway.imap.last_opened import LastOpened
from gateway.imap.reading import CommandReader
from gateway.imap.record import SessionRecord
from gateway.imap.replies import Status
from gateway.ingress.admission import PeerAddress
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.wire import Disconnected, Wire

# Replies are handed on when they have come to this many octets: few writes, and never much more than
# this waiting for a client that reads slowly.
_ENOUGH: Final = 64 * 1024


@final
@dataclass(slots=True)
class Conversation:
    """What every state of a session stands on. `peer` is None on a UNIX socket.

    `condstore`: the client has shown that it knows modification sequences (RFC 7162 3.1).
    """

    commons: Commons
    settings: ListenerSettings
    wire: Wire
    offers_tls: bool
    record: SessionRecord = field(default_factory=SessionRecord)
    reader: CommandReader = field(init=False)
    last_opened: LastOpened = field(init=False)
    peer: PeerAddress | None = None
    condstore: bool = False
    _due: int = 0

    def __post_init__(self) -> None:
        self.reader = CommandReader(self.wire, self.commons.limits, self.commons.memory)
        self.last_opened = LastOpened(self.commons.memory)

    @property
    def limits(self) -> Limits:
        return self.commons.limits

    @property
    def has_tls(self) -> bool:
        return self.wire.tls is not None

    @property
    def is_private(self) -> bool:
        """Whether a password may be said: under TLS, or where nobody else can hear."""
        return self.has_tls or self.peer is None or self.peer.is_loopback

    def say(self, *pieces: bytes) -> None:
        """Untagged responses, or parts of one; they go out when enough has come together, or at the end."""
        octets = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.wire.write(octets)
        self._due += len(octets)

    def tell(self, status: Status) -> None:
        """An untagged status."""
        self.say(status.encode())

    async def flow(self) -> None:
        """Between two responses: waits where the client takes its time, and lets other sessions go on.

        Raises TimedOut, Disconnected.
        """
        if self._due >= _ENOUGH:
            await self.flush()
            await asyncio.sleep(0)

    async def flush(self) -> None:
        """Raises TimedOut for a client that takes nothing for too long, Disconnected for one that is gone."""
        self.record.octets += self._due
        self.commons.metrics.octets.inc(self._due)
        self._due = 0
        await self.wire.flush(self.limits.data_timeout)
        if self.wire.gone:
            raise Disconnected

    def capabilities(self) -> str:
        """RFC 3501 6.1.1. All of them from the beginning: many clients ask once."""
        names = ["IMAP4rev1"]
        if self.offers_tls and not self.has_tls:
            names.append("STARTTLS")
        names.append("AUTH=PLAIN" if self.is_private else "LOGINDISABLED")
        return " ".join((*names, *_EXTENSIONS, f"APPENDLIMIT={self.limits.message_size}"))


_EXTENSIONS: Final = (
    "SASL-IR",  # RFC 4959
    "LOGIN-REFERRALS",  # RFC 2221
    "LITERAL+",  # RFC 7888
    "ENABLE",  # RFC 5161
    "ID",  # RFC 2971
    "NAMESPACE",  # RFC 2342
    "IDLE",  # RFC 2177
    "UNSELECT",  # RFC 3691
    "UIDPLUS",  # RFC 4315
    "MOVE",  # RFC 6851
    "CHILDREN",  # RFC 3348
    "LIST-EXTENDED",  # RFC 5258
    "LIST-STATUS",  # RFC 5819
    "SPECIAL-USE",  # RFC 6154
    "CONDSTORE",  # RFC 7162
)
