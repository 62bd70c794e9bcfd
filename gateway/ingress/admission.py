"""Who may come in, and how many of them: connections in all, per address and per minute."""

from __future__ import annotations

import socket
import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final, final

from gateway.ingress.limits import Limits, Network
from gateway.ingress.replies import TOO_FAST, TOO_MANY_CONNECTIONS, TOO_MANY_FROM_YOU, Reply

PeerAddress = IPv4Address | IPv6Address


def parse_peer(host: str) -> PeerAddress:
    """A socket's peer. An IPv4 peer of an IPv6 socket is an IPv4 peer; a scope is not an address."""
    return unmapped(_parse(host.partition("%")[0]))


def unmapped(address: PeerAddress) -> PeerAddress:
    """The IPv4 address that an IPv6 socket shows as `::ffff:192.0.2.1` (RFC 4291 2.5.5.2)."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _parse(host: str) -> PeerAddress:
    # The C library reads an address ten times as fast as `ipaddress` does.
    if ":" in host:
        return IPv6Address(socket.inet_pton(socket.AF_INET6, host))
    return IPv4Address(socket.inet_pton(socket.AF_INET, host))


def within(peer: PeerAddress, networks: tuple[Network, ...]) -> bool:
    """Whether the peer is of one of the networks."""
    return any(peer in network for network in networks)


@final
class Admission:
    """Counts the connections of one process. Knows addresses only while it has to."""

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._connected = 0
        self._by_address: Final[Counter[int]] = Counter()
        self._this_minute: Final[Counter[int]] = Counter()
        self._minute = 0

    @property
    def connected(self) -> int:
        """Connections now."""
        return self._connected

    def connect(self) -> Reply | None:
        """Counts a connection in, or says why not: then it is not counted."""
        if self._connected >= self._limits.connections:
            return TOO_MANY_CONNECTIONS
        self._connected += 1
        return None

    def disconnect(self) -> None:
        self._connected -= 1

    def enter(self, peer: PeerAddress) -> Reply | None:
        """Counts an address in, or says why not: then it is not counted."""
        key = _key(peer)
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._this_minute.clear()
        self._this_minute[key] += 1
        if self._this_minute[key] > self._limits.connections_per_minute:
            return TOO_FAST
        if self._by_address[key] >= self._limits.connections_per_address:
            return TOO_MANY_FROM_YOU
        self._by_address[key] += 1
        return None

    def leave(self, peer: PeerAddress) -> None:
        key = _key(peer)
        self._by_address[key] -= 1
        if not self._by_address[key]:
            del self._by_address[key]


def _key(peer: PeerAddress) -> int:
    """One customer's IPv6 addresses are the 2^64 of a network (RFC 6177): they count as one."""
    if isinstance(peer, IPv6Address):
        return int(IPv6Network((peer, 64), strict=False).network_address)
    return int(peer)
