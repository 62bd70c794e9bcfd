"""The SMTP door (RFC 5321). What happens behind it is told in `gateway.ingress.session`."""

from __future__ import annotations

import socket

from gateway.ingress.dialect import SMTP
from gateway.ingress.door import Door
from gateway.ingress.limits import ListenerSettings
from gateway.ingress.mail_door import open_mail_door
from gateway.ingress.reception import Reception


async def serve_smtp(
    listener: ListenerSettings, reception: Reception, *, sock: socket.socket | None = None
) -> Door:
    """Opens the door. Raises OSError where the address is taken, and BadCertificate."""
    return await open_mail_door(reception, SMTP, listener, sock)
