"""CHUNKING (RFC 3030)."""

from __future__ import annotations

from tests.ingress.conftest import House
from tests.ingress.posts import without_trace
from tests.ingress.transcripts import Peer

ENVELOPE = """
    C: MAIL FROM:<s@client.example>
    S: 250 2.1.0 *
    C: RCPT TO:<aoife@example.ie>
    S: 250 2.1.5 *
"""


async def said_hello(house: House) -> Peer:
    peer = await house.peer()
    await peer.play("S: 220 *\nC: EHLO c")
    await peer.reply()
    return peer


async def test_chunks_make_one_message_and_dots_are_not_special(smtp: House) -> None:
    async with await said_hello(smtp) as peer:
        await peer.play(
            ENVELOPE
            + r"""
            C| BDAT 10\r\n.one\r\n..\r\n
            S: 250 2.0.0 octets received
            C| BDAT 0\r\n
            S: 250 2.0.0 octets received
            C| BDAT 5 LAST\r\n.\r\n.\n
            S: 554 5.6.0 *
        """
            + ENVELOPE
            + r"""
            C| BDAT 10\r\n.one\r\n..\r\n
            S: 250 2.0.0 octets received
            C| bdat 6 last\r\n.\r\nx\r\n
            S: 250 2.6.0 stored as *
        """
        )
    (copy,) = smtp.post.copies
    assert without_trace(copy.content) == b".one\r\n..\r\n.\r\nx\r\n"


async def test_bdat_and_data_do_not_mix(smtp: House) -> None:
    """RFC 3030 2: after a BDAT comes BDAT or RSET."""
    async with await said_hello(smtp) as peer:
        await peer.play(
            ENVELOPE
            + r"""
            C| BDAT 3\r\nx\r\n
            S: 250 2.0.0 *
            C: DATA
            S: 503 5.5.1 *
            C: RCPT TO:<bernd@example.de>
            S: 503 5.5.1 *
            C: MAIL FROM:<>
            S: 503 5.5.1 *
            C: NOOP
            S: 250 2.0.0 ok
            C: RSET
            S: 250 2.0.0 ok
            C| BDAT 3 LAST\r\nx\r\n
            S: 503 5.5.1 *
            C: NOOP
            S: 250 2.0.0 ok
        """
        )
    assert not smtp.post.copies


async def test_octets_of_a_refused_chunk_are_never_commands(smtp: House) -> None:
    async with await said_hello(smtp) as peer:
        await peer.play(r"""
            C| BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n
            S: 503 5.5.1 MAIL comes first
            S: 250 2.0.0 ok
            C: MAIL FROM:<>
            S: 250 2.1.0 *
            C| BDAT 6\r\nNOOP\r\nNOOP\r\n
            S: 503 5.5.1 no recipient has been accepted
            S: 250 2.0.0 ok
        """)


async def test_a_chunk_that_makes_the_message_too_large_refuses_all_of_it(smtp: House) -> None:
    """RFC 3030 4.2: what follows is taken off the wire and refused too, until RSET."""
    async with await said_hello(smtp) as peer:
        await peer.play(ENVELOPE)
        octets = b"x" * 998 + b"\r\n"
        await peer.send(b"BDAT 1000000\r\n" + octets * 1000)
        assert await peer.reply() == "250 2.0.0 octets received"
        await peer.send(
            b"BDAT 100000\r\n" + octets * 100 + b"BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\nNOOP\r\n"
        )
        assert [(await peer.reply())[:9] for _ in range(4)] == ["552 5.3.4"] * 3 + ["250 2.0.0"]
        await peer.play(ENVELOPE)
    assert not smtp.post.copies
    assert smtp.reception.memory.in_flight == 0


async def test_a_chunk_of_unknown_size_ends_the_session(smtp: House) -> None:
    """Nobody can tell what follows: it must be read as neither message nor command."""
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT 1 FIRST", "BDAT 99999999999999999999", "BDAT 1 LAST x"]:
        async with await said_hello(smtp) as peer:
            await peer.play(ENVELOPE + f"C: {line}\nC: NOOP\nS: 501 5.5.4 *\n-- closed")


async def test_lmtp_answers_for_each_recipient_after_the_last_chunk(lmtp: House) -> None:
    peer = await lmtp.peer()
    async with peer:
        await peer.play("S: 220 *\nC: LHLO c")
        await peer.reply()
        await peer.play(r"""
            C: MAIL FROM:<>
            C: RCPT TO:<bernd@example.de>
            C: RCPT TO:<carol@example.com>
            C| BDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\n
            S: 250 *
            S: 250 *
            S: 250 *
            S: 250 2.0.0 octets received
            S: 250 2.6.0 stored as *
            S: 250 2.6.0 stored as *
        """)
    assert len(lmtp.post.copies) == 2
