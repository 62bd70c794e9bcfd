"""The PROXY protocol, versions 1 and 2, from peers that may speak it.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt; section numbers are that text's.
Who may speak it is settled before: any peer that may send this header may claim any address.
"""

from __future__ import annotations

import re
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from gateway.ingress.admission import PeerAddress, unmapped
from gateway.ingress.wire import Wire

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"  # 2.2
_V1_LONGEST: Final = 107  # 2.1
_V2_LONGEST: Final = 4_096  # addresses, and type-length-values that a load balancer adds
_V1: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) (\d{1,5}) (\d{1,5})\Z"
)


class BadProxyHeader(Exception):
    """The connection does not begin with a PROXY header that can be read."""


async def read_proxy_header(wire: Wire, seconds: float) -> PeerAddress | None:
    """The address that the header names; None for the proxy's own connection (LOCAL, UNKNOWN).

    An IPv4 client of a proxy that listens on IPv6 is an IPv4 client. Takes the header off the wire, within
    `seconds`, and not one octet more. Raises BadProxyHeader, and what
    `Wire.more` raises.
    """
    until = wire.now() + seconds
    while not _SIGNATURE.startswith(bytes(wire.buffer[:12])) or len(wire.buffer) < 12:
        if not b"PROXY ".startswith(bytes(wire.buffer[:6])) and not _SIGNATURE.startswith(
            bytes(wire.buffer[:12])
        ):
            raise BadProxyHeader
        if wire.buffer.startswith(b"PROXY "):
            return await _version_1(wire, seconds, until)
        await wire.more(seconds, until=until)
    return await _version_2(wire, seconds, until)


async def _version_1(wire: Wire, seconds: float, until: float) -> PeerAddress | None:
    while (end := wire.buffer.find(b"\r\n", 0, _V1_LONGEST)) < 0:
        if len(wire.buffer) >= _V1_LONGEST:
            raise BadProxyHeader
        await wire.more(seconds, until=until)
    line = bytes(wire.buffer[:end])
    del wire.buffer[: end + 2]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return None
    found = _V1.match(line)
    if found is None:
        raise BadProxyHeader
    family, source, destination, *ports = (part.decode() for part in found.groups())
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        kind(destination)
        address = unmapped(kind(source))
    except AddressValueError:
        raise BadProxyHeader from None
    if any(int(port) > 65_535 for port in ports):
        raise BadProxyHeader
    return address


async def _version_2(wire: Wire, seconds: float, until: float) -> PeerAddress | None:
    while len(wire.buffer) < 16:
        await wire.more(seconds, until=until)
    version_command, family, length = struct.unpack_from(">BBH", wire.buffer, 12)
    if version_command >> 4 != 2 or version_command & 0x0F > 1 or length > _V2_LONGEST:
        raise BadProxyHeader
    while len(wire.buffer) < 16 + length:
        await wire.more(seconds, until=until)
    body = bytes(wire.buffer[16 : 16 + length])
    del wire.buffer[: 16 + length]
    if version_command & 0x0F == 0:  # LOCAL: the proxy asks for itself, a health check
        return None
    if family == 0x11 and length >= 12:
        return IPv4Address(body[:4])
    if family == 0x21 and length >= 36:
        return unmapped(IPv6Address(body[:16]))
    if family == 0x00:  # UNSPEC
        return None
    raise BadProxyHeader
