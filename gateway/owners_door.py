"""The owners' door: IMAP4rev1 (RFC 3501). What happens behind it is told in `gateway.imap.session`."""

from __future__ import annotations

from gateway.imap.commons import Commons
from gateway.imap.conversation import Conversation
from gateway.imap.session import Session
from gateway.ingress.door import Door
from gateway.ingress.limits import ListenerSettings
from gateway.ingress.tls import Certificate
from gateway.ingress.wire import Wire


async def serve_imap(listener: ListenerSettings, commons: Commons) -> Door:
    """Opens the door. Raises OSError where the address is taken, and BadCertificate."""

    async def live(wire: Wire, certificate: Certificate | None) -> None:
        conversation = Conversation(commons, listener, wire, offers_tls=certificate is not None)
        await Session(conversation, certificate).run()

    return await Door.open(live, commons.landing, commons.limits, listener)
