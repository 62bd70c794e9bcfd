"""Peers that leave, servers that stop: what is acknowledged is there, and is there once."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace

import pytest

from storage.errors import Unavailable
from tests.ingress.conftest import SMALL, House, OpenDoor
from tests.ingress.posts import GERMANY, IRELAND, STATES
from tests.ingress.test_smtp import DELIVER_TO_AOIFE, ENVELOPE_OF_THREE
from tests.ingress.transcripts import Peer

UP_TO_THE_DATA = DELIVER_TO_AOIFE.partition("C: Subject")[0]
UP_TO_THE_REPLY = DELIVER_TO_AOIFE.partition("S: 250 2.6.0")[0]
STORED = UP_TO_THE_REPLY + "S: 250 2.6.0 stored as *"


async def until_nobody_is_here(house: House) -> None:
    async with asyncio.timeout(5):
        while house.reception.admission.connected or house.reception.storing:
            await asyncio.sleep(0.005)


async def test_a_peer_that_leaves_while_its_message_is_stored_stops_nothing(smtp: House) -> None:
    """And when it sends the message again, as it must, its owner has it once."""
    smtp.post.stalled.add(IRELAND)
    peer = await smtp.peer()
    await peer.play(UP_TO_THE_REPLY)
    await smtp.post.began.wait()
    peer.writer.transport.abort()
    await asyncio.sleep(0.05)
    smtp.post.release.set()
    await until_nobody_is_here(smtp)
    (copy,) = smtp.post.copies
    async with await smtp.peer() as again:
        await again.play(UP_TO_THE_REPLY)
        assert await again.line() == f"250 2.6.0 stored as {copy.id}"
    assert smtp.post.copies == [copy]
    # Acknowledged now: the same message sent once more is one more message.
    async with await smtp.peer() as more:
        await more.play(STORED)
    assert len(smtp.post.copies) == 2


async def test_a_cancelled_session_does_not_cancel_what_it_stores(smtp: House) -> None:
    smtp.post.stalled.add(IRELAND)
    peer = await smtp.peer()
    await peer.play(UP_TO_THE_REPLY)
    await smtp.post.began.wait()
    (wire,) = smtp.door._wires
    assert wire.task is not None
    wire.task.cancel()
    await peer.closed()
    smtp.post.release.set()
    await until_nobody_is_here(smtp)
    (copy,) = smtp.post.copies
    async with await smtp.peer() as again:
        await again.play(UP_TO_THE_REPLY)
        assert await again.line() == f"250 2.6.0 stored as {copy.id}"
    assert smtp.post.copies == [copy]


async def test_a_delivery_sent_again_to_another_process_is_known_by_envelope_and_digest(
    open_door: OpenDoor,
) -> None:
    """What one process has stored another one cannot know: whoever shows the mail must be able to tell."""
    found = []
    for each in (await open_door(), await open_door()):
        async with await each.peer() as peer:
            await peer.play(STORED)
        (copy,) = each.post.copies
        found.append((copy.envelope.sender, copy.envelope.recipient, copy.envelope.sent_sha256))
    first, second = found
    assert first == second
    assert first[2] == hashlib.sha256(b"Subject: hello\r\n\r\n.a dot, then text\r\n").hexdigest()


async def test_a_message_that_failed_for_one_recipient_is_stored_once_for_the_others(smtp: House) -> None:
    smtp.post.down[STATES] = Unavailable("us-east-1 is down")
    for _ in range(2):
        async with await smtp.peer() as peer:
            await peer.play(ENVELOPE_OF_THREE + "S: 451 4.3.2 *")
    assert smtp.post.homes() == [GERMANY, IRELAND]
    del smtp.post.down[STATES]
    async with await smtp.peer() as peer:
        await peer.play(ENVELOPE_OF_THREE)
        assert (await peer.reply()).count("stored as") == 3
    assert smtp.post.homes() == [GERMANY, IRELAND, STATES]


@pytest.mark.parametrize("end", [b"", b"half of a message\r\n", b"all but the dot\r\n.\r"])
async def test_a_message_that_did_not_end_is_not_stored(smtp: House, end: bytes) -> None:
    peer = await smtp.peer()
    await peer.play(UP_TO_THE_DATA)
    await peer.send(end)
    peer.writer.close()
    await until_nobody_is_here(smtp)
    assert not smtp.post.copies


async def test_a_peer_that_closes_its_side_still_gets_its_replies(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play("S: 220 *")
        await peer.send(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<aoife@example.ie>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
        peer.writer.write_eof()
        codes = [line[:3] for line in (await peer.closed()).decode().splitlines()]
    assert codes == ["250", "250", "250", "354", "250", "221"]


async def test_a_graceful_stop(open_door: OpenDoor) -> None:
    """What waits gets 421, what comes in or is being stored is finished, and nobody new is let in."""
    house = await open_door(limits=replace(SMALL, store_timeout=2.0, stop_timeout=4.0))
    house.post.stalled.add(IRELAND)
    idle, sending, storing = [await house.peer() for _ in range(3)]
    async with idle, sending, storing:
        await idle.play("S: 220 *\nC: NOOP\nS: 250 *")
        await sending.play(UP_TO_THE_DATA.replace("aoife@example.ie", "bernd@example.de"))
        await sending.send(b"the first half, ")
        await storing.play(UP_TO_THE_REPLY)
        await house.post.began.wait()
        stop = asyncio.create_task(house.door.close())
        assert await idle.line() == "421 4.3.2 service shutting down, try again later"
        with pytest.raises(ConnectionError):
            await Peer.connect(house.door.port)
        await sending.play("C: the second half\nC: .\nS: 250 2.6.0 *\nS: 421 4.3.2 *")
        house.post.release.set()
        await storing.play("S: 250 2.6.0 *\nS: 421 4.3.2 *")
        await asyncio.wait_for(stop, 1)
    assert house.post.homes() == [GERMANY, IRELAND]


async def test_a_stop_does_not_wait_for_a_slow_sender_longer_than_it_may(open_door: OpenDoor) -> None:
    house = await open_door(limits=replace(SMALL, store_timeout=0.5, stop_timeout=1.0))
    async with await house.peer() as peer:
        await peer.play(UP_TO_THE_DATA)
        began = time.monotonic()
        stop = asyncio.create_task(house.door.close())
        reply = asyncio.create_task(peer.line())
        while not reply.done():
            await peer.send(b"x\r\n")
            await asyncio.sleep(0.02)
        assert await reply == "421 4.3.2 service shutting down, try again later"
        peer.writer.close()
        await stop
        assert time.monotonic() - began < 2


async def test_a_stop_does_not_wait_for_a_peer_that_takes_no_replies(open_door: OpenDoor) -> None:
    """It is at the end of its patience with a full socket, not with a command: nothing wakes that but us."""
    house = await open_door(limits=replace(SMALL, commands=10**9, store_timeout=0.5, stop_timeout=30.0))
    reader, writer = await asyncio.open_connection("127.0.0.1", house.door.port, limit=1024)
    await reader.readline()
    (wire,) = house.door._wires
    writer.write(b"NOOP\r\n" * 100_000)
    async with asyncio.timeout(20):
        while not wire._full:
            writer.write(b"NOOP\r\n" * 20_000)
            await asyncio.sleep(0.01)
    began = time.monotonic()
    await house.door.close()
    assert time.monotonic() - began < 5
    writer.transport.abort()


async def test_a_stop_ends_in_its_time_whatever_the_sessions_do(open_door: OpenDoor) -> None:
    """A store that takes all the time it has, and a peer that goes on sending, unread, behind it."""
    house = await open_door(limits=replace(SMALL, store_timeout=1.0, stop_timeout=1.5))
    house.post.stalled.add(IRELAND)
    async with await house.peer() as peer:
        await peer.play(UP_TO_THE_DATA)
        stop = asyncio.create_task(house.door.close())
        began = time.monotonic()
        await asyncio.sleep(0.1)  # the door is stopping when the message ends
        await peer.send(b"x\r\n.\r\n" + b"NOOP\r\n" * 1_000)
        await stop
        assert time.monotonic() - began < 2.4, "less than both times one after the other"
        assert (await peer.line()).startswith("451 4.3.2 ")


async def test_one_session_does_not_wait_for_another(smtp: House) -> None:
    """A stalled region holds up its own mail and no other's."""
    smtp.post.stalled.add(IRELAND)
    stuck = await smtp.peer()
    await stuck.play(UP_TO_THE_REPLY)
    await smtp.post.began.wait()
    async with asyncio.timeout(1):
        async with await smtp.peer() as peer:
            await peer.play(STORED.replace("aoife@example.ie", "bernd@example.de"))
    assert smtp.post.homes() == [GERMANY]
    stuck.writer.close()
