"""A door for mail: SMTP or LMTP sessions on a listener."""

from __future__ import annotations

import socket

from gateway.ingress.dialect import Dialect
from gateway.ingress.door import Door
from gateway.ingress.limits import ListenerSettings
from gateway.ingress.reception import Reception
from gateway.ingress.session import Session
from gateway.ingress.tls import Certificate
from gateway.ingress.visit import Visit
from gateway.ingress.wire import Wire


async def open_mail_door(
    reception: Reception, dialect: Dialect, settings: ListenerSettings, sock: socket.socket | None
) -> Door:
    """Opens the door. Raises OSError where the address is taken, and BadCertificate."""

    async def live(wire: Wire, certificate: Certificate | None) -> None:
        await Session(Visit(reception, dialect, settings, wire), certificate).run()

    return await Door.open(live, reception.landing, reception.limits, settings, sock)
