"""The LMTP door (RFC 2033), on TCP or a UNIX socket: for a mail server that queues, such as Postfix.

It differs from SMTP in two things: LHLO, and one reply for each recipient, so that the queue in
front of it sends again only what is not yet stored.
"""

from __future__ import annotations

import socket

from gateway.ingress.dialect import LMTP
from gateway.ingress.door import Door
from gateway.ingress.limits import ListenerSettings
from gateway.ingress.mail_door import open_mail_door
from gateway.ingress.reception import Reception


async def serve_lmtp(
    listener: ListenerSettings, reception: Reception, *, sock: socket.socket | None = None
) -> Door:
    """Opens the door. Raises OSError where the address is taken, and BadCertificate."""
    return await open_mail_door(reception, LMTP, listener, sock)
