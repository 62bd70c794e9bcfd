"""What is known of one connection: through which door it came, who it is, what it was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, final

from gateway.ingress.admission import PeerAddress
from gateway.ingress.dialect import Dialect
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.reception import Reception
from gateway.ingress.record import SessionRecord
from gateway.ingress.replies import Reply
from gateway.ingress.trace import Arrival
from gateway.ingress.wire import Wire


class Ended(Exception):
    """The session ends with `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply: Final = reply


@final
@dataclass(slots=True)
class Visit:
    """One connection's facts. `peer` is None on a UNIX socket; `hello` is the verb, "" before it."""

    reception: Reception
    dialect: Dialect
    settings: ListenerSettings
    wire: Wire
    record: SessionRecord = field(init=False)
    peer: PeerAddress | None = None
    hello: str = ""
    helo: str = ""

    def __post_init__(self) -> None:
        self.record = SessionRecord(self.dialect.name)

    @property
    def limits(self) -> Limits:
        return self.reception.limits

    @property
    def own_queue(self) -> bool:
        """The peer is the mail server in front (LMTP): one address that all of the site's mail comes from.

        To be asked of a peer that `connect_from` lets in: where it names anybody, the peer is of those.
        """
        is_near = self.peer is None or self.peer.is_loopback
        return self.dialect.reply_each and (is_near or bool(self.settings.connect_from))

    @property
    def has_tls(self) -> bool:
        return self.wire.tls is not None

    def reply(self, *replies: Reply) -> None:
        """Says and counts them; they go out when the session next waits."""
        for reply in replies:
            if reply.code >= 400:
                self.record.refusal(reply)
                reason = f"{reply.code} {reply.status}"
                self.reception.metrics.refused.labels(self.dialect.name, reason).inc()
                self.record.errors += reply.refuses
            self.wire.write(reply.octets)

    def arrival(self, sender: str, delivery: str, *, smtputf8: bool) -> Arrival:
        """How a message comes that has ended now."""
        protocol = self.dialect.protocol(self.hello, tls=self.has_tls, smtputf8=smtputf8)
        return Arrival(sender, self.helo, self.peer, protocol, delivery, self.reception.clock())
