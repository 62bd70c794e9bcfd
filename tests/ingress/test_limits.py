"""Each limit with the reply of its own, and what else must still work when it is reached."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from gateway.ingress.admission import Admission
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.memory import Memory, MemoryFull, Receiving
from tests.ingress.conftest import ANYWHERE, MIB, SMALL, House, OpenDoor
from tests.ingress.posts import IRELAND
from tests.ingress.transcripts import Peer


async def test_connections_in_all(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, connections=2))
    one, two = await house.peer(), await house.peer()
    async with one:
        async with two:
            await one.play("S: 220 *")
            await two.play("S: 220 *")
            async with await house.peer() as three:
                await three.play("S: 421 4.3.2 too many connections, try again later\n-- closed")
            await two.play("C: QUIT\nS: 221 *\n-- closed")
        async with await house.peer() as four:
            await four.play("S: 220 *")
        await one.play("C: NOOP\nS: 250 *")


async def test_connections_of_one_address(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, connections_per_address=1))
    async with await house.peer() as one:
        await one.play("S: 220 *")
        async with await house.peer() as two:
            await two.play("S: 421 4.7.0 too many connections from your address, try again later\n-- closed")
        await one.play("C: QUIT\nS: 221 *\n-- closed")
    async with await house.peer() as three:
        await three.play("S: 220 *")


@pytest.mark.parametrize(
    ("lmtp", "connect_from", "peer", "is_counted"),
    [
        (True, (), "127.0.0.1", False),
        (True, ("192.0.2.0/24",), "192.0.2.1", False),
        (True, (), "192.0.2.1", True),
        (False, (), "127.0.0.1", True),
        (False, ("192.0.2.0/24",), "192.0.2.1", True),
    ],
)
async def test_the_sites_own_queue_is_one_address_and_all_of_its_mail(
    open_door: OpenDoor, lmtp: bool, connect_from: tuple[str, ...], peer: str, is_counted: bool
) -> None:
    """Over LMTP, from this host or from networks that the listener names. Anybody else is counted."""
    limits = replace(SMALL, connections_per_address=2, connections_per_minute=3)
    settings = ListenerSettings(
        proxy_from=(ip_network("127.0.0.0/8"),), connect_from=tuple(map(ip_network, connect_from))
    )
    house = await open_door(lmtp=lmtp, limits=limits, settings=settings)
    async with AsyncExitStack() as stack:
        greetings = []
        for _ in range(6):
            client = await stack.enter_async_context(await house.peer())
            await client.send(f"PROXY TCP4 {peer} 192.0.2.2 4711 24\r\n".encode())
            greetings.append((await client.line())[:4])
    expected = ["220 "] * 2 + ["421 "] * 4 if is_counted else ["220 "] * 6
    assert greetings == expected


async def test_connections_a_minute(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, connections_per_minute=3))
    replies = []
    for _ in range(5):
        async with await house.peer() as peer:
            replies.append((await peer.reply())[:9])
            await peer.send(b"QUIT\r\n")
    # A minute of the clock may begin in between: then the fourth is the first of a new one.
    assert replies[:3] == ["220 mx.ex"] * 3
    assert "421 4.7.0" in replies


def test_the_addresses_of_one_ipv6_customer_count_as_one() -> None:
    admission = Admission(replace(SMALL, connections_per_address=1))
    assert admission.enter(ip_address("2001:db8::1")) is None
    assert admission.enter(ip_address("2001:db8::2")) is not None
    assert admission.enter(ip_address("2001:db8:0:1::1")) is None
    admission.leave(ip_address("2001:db8::1"))
    assert admission.enter(ip_address("2001:db8::ffff")) is None


async def test_who_may_connect(open_door: OpenDoor) -> None:
    house = await open_door(settings=ListenerSettings(connect_from=(ip_network("192.0.2.0/24"),)))
    async with await house.peer() as peer:
        await peer.play("S: 554 5.7.1 this door is not for you\n-- closed")


async def test_commands_of_a_session(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, commands=2))
    async with await house.peer() as peer:
        await peer.play("""
            S: 220 *
            C: NOOP
            S: 250 *
            C: NOOP
            S: 250 *
            C: NOOP
            S: 421 4.7.0 too many commands in one session
            -- closed
        """)


@pytest.mark.parametrize("on", ["this host", "a UNIX socket"])
async def test_the_sites_own_queue_may_use_one_session_for_long(
    open_door: OpenDoor, tmp_path: Path, on: str
) -> None:
    """Postfix keeps a busy connection for five minutes (lmtp_connection_reuse_time_limit), and asks over it
    who is here: a 421 for some who are not would put off the mail of those who are."""
    settings = ListenerSettings(unix=tmp_path / "lmtp.sock") if on == "a UNIX socket" else ANYWHERE
    house = await open_door(lmtp=True, limits=replace(SMALL, commands=3, errors=2), settings=settings)
    streams = await asyncio.open_unix_connection(settings.unix) if settings.unix else None
    async with Peer(*streams) if streams else await house.peer() as peer:
        await peer.play("S: 220 *\n" + "C: NOOP\nS: 250 *\n" * 10)
        await peer.play("C: LHLO c\n" + "S: 250-*\n" * 6 + "S: 250 *\nC: MAIL FROM:<>\nS: 250 *\n")
        await peer.play("C: RCPT TO:<nobody@example.ie>\nS: 550 5.1.1 *\n" * 10)
        await peer.play("C: RCPT TO:<aoife@example.ie>\nS: 250 *")


async def test_errors_of_a_session_that_gets_nowhere(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, errors=1))
    async with await house.peer() as peer:
        await peer.play("""
            S: 220 *
            C: FOO
            S: 500 *
            C: BAR
            S: 500 *
            S: 421 4.7.0 too many errors in one session
            -- closed
        """)


RECIPIENTS = "".join(f"RCPT TO:<aoife+{n}@example.ie>\r\n" for n in range(100)).encode()


async def test_recipients_of_a_message(open_door: OpenDoor) -> None:
    """RFC 5321 4.5.3.1.10: 452, and the first hundred are served. Postmaster is never one too many."""
    house = await open_door()
    for n in range(101):
        house.post.add(f"aoife+{n}@example.ie", IRELAND)
    house.post.add("postmaster@mx.example.ie", IRELAND)
    async with await house.peer() as peer:
        await peer.play("S: 220 *\nC: HELO c\nS: 250 *\nC: MAIL FROM:<>\nS: 250 *")
        await peer.send(RECIPIENTS)
        assert {(await peer.reply())[:9] for _ in range(100)} == {"250 2.1.5"}
        await peer.play("C: RCPT TO:<aoife+100@example.ie>\nS: 452 4.5.3 too many recipients")
        await peer.play("C: RCPT TO:<postmaster>\nS: 250 2.1.5 *\nC: DATA\nS: 354 *\nC: .")
        assert (await peer.reply()).count("stored as") == 101


async def test_time_for_a_command(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, command_timeout=0.2))
    async with await house.peer() as peer:
        await peer.play("S: 220 *\nC| NOO\nS: 421 4.4.2 timed out\n-- closed")


@pytest.mark.parametrize("dripped", [b"x", b"x\n"])
async def test_time_for_a_command_that_drips(open_door: OpenDoor, dripped: bytes) -> None:
    """A command has its time from its first octet on, not from its last."""
    house = await open_door(limits=replace(SMALL, command_timeout=0.5))
    async with await house.peer() as peer, asyncio.timeout(15):
        await peer.play("S: 220 *")
        reply = asyncio.create_task(peer.line())
        while not reply.done():
            await peer.send(dripped)
            await asyncio.sleep(0.05)
        assert (await reply)[:9] in ("421 4.4.2", "500 5.5.2")


async def begin(peer: Peer) -> None:
    await peer.play("""
        S: 220 *
        C: HELO c
        S: 250 *
        C: MAIL FROM:<>
        S: 250 *
        C: RCPT TO:<aoife@example.ie>
        S: 250 *
        C: DATA
        S: 354 *
    """)


async def test_time_between_the_pieces_of_a_message(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, data_timeout=0.2))
    async with await house.peer() as peer:
        await begin(peer)
        await peer.play("C: Subject: x\nS: 421 4.4.2 timed out\n-- closed")
    assert not house.post.copies


async def test_time_for_a_whole_message_that_drips(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, message_timeout=0.5))
    async with await house.peer() as peer, asyncio.timeout(5):
        await begin(peer)
        reply = asyncio.create_task(peer.line())
        while not reply.done():
            await peer.send(b"x\r\n")
            await asyncio.sleep(0.05)
        assert await reply == "421 4.4.2 timed out"


async def test_a_peer_that_reads_no_replies_is_timed_out(open_door: OpenDoor) -> None:
    """Replies that nobody takes do not pile up in our memory."""
    house = await open_door(limits=replace(SMALL, command_timeout=0.3, commands=10_000_000))
    async with await house.peer() as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(15):
            while not peer.writer.transport.is_closing() and house.reception.admission.connected:
                peer.writer.write(b"HELP\r\n" * 1_000)
                await asyncio.sleep(0.001)
            while house.reception.admission.connected:
                await asyncio.sleep(0.01)


async def test_memory_in_flight(open_door: OpenDoor) -> None:
    """A message that would go past the bound gets 421; those that were there before it are taken."""
    house = await open_door(limits=replace(SMALL, memory=9 * MIB + 64 * 16_384))
    room = house.reception.memory
    piece = b"x" * 998 + b"\r\n"
    peers = [await house.peer() for _ in range(6)]
    for peer in peers:
        await begin(peer)
        peer.writer.write(piece * 900)
    replies = [asyncio.create_task(peer.line()) for peer in peers]
    async with asyncio.timeout(5):
        while sum(reply.done() for reply in replies) < 2 or room.in_flight < 4 * len(piece) * 900:
            assert room.in_flight <= 4 * MIB
            await asyncio.sleep(0.01)
    turned_away = [reply.result() for reply in replies if reply.done()]
    assert turned_away == ["421 4.3.1 too much mail in flight, try again later"] * 2
    for peer, reply in zip(peers, replies, strict=True):
        if not reply.done():
            await peer.send(b".\r\n")
            assert (await reply).startswith("250 2.6.0")
        peer.writer.close()
    assert len(house.post.copies) == 4
    assert room.in_flight == 0


async def test_a_size_that_does_not_fit_now_is_put_off_at_once(open_door: OpenDoor) -> None:
    """RFC 1870 6.1(2): 452 to MAIL, before anything is sent."""
    house = await open_door(limits=replace(SMALL, memory=9 * MIB + 64 * 16_384))
    holding = Receiving(house.reception.memory)
    holding.hold((4 * MIB - 1_000) * 8 // 9)
    async with await house.peer() as peer:
        await peer.play("""
            S: 220 *
            C: HELO c
            S: 250 *
            C: MAIL FROM:<> SIZE=900
            S: 452 4.3.1 *
            C: MAIL FROM:<> SIZE=100
            S: 250 *
        """)


async def test_copies_that_are_stored_take_turns() -> None:
    memory = Memory(replace(SMALL, memory=9 * MIB + 64 * 16_384))
    order: list[str] = []

    async def store(name: str, octets: int, go_on: asyncio.Event) -> None:
        async with memory.storing(octets):
            order.append(name)
            await go_on.wait()

    first, rest = asyncio.Event(), asyncio.Event()
    tasks = [
        asyncio.create_task(store("a", MIB, first)),
        asyncio.create_task(store("b", MIB, rest)),
        asyncio.create_task(store("given up", MIB, rest)),
        asyncio.create_task(store("c", 1000, rest)),
    ]
    await asyncio.sleep(0)
    assert order == ["a"]  # c would fit, and does not overtake
    tasks[2].cancel()
    first.set()
    await asyncio.sleep(0.01)
    assert order == ["a", "b"]
    rest.set()
    await asyncio.wait(tasks)
    assert order == ["a", "b", "c"]
    assert memory.in_flight == 0


def test_what_is_held_is_given_back() -> None:
    memory = Memory(replace(SMALL, memory=9 * MIB + 64 * 16_384))
    one, two = Receiving(memory), Receiving(memory)
    one.hold(3 * MIB)
    with pytest.raises(MemoryFull):
        two.hold(2 * MIB)
    two.hold(MIB // 2)
    one.release()
    two.hold(3 * MIB)
    two.release()
    assert memory.in_flight == 0


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"recipients": 99}, "at least 100"),
        ({"message_size": 1000}, "at least 65536"),
        ({"text_line": 998}, "at least 1000"),
        ({"memory": MIB}, "at least 9 x message_size"),
        ({"store_timeout": 30.0}, "more than store_timeout"),
        ({"errors": 0}, "errors must be more than 0"),
        ({"command_timeout": -1.0}, "command_timeout must be more than 0"),
    ],
)
def test_limits_that_cannot_be(wrong: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Limits(**wrong)  # type: ignore[arg-type]


async def test_no_session_is_counted_after_its_end(smtp: House) -> None:
    for octets in [
        b"",
        b"QUIT\r\n",
        b"MAIL FROM:<x",
        b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<aoife@example.ie>\r\nDATA\r\nhalf",
    ]:
        async with await smtp.peer() as peer:
            await peer.send(octets)
    async with asyncio.timeout(5):
        while smtp.reception.admission.connected:
            await asyncio.sleep(0.01)
    assert smtp.reception.memory.in_flight == 0
