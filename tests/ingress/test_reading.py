"""Where a message ends, and that nothing inside one is ever read as a command.

The sequences are those of the SMTP smuggling reports of 2023 (CVE-2023-51764, -51765, -51766) and
their relatives: every mixture of CR, LF, dot and NUL that some server has taken for an end of data.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.corpus import REFUSED, Mail, corpus
from tests.ingress.conftest import SMALL, House, OpenDoor
from tests.ingress.posts import without_trace
from tests.ingress.transcripts import Peer

FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n\0.\0\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\r\n.\n.\r",
    b"\x85.\x85",
    b"\x0b.\x0b",
    b"\x0c.\x0c",
    b"\r\n \r\n.\n",
    "\u2028.\u2028".encode(),
]
SECOND_MAIL = b"MAIL FROM:<admin@example.ie>\r\nRCPT TO:<bernd@example.de>\r\nDATA\r\nsmuggled\r\n"


async def begin(peer: Peer) -> None:
    await peer.play("""
        S: 220 *
        C: HELO c
        S: 250 *
        C: MAIL FROM:<s@client.example>
        S: 250 *
        C: RCPT TO:<aoife@example.ie>
        S: 250 *
        C: DATA
        S: 354 *
    """)


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
async def test_a_false_end_of_data_gives_one_message_or_a_refusal_never_two(
    smtp: House, false_end: bytes
) -> None:
    async with await smtp.peer() as peer:
        await begin(peer)
        await peer.send(b"Subject: x\r\n\r\nfirst" + false_end + SECOND_MAIL + b".\r\nNOOP\r\n")
        assert (await peer.reply())[:3] in ("250", "554")
        # In step: one reply for all that was data, then the one for NOOP.
        assert await peer.reply() == "250 2.0.0 ok"
        await peer.play("C: QUIT\nS: 221 *\n-- closed")
    assert len(smtp.post.copies) <= 1
    for copy in smtp.post.copies:
        assert copy.envelope.recipient == "aoife@example.ie"
        assert b"smuggled" in copy.content


@pytest.mark.parametrize("name", REFUSED)
async def test_what_may_not_be_in_a_message_is_refused_and_the_session_goes_on(
    smtp: House, name: str
) -> None:
    async with await smtp.peer() as peer:
        await begin(peer)
        await peer.send(REFUSED[name] + b".\r\n")
        assert (await peer.reply()).startswith("554 5.")
        await peer.play("""
            C: MAIL FROM:<>
            S: 250 2.1.0 *
            C: RCPT TO:<aoife@example.ie>
            S: 250 2.1.5 *
            C: DATA
            S: 354 *
            C: the next one
            C: .
            S: 250 2.6.0 *
        """)
    (copy,) = smtp.post.copies
    assert without_trace(copy.content) == b"the next one\r\n"


async def test_a_message_may_come_in_any_pieces(smtp: House) -> None:
    """Every cut of the octets that matter, down to one at a time."""
    data = b"Subject: x\r\n\r\n..\r\n.\r\n"
    for pieces in [[data[:cut], data[cut:]] for cut in range(1, len(data))] + [[bytes([o]) for o in data]]:
        async with await smtp.peer() as peer:
            await begin(peer)
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0)
            assert (await peer.reply()).startswith("250 2.6.0")
    assert {without_trace(copy.content) for copy in smtp.post.copies} == {b"Subject: x\r\n\r\n.\r\n"}
    assert len(smtp.post.copies) == len(data)


async def test_a_dot_that_begins_a_line_is_not_part_of_it_doubled_or_not(smtp: House) -> None:
    """RFC 5321 4.5.2."""
    async with await smtp.peer() as peer:
        await begin(peer)
        await peer.send(b".first\r\n..second\r\n.third\r\n.\r\n")
        assert (await peer.reply()).startswith("250 2.6.0")
    assert without_trace(smtp.post.copies[0].content) == b"first\r\n.second\r\nthird\r\n"


@pytest.mark.parametrize(
    "line",
    [
        rb"NOOP\nNOOP",
        rb"NOOP\rNOOP",
        rb"NOOP\r",
        rb"\nNOOP",
        rb"NO\x00OP",
        rb"RCPT TO:<aoife@example.ie>\nRCPT TO:<bernd@example.de>",
    ],
)
async def test_a_bare_cr_or_lf_in_a_command_gets_one_refusal(smtp: House, line: bytes) -> None:
    async with await smtp.peer() as peer:
        await peer.play(f"""
            S: 220 *
            C: {line.decode()}
            S: 500 5.5.2 *
            C: NOOP
            S: 250 2.0.0 ok
        """)


async def test_a_client_that_ends_its_lines_in_lf_alone_is_told_so(
    smtp: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ingress.reading._AFTER_BARE_LF", 0.05)
    async with await smtp.peer() as peer:
        await peer.play(r"""
            S: 220 *
            C| HELO c\n
            S: 500 5.5.2 *
            C: NOOP
            S: 250 2.0.0 ok
        """)


async def test_a_command_line_has_a_limit_and_the_session_stays_in_step(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play("S: 220 *")
        for length, reply in [
            (2_043, "250 "),
            (2_044, "500 5.5.2"),
            (100_000, "500 5.5.2"),
            (1_000_000, "500 5.5.2"),
        ]:
            await peer.send(b"NOOP " + b"x" * length + b"\r\n")
            assert (await peer.reply()).startswith(reply), length
        await peer.play("C: NOOP\nS: 250 2.0.0 ok")


async def test_size_is_the_limit_and_one_octet_more_is_not(smtp: House) -> None:
    """RFC 1870 6.3: too large is 552, whenever it is found out; the rest of the session is not touched."""
    for octets, reply in [(SMALL.message_size, "250 2.6.0"), (SMALL.message_size + 1, "552 5.3.4")]:
        async with await smtp.peer() as peer:
            await begin(peer)
            message = (b"x" * 998 + b"\r\n") * (octets // 1000 + 1)
            message = message[: octets - 2] + b"\r\n"
            await peer.send(message + b".\r\n")
            assert (await peer.reply()).startswith(reply)
            await peer.play("C: NOOP\nS: 250 2.0.0 ok")
    assert smtp.reception.memory.in_flight == 0


async def test_a_message_far_over_the_limit_is_read_to_its_end(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await begin(peer)
        for _ in range(20):
            await peer.send((b"y" * 998 + b"\r\n") * 200)
        await peer.send(b".\r\n")
        assert (await peer.reply()).startswith("552 5.3.4")
        await peer.play("C: NOOP\nS: 250 2.0.0 ok")


BIG = [mail for mail in corpus() if len(mail.content) > SMALL.message_size]


@pytest.mark.parametrize("mail", [mail for mail in corpus() if mail not in BIG], ids=lambda mail: mail.name)
async def test_mail_is_stored_octet_for_octet(smtp: House, mail: Mail) -> None:
    """By DATA and by BDAT, alone and pipelined behind its envelope."""
    parameters = " SMTPUTF8" if mail.smtputf8 else ""
    envelope = f"MAIL FROM:<{mail.sender}>{parameters}\r\nRCPT TO:<aoife@example.ie>\r\n".encode()
    stuffed = mail.content.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    middle = len(mail.content) // 2
    async with await smtp.peer() as peer:
        await peer.play("S: 220 *\nC: EHLO c")
        await peer.reply()
        await peer.send(envelope + b"DATA\r\n")
        assert [(await peer.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        await peer.send(stuffed + b".\r\n")
        assert (await peer.reply()).startswith("250 2.6.0"), mail.name
        await peer.send(
            envelope
            + b"BDAT %d\r\n%b" % (middle, mail.content[:middle])
            + b"BDAT %d LAST\r\n%b" % (len(mail.content) - middle, mail.content[middle:])
            + b"QUIT\r\n"
        )
        assert [(await peer.reply())[:9] for _ in range(5)] == [
            "250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.6.0", "221 2.0.0",
        ]  # fmt: skip
    for copy in smtp.post.copies:
        assert without_trace(copy.content) == mail.content
        assert copy.envelope.sender == mail.sender
    assert len(smtp.post.copies) == 2


async def test_ten_mebibytes(open_door: OpenDoor) -> None:
    from gateway.ingress.limits import Limits

    house = await open_door(limits=Limits())
    (mail,) = BIG
    async with await house.peer() as peer:
        await begin(peer)
        await peer.send(mail.content + b".\r\n")
        assert (await peer.reply()).startswith("250 2.6.0")
    assert without_trace(house.post.copies[0].content) == mail.content
