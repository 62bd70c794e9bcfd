"""The PROXY protocol: from configured networks, and from nowhere else."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from gateway.ingress.limits import ListenerSettings
from tests.ingress.conftest import SMALL, OpenDoor

FROM_HERE = ListenerSettings(proxy_from=(ip_network("127.0.0.0/8"),))
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
DELIVERY = """
    S: 220 *
    C: HELO c
    S: 250 *
    C: MAIL FROM:<>
    S: 250 *
    C: RCPT TO:<aoife@example.ie>
    S: 250 *
    C: DATA
    S: 354 *
    C: .
    S: 250 2.6.0 *
"""


def version_2(command: int, family: int, addresses: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, family, len(addresses)) + addresses


V4 = IPv4Address("192.0.2.1").packed + IPv4Address("192.0.2.2").packed + struct.pack(">HH", 1, 25)
MAPPED = IPv6Address("::ffff:192.0.2.1").packed + IPv6Address("::1").packed + struct.pack(">HH", 1, 25)
V6 = IPv6Address("2001:db8::1").packed + IPv6Address("2001:db8::2").packed + struct.pack(">HH", 1, 25)


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n", "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 25\r\n", "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
        (version_2(1, 0x11, V4), "192.0.2.1"),
        (version_2(1, 0x21, V6), "2001:db8::1"),
        (version_2(1, 0x11, V4 + b"\x04\0\x01x"), "192.0.2.1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 4711 25\r\n", "192.0.2.1"),
        (version_2(1, 0x21, MAPPED), "192.0.2.1"),
        (version_2(0, 0x00, b""), "127.0.0.1"),
        (version_2(1, 0x00, b""), "127.0.0.1"),
    ],
)
async def test_the_peer_is_who_the_header_names(open_door: OpenDoor, header: bytes, peer: str) -> None:
    house = await open_door(settings=FROM_HERE)
    async with await house.peer() as client:
        for octet in header:
            await client.send(bytes([octet]))
        await client.play(DELIVERY)
    (copy,) = house.post.copies
    assert copy.envelope.peer == peer
    literal = f"IPv6:{peer}" if ":" in peer else peer
    assert f"([{literal}])".encode() in copy.content


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO client.example\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY TCP4 192.0.2.300 192.0.2.2 1 25\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25 x\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 25\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x31\x11\0\x0c" + V4,
        SIGNATURE + b"\x22\x11\0\x0c" + V4,
        version_2(1, 0x11, V4[:8]),
        version_2(1, 0x31, b"x" * 216),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
async def test_a_trusted_proxy_that_sends_no_header_is_sent_away(open_door: OpenDoor, header: bytes) -> None:
    house = await open_door(settings=FROM_HERE)
    async with await house.peer() as client:
        await client.send(header)
        assert await client.closed() == b"421 4.7.0 a PROXY protocol header was expected\r\n"


async def test_a_header_from_anybody_else_is_only_a_wrong_command(open_door: OpenDoor) -> None:
    house = await open_door(settings=ListenerSettings(proxy_from=(ip_network("192.0.2.0/24"),)))
    async with await house.peer() as client:
        await client.play("""
            S: 220 *
            C: PROXY TCP4 198.51.100.1 192.0.2.2 4711 25
            S: 500 5.5.1 unknown command
        """)
        await client.play(DELIVERY.partition("\n")[2].partition("\n")[2])
    assert house.post.copies[0].envelope.peer == "127.0.0.1"


async def test_limits_and_permissions_hold_for_the_named_peer(open_door: OpenDoor) -> None:
    settings = ListenerSettings(
        proxy_from=(ip_network("127.0.0.0/8"),), connect_from=(ip_network("192.0.2.0/24"),)
    )
    limits = replace(SMALL, connections_per_address=1)
    house = await open_door(settings=settings, limits=limits)
    async with await house.peer() as stranger:
        await stranger.play("C: PROXY TCP4 198.51.100.1 192.0.2.9 1 25\nS: 554 5.7.1 *\n-- closed")
    one, two, other = [await house.peer() for _ in range(3)]
    async with one, two, other:
        await one.play("C: PROXY TCP4 192.0.2.1 192.0.2.9 1 25\nS: 220 *")
        await two.play("C: PROXY TCP4 192.0.2.1 192.0.2.9 2 25\nS: 421 4.7.0 *\n-- closed")
        await other.play("C: PROXY TCP4 192.0.2.2 192.0.2.9 3 25\nS: 220 *")
