"""The trace that a delivery leaves on top of a message: Return-Path and Received (RFC 5321 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final, final

from gateway.ingress.admission import PeerAddress

_FOLD: Final = "\r\n\t"


@final
@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came. `protocol` is a name of IANA's "WITH protocol types" (RFC 3848, RFC 6531 4.3).

    `peer` is None on a UNIX socket. `delivery` is this server's own name for the transaction.
    """

    sender: str
    helo: str
    peer: PeerAddress | None
    protocol: str
    delivery: str
    received_at: datetime


def header(arrival: Arrival, hostname: str) -> bytes:
    """The trace fields, each ended by CRLF.

    There is no "for" clause: one content serves every recipient, and a copy that named another
    recipient would tell a blind copy's secret (RFC 5321 7.2).
    """
    literal = ""
    if arrival.peer is not None:
        tag = "IPv6:" if arrival.peer.version == 6 else ""  # RFC 5321 4.1.3
        literal = f" ([{tag}{arrival.peer}])"
    return (
        f"Return-Path: <{arrival.sender}>\r\n"
        f"Received: from {arrival.helo}{literal}{_FOLD}"
        f"by {hostname} with {arrival.protocol} id {arrival.delivery};{_FOLD}"
        f"{format_datetime(arrival.received_at)}\r\n"
    ).encode()
