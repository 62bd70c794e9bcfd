"""LMTP: what differs from SMTP (RFC 2033)."""

from __future__ import annotations

from pathlib import Path

from gateway.ingress.limits import ListenerSettings
from storage.errors import Unavailable
from tests.ingress.conftest import House, OpenDoor
from tests.ingress.posts import GERMANY, STATES
from tests.ingress.transcripts import Peer

HELLO = """
    S: 220 mx.example.ie LMTP Situs
    C: LHLO queue.example
    S: 250-mx.example.ie
    S: 250-PIPELINING
    S: 250-SIZE 1048576
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250 CHUNKING
"""


async def test_one_reply_for_each_accepted_recipient(lmtp: House) -> None:
    """RFC 2033 4.2: in the order of the RCPTs; one that was refused gets none."""
    lmtp.post.down[GERMANY] = Unavailable("eu-central-1 is down")
    async with await lmtp.peer() as peer:
        await peer.play(
            HELLO
            + """
            C: MAIL FROM:<s@client.example>
            C: RCPT TO:<bernd@example.de>
            C: RCPT TO:<nobody@example.ie>
            C: RCPT TO:<carol@example.com>
            C: RCPT TO:<bernd@example.de>
            C: DATA
            S: 250 2.1.0 *
            S: 250 2.1.5 *
            S: 550 5.1.1 *
            S: 250 2.1.5 *
            S: 250 2.1.5 *
            S: 354 *
            C: hello
            C: .
            S: 451 4.3.2 *
            S: 250 2.6.0 stored as *
            S: 451 4.3.2 *
            C: NOOP
            S: 250 2.0.0 ok
        """
        )
    (copy,) = lmtp.post.copies
    assert copy.home == STATES
    assert copy.envelope.protocol == "LMTP"


async def test_a_refused_message_is_refused_for_each_recipient(lmtp: House) -> None:
    async with await lmtp.peer() as peer:
        await peer.play(
            HELLO
            + """
            C: MAIL FROM:<>
            C: RCPT TO:<bernd@example.de>
            C: RCPT TO:<carol@example.com>
            C: DATA
            S: 250 *
            S: 250 *
            S: 250 *
            S: 354 *
            C: a NUL: \\x00
            C: .
            S: 554 5.6.0 *
            S: 554 5.6.0 *
            C: NOOP
            S: 250 2.0.0 ok
        """
        )
    assert not lmtp.post.copies


async def test_hello_is_lhlo_and_nothing_else(lmtp: House) -> None:
    async with await lmtp.peer() as peer:
        await peer.play("""
            S: 220 *
            C: EHLO c
            S: 500 5.5.1 *
            C: HELO c
            S: 500 5.5.1 *
            C: MAIL FROM:<>
            S: 503 5.5.1 say hello first
        """)


async def test_data_without_a_recipient_is_503(lmtp: House) -> None:
    """RFC 2033 4.2."""
    async with await lmtp.peer() as peer:
        await peer.play(HELLO + "C: MAIL FROM:<>\nS: 250 *\nC: DATA\nS: 503 5.5.1 *")


async def test_on_a_unix_socket(open_door: OpenDoor, tmp_path: Path) -> None:
    import asyncio

    path = tmp_path / "lmtp.sock"
    house = await open_door(lmtp=True, settings=ListenerSettings(unix=path))
    assert path.stat().st_mode & 0o777 == 0o660
    async with Peer(*await asyncio.open_unix_connection(path)) as peer:
        await peer.play(
            HELLO
            + """
            C: MAIL FROM:<>
            C: RCPT TO:<carol@example.com>
            C: DATA
            S: 250 *
            S: 250 *
            S: 354 *
            C: .
            S: 250 2.6.0 *
        """
        )
    (copy,) = house.post.copies
    assert copy.envelope.peer == "unix"
    assert b"Received: from queue.example\r\n\tby mx.example.ie with LMTP id " in copy.content
    await house.door.close()
    assert not path.exists()
