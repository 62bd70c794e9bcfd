"""SMTP as RFC 5321 writes it, on the wire."""

from __future__ import annotations

import asyncio

import pytest

from storage.errors import AccountClosed, AccountSuspended, Unavailable
from tests.ingress.conftest import House, OpenDoor
from tests.ingress.posts import GERMANY, IRELAND, STATES, without_trace

DELIVER_TO_AOIFE = """
    S: 220 mx.example.ie ESMTP Situs
    C: EHLO client.example
    S: 250-mx.example.ie
    S: 250-PIPELINING
    S: 250-SIZE 1048576
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250 CHUNKING
    C: MAIL FROM:<Sender@client.example>
    S: 250 2.1.0 sender ok
    C: RCPT TO:<aoife@example.ie>
    S: 250 2.1.5 recipient ok
    C: DATA
    S: 354 end with <CRLF>.<CRLF>
    C: Subject: hello
    C:
    C: ..a dot, then text
    C: .
    S: 250 2.6.0 stored as *
    C: QUIT
    S: 221 2.0.0 closing the connection
    -- closed
"""


async def test_a_message_from_hello_to_quit(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play(DELIVER_TO_AOIFE)
    (copy,) = smtp.post.copies
    assert copy.home == IRELAND
    assert without_trace(copy.content) == b"Subject: hello\r\n\r\n.a dot, then text\r\n"
    assert copy.envelope.sender == "Sender@client.example"
    assert copy.envelope.recipient == "aoife@example.ie"
    assert copy.envelope.peer == "127.0.0.1"
    assert copy.envelope.protocol == "ESMTP"


async def test_the_reply_gives_the_name_of_the_copy_at_rest(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play(DELIVER_TO_AOIFE.partition("S: 250 2.6.0")[0])
        assert await peer.line() == f"250 2.6.0 stored as {smtp.post.copies[0].id}"


async def test_trace_names_sender_client_and_time_and_no_recipient(smtp: House) -> None:
    """RFC 5321 4.4; 7.2: a copy does not tell who else got one."""
    async with await smtp.peer() as peer:
        await peer.play(DELIVER_TO_AOIFE)
    trace = smtp.post.copies[0].content.partition(b"Subject:")[0].decode()
    fields = trace.replace("\r\n\t", " ").split("\r\n")
    assert fields[0] == "Return-Path: <Sender@client.example>"
    assert fields[1].startswith("Received: from client.example ([127.0.0.1]) by mx.example.ie with ESMTP id ")
    assert fields[1].endswith("; Tue, 24 Nov 2026 12:00:00 +0000")
    assert "aoife" not in trace


ENVELOPE_OF_THREE = """
    S: 220 *
    C: EHLO client.example
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250 *
    C: MAIL FROM:<s@client.example>
    C: RCPT TO:<aoife@example.ie>
    C: RCPT TO:<bernd@example.de>
    C: RCPT TO:<carol@example.com>
    C: DATA
    S: 250 2.1.0 sender ok
    S: 250 2.1.5 recipient ok
    S: 250 2.1.5 recipient ok
    S: 250 2.1.5 recipient ok
    S: 354 *
    C: hello
    C: .
"""


async def test_one_message_to_three_regions_is_one_copy_in_each(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play(ENVELOPE_OF_THREE)
        assert (await peer.reply()).count("2.6.0 stored as ") == 3
    assert smtp.post.homes() == [GERMANY, IRELAND, STATES]
    assert len({copy.content for copy in smtp.post.copies}) == 1


async def test_half_of_the_copies_is_not_enough_for_250(smtp: House) -> None:
    """A region that is down gets nothing, nor does any other region in its place."""
    smtp.post.down[STATES] = Unavailable("us-east-1 is down")
    async with await smtp.peer() as peer:
        await peer.play(ENVELOPE_OF_THREE + "S: 451 4.3.2 not every copy could be stored, try again later")
    assert smtp.post.homes() == [GERMANY, IRELAND]


async def test_a_region_that_is_down_is_a_temporary_failure(smtp: House) -> None:
    smtp.post.down[IRELAND] = Unavailable("eu-west-1 is down")
    async with await smtp.peer() as peer:
        transcript = DELIVER_TO_AOIFE.replace(
            "S: 250 2.6.0 stored as *", "S: 451 4.3.2 the mailbox cannot be reached for now, try again later"
        )
        await peer.play(transcript)
    assert not smtp.post.copies


async def test_a_region_that_stalls_is_a_temporary_failure_within_the_store_timeout(smtp: House) -> None:
    smtp.post.stalled.add(IRELAND)
    async with await smtp.peer() as peer, asyncio.timeout(5):
        await peer.play(DELIVER_TO_AOIFE.replace("S: 250 2.6.0 stored as *", "S: 451 4.3.2 *"))
    assert not smtp.post.copies


async def test_a_fault_of_ours_is_451_and_tells_the_peer_nothing_of_it(smtp: House) -> None:
    smtp.post.down[IRELAND] = KeyError("aoife@example.ie")
    async with await smtp.peer() as peer:
        await peer.play(
            DELIVER_TO_AOIFE.replace("S: 250 2.6.0 stored as *", "S: 451 4.3.0 local error, try again later")
        )


RECIPIENT = """
    S: 220 *
    C: HELO client.example
    S: 250 mx.example.ie
    C: MAIL FROM:<>
    S: 250 2.1.0 sender ok
    C: RCPT TO:<{to}>
    S: {reply}
    C: NOOP
    S: 250 2.0.0 ok
"""


async def test_recipients_that_take_no_mail(open_door: OpenDoor) -> None:
    for fault, reply in [
        (None, "550 5.1.1 no such mailbox here"),
        (Unavailable("down"), "451 4.3.2 *"),
        (TimeoutError(), "451 4.3.2 *"),
        (AccountSuspended("for now"), "450 4.2.1 *"),
        (AccountClosed("for good"), "550 5.2.1 *"),
        (RuntimeError("nobody@example.ie"), "451 4.3.0 local error, try again later"),
    ]:
        house = await open_door()
        house.post.lookup_fails = fault
        async with await house.peer() as peer:
            await peer.play(RECIPIENT.format(to="nobody@example.ie", reply=reply))


async def test_commands_out_of_order(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play("""
            S: 220 *
            C: MAIL FROM:<s@client.example>
            S: 503 5.5.1 say hello first
            C: HELO client.example
            S: 250 *
            C: RCPT TO:<aoife@example.ie>
            S: 503 5.5.1 MAIL comes first
            C: DATA
            S: 503 5.5.1 MAIL comes first
            C: MAIL FROM:<s@client.example>
            S: 250 *
            C: MAIL FROM:<s@client.example>
            S: 503 5.5.1 a transaction is open already
            C: DATA
            S: 503 5.5.1 no recipient has been accepted
            C: RSET
            S: 250 2.0.0 ok
            C: RCPT TO:<aoife@example.ie>
            S: 503 5.5.1 MAIL comes first
        """)


async def test_the_small_commands(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play("""
            S: 220 *
            C: noop and whatever
            S: 250 2.0.0 ok
            C: VRFY aoife
            S: 252 2.5.0 *
            C: VRFY
            S: 501 5.5.4 *
            C: EXPN list
            S: 502 5.5.1 *
            C: HELP
            S: 214 2.0.0 *
            C: AUTH PLAIN AGFvaWZlAHNlY3JldA==
            S: 500 5.5.1 unknown command
            C: STARTTLS
            S: 502 5.5.1 *
            C: RSET now
            S: 501 5.5.4 *
            C: LHLO client.example
            S: 500 5.5.1 unknown command
            C: HELO one two
            S: 501 5.5.4 *
            C: HELO
            S: 501 5.5.4 *
            C: HELO [IPv6:2001:db8::1]
            S: 250 mx.example.ie
            C: QUIT now
            S: 501 5.5.4 *
            C: quit
            S: 221 *
            -- closed
        """)


@pytest.mark.parametrize(
    "line", ["POST / HTTP/1.1", "GET / HTTP/1.1", "CONNECT mx:25 HTTP/1.1", "put /x HTTP/1.0"]
)
async def test_what_a_web_client_was_made_to_send_is_no_mail(smtp: House, line: str) -> None:
    """A page elsewhere can have a browser inside the site POST a body that reads as SMTP."""
    async with await smtp.peer() as peer:
        await peer.play(f"""
            S: 220 *
            C: {line}
            C: Host: mx.example.ie
            C:
            C: HELO inside.example
            C: MAIL FROM:<>
            C: RCPT TO:<aoife@example.ie>
            C: DATA
            C: .
            S: 421 4.7.0 this is no web server
            -- closed
        """)
    assert not smtp.post.copies


async def test_paths_as_the_grammar_has_them(smtp: House) -> None:
    """RFC 5321 4.1.1.3, 4.1.2: source routes are read and ignored, quoting is no other mailbox."""
    smtp.post.add("postmaster@mx.example.ie", IRELAND)
    async with await smtp.peer() as peer:
        await peer.play("""
            S: 220 *
            C: HELO client.example
            S: 250 *
            C: MAIL FROM:<@relay.example,@other.example:s@client.example>
            S: 250 *
            C: RCPT TO:<@relay.example:aoife@example.ie>
            S: 250 *
            C: RCPT TO:<"aoife"@example.ie>
            S: 250 *
            C: RCPT TO:<AOIFE@EXAMPLE.IE>
            S: 250 *
            C: RCPT TO:<Postmaster>
            S: 250 *
            C: RCPT TO:<"aoife bernd"@example.ie>
            S: 550 5.1.1 *
            C: RCPT TO:<aoife@[127.0.0.1]>
            S: 550 5.1.1 *
            C: RCPT TO: <aoife@example.ie>
            S: 250 *
            C: DATA
            S: 354 *
            C: .
            S: 250-2.6.0 stored as *
            S: 250 2.6.0 stored as *
        """)
    assert [copy.envelope.recipient for copy in smtp.post.copies] == [
        "aoife@example.ie",
        "postmaster@mx.example.ie",
    ]
    assert smtp.post.copies[0].envelope.sender == "s@client.example"


async def test_what_is_no_mailbox_is_not_read_as_one(smtp: House) -> None:
    """An encoded word, a comment or a display name would turn one recipient into another."""
    async with await smtp.peer() as peer:
        await peer.play("S: 220 *\nC: HELO c\nS: 250 *\nC: MAIL FROM:<>\nS: 250 *")
        for path in [
            "<(comment)aoife@example.ie>",
            "<aoife@example.ie(comment)>",
            "Aoife <aoife@example.ie>",
            "aoife@example.ie",
            "<<aoife@example.ie>>",
            "<aoife@example.ie",
            "<aoife@example.ie>x",
            "<aoife>",
            "<>",
            "<@>",
            "<@relay.example:>",
            "<aoife@example..ie>",
            "<.aoife@example.ie>",
            '<"aoife@example.ie>',
            "<aoife@-example.ie>",
            f"<{'a' * 65}@example.ie>",
            f"<a@{'b' * 63}.{'b' * 63}.{'b' * 63}.{'b' * 63}>",
        ]:
            await peer.send(f"RCPT TO:{path}\r\n".encode())
            assert (await peer.reply()).startswith("501 5.1.3"), path
        # An encoded word is only an odd local part: it is looked up as it stands.
        await peer.play("C: RCPT TO:<=?utf-8?q?aoife?=@example.ie>\nS: 550 5.1.1 *")


async def test_only_empty_brackets_are_the_null_sender(smtp: House) -> None:
    async with await smtp.peer() as peer:
        await peer.play("S: 220 *\nC: HELO c\nS: 250 *")
        for path in ["<@relay.example:>", "< >", '<"">', "<@>", "", "<", "<s@client.example> x<y>"]:
            await peer.send(f"MAIL FROM:{path}\r\nRSET\r\n".encode())
            assert (await peer.reply()).startswith("501 5."), path
            await peer.reply()


async def test_parameters_are_validated(open_door: OpenDoor) -> None:
    house = await open_door()
    async with await house.peer() as peer:
        await peer.play("S: 220 *\nC: EHLO c")
        await peer.reply()
        for parameters, reply in [
            ("SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb", "250 "),
            ("body=7bit", "250 "),
            ("SIZE=1048577", "552 5.3.4"),
            ("SIZE=", "501 5.5.4"),
            ("SIZE=-1", "501 5.5.4"),
            ("SIZE=99999999999999999999", "552 5.3.4"),
            ("SIZE=1 SIZE=2", "501 5.5.4"),
            ("BODY=BINARYMIME", "501 5.5.4"),
            ("SMTPUTF8=yes", "501 5.5.4"),
            ("RET=ALL", "501 5.5.4"),
            ("ENVID=a+zz", "501 5.5.4"),
            ("AUTH=<>", "555 5.5.4"),
            ("X=1", "555 5.5.4"),
            ("=1", "501 5.5.4"),
        ]:
            await peer.send(f"MAIL FROM:<s@client.example> {parameters}\r\nRSET\r\n".encode())
            assert (await peer.reply()).startswith(reply), parameters
            assert (await peer.reply()).startswith("250 ")
        await peer.play("C: MAIL FROM:<>\nS: 250 *")
        for parameters, reply in [
            ("NOTIFY=NEVER ORCPT=rfc822;aoife@example.ie", "250 "),
            ("NOTIFY=SUCCESS,FAILURE,DELAY", "250 "),
            ("ORCPT=utf-8;aoife+2Bx@example.ie", "250 "),
            ("NOTIFY=NEVER,DELAY", "501 5.5.4"),
            ("NOTIFY=", "501 5.5.4"),
            ("NOTIFY=DELAY,DELAY", "501 5.5.4"),
            ("ORCPT=aoife@example.ie", "501 5.5.4"),
            ("SIZE=1", "555 5.5.4"),
        ]:
            await peer.send(f"RCPT TO:<aoife@example.ie> {parameters}\r\n".encode())
            assert (await peer.reply()).startswith(reply), parameters


async def test_addresses_outside_ascii_need_smtputf8(smtp: House) -> None:
    """RFC 6531 3.5; the domain's U-label and A-label are one domain."""
    smtp.post.add("gráinne@bücher.example", IRELAND)
    async with await smtp.peer() as peer:
        await peer.play("""
            S: 220 *
            C: HELO c
            S: 250 *
            C: MAIL FROM:<müller@client.example>
            S: 553 5.6.7 *
            C: MAIL FROM:<>
            S: 250 *
            C: RCPT TO:<gráinne@bücher.example>
            S: 553 5.6.7 *
            C: RSET
            S: 250 *
            C: MAIL FROM:<müller@client.example> SMTPUTF8
            S: 250 *
            C: RCPT TO:<gráinne@xn--bcher-kva.example>
            S: 250 *
            C: RCPT TO:<\\xff@example.ie>
            S: 500 5.5.2 *
            C: DATA
            S: 354 *
            C: Subject: grüße
            C: .
            S: 250 2.6.0 *
        """)
    (copy,) = smtp.post.copies
    assert copy.content.startswith("Return-Path: <müller@client.example>\r\n".encode())
    assert without_trace(copy.content) == "Subject: grüße\r\n".encode()
