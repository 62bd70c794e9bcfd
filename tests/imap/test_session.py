"""Sessions on the wire: greeting, signing in, states, and what ends them (RFC 3501 3 and 6.1 to 6.2)."""

from __future__ import annotations

import base64

import pytest

from tests.imap.conftest import House


def plain(user: str, password: str, authorized: str = "") -> str:
    return base64.b64encode(f"{authorized}\0{user}\0{password}".encode()).decode()


AOIFE = plain("aoife@example.ie", "secret")


async def test_a_session_from_the_greeting_to_the_goodbye(house: House) -> None:
    client = await house.client()
    await client.play(
        """
        S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR ... IDLE ... CONDSTORE ...] imap.example.ie Situs
        C: a1 CAPABILITY
        S: * CAPABILITY IMAP4rev1 AUTH=PLAIN ... APPENDLIMIT=1048576
        S: a1 OK that is all
        C: a2 ID ("name" "test" "version" NIL)
        S: * ID ("name" "Situs")
        S: a2 OK pleased to meet you
        C: a3 LOGIN "aoife@example.ie" {6}
        S: + go on
        C: secret
        S: a3 OK [CAPABILITY ...] signed in
        C: a4 NOOP
        S: a4 OK done
        C: a5 LOGOUT
        S: * BYE until next time
        S: a5 OK logged out
        -- closed
        """
    )


async def test_plain_in_each_of_its_forms(house: House) -> None:
    for transcript in (
        f"""
        S: ...
        C: a1 AUTHENTICATE PLAIN {AOIFE}
        S: a1 OK [CAPABILITY ...] signed in
        """,
        f"""
        S: ...
        C: a1 authenticate plain
        S: + ...
        C: {AOIFE}
        S: a1 OK [CAPABILITY ...] signed in
        """,
        f"""
        S: ...
        C: a1 AUTHENTICATE PLAIN {plain("aoife@example.ie", "secret", "aoife@example.ie")}
        S: a1 OK ...
        """,
    ):
        await (await house.client()).play(transcript)


async def test_what_does_not_sign_in(house: House) -> None:
    await (await house.client()).play(
        f"""
        S: ...
        C: a1 LOGIN aoife@example.ie wrong
        S: a1 NO [AUTHENTICATIONFAILED] the name or the password is wrong
        C: a2 AUTHENTICATE PLAIN {plain("aoife@example.ie", "secret", "jonas@example.de")}
        S: a2 NO [AUTHORIZATIONFAILED] ...
        C: a3 AUTHENTICATE PLAIN
        S: + ...
        C: *
        S: a3 BAD the client gave up (RFC 3501 6.2.2)
        C: a4 AUTHENTICATE PLAIN =
        S: a4 BAD PLAIN is [authzid] NUL authcid NUL passwd (RFC 4616 2)
        C: a5 AUTHENTICATE CRAM-MD5
        S: a5 NO AUTHENTICATE PLAIN is the one mechanism here
        C: a6 AUTHENTICATE PLAIN !!!
        S: a6 BAD base64 is expected (RFC 3501 6.2.2)
        C: a7 SELECT INBOX
        S: a7 BAD no command of that name in this state of the session (RFC 3501 6)
        """
    )


async def test_what_is_no_command(house: House) -> None:
    await (await house.client()).play(
        """
        S: ...
        C: a1
        S: a1 BAD a command begins with a tag and a name (RFC 3501 2.2.1)
        C: + NOOP
        S: * BAD a command begins with a tag and a name (RFC 3501 2.2.1)
        C:
        S: * BAD a command begins with a tag and a name (RFC 3501 2.2.1)
        C: a2 NOOP more
        S: a2 BAD the command has more arguments than its syntax allows (RFC 3501 9)
        C: a3 NO\\x00OP
        S: * BAD a command is lines of text that end in CRLF (RFC 3501 2.2)
        C| a4 NOOP\\x0a
        S: * BAD a command is lines of text that end in CRLF (RFC 3501 2.2)
        C: a5 LOGIN "aoife@example.ie {6}
        S: a5 BAD an atom or a string is expected (RFC 3501 9)
        C: a6 NOOP
        S: a6 OK done
        """
    )


async def test_a_literal_that_is_too_long_is_never_asked_for(house: House) -> None:
    await (await house.client()).play(
        """
        S: ...
        C: a1 LOGIN {100000}
        S: a1 BAD [TOOBIG] a literal is too long for this command
        C: a2 LOGIN {20000+}
        """
    )
    client = house.clients[-1]
    await client.send(b"a3 NOOP\r\n".ljust(20000, b"x") + b" secret\r\n")
    await client.play(
        """
        S: a2 BAD [TOOBIG] a literal is too long for this command
        C: a4 NOOP
        S: a4 OK done
        """
    )


@pytest.mark.parametrize("size", [2**31, 10**19 - 1], ids=["2 GB", "19 digits"])
@pytest.mark.parametrize("signed_in", [False, True], ids=["stranger", "owner"])
async def test_a_literal_that_would_never_end_ends_the_session(
    house: House, size: int, signed_in: bool
) -> None:
    """RFC 7888 4: nobody has to take off the wire what was announced and cannot be wanted. One that waits to
    be asked for costs nothing, and the session goes on."""
    client = await (house.resident() if signed_in else house.client())
    verb = "APPEND INBOX" if signed_in else "LOGIN"
    if not signed_in:
        await client.play("S: * OK ...")
    await client.play(
        f"""
        C: a1 {verb} {{{size}}}
        S: a1 ... [TOOBIG] ...
        C: a2 {verb} {{{size}+}}
        S: * BYE [TOOBIG] a literal is longer than anything that is taken here (RFC 7888 4)
        -- closed
        """
    )


async def test_a_line_without_an_end_is_one_error(house: House) -> None:
    client = await house.client()
    await client.play("S: ...")
    await client.send(b"a1 NOOP" + b" " * 200_000 + b"\r\na2 NOOP\r\n")
    await client.play(
        """
        S: * BAD [TOOBIG] the command line is too long (RFC 2683 3.2.1.5)
        S: a2 OK done
        """
    )


async def test_too_many_errors_end_a_session(house: House) -> None:
    client = await house.client()
    await client.play("S: ...")
    for _ in range(21):
        await client.send(b"a NONSENSE\r\n")
        await client.play("S: a BAD ...")
    await client.play(
        """
        S: * BYE too many errors in one session
        -- closed
        """
    )


async def test_pipelined_commands_are_answered_in_their_order(house: House) -> None:
    client = await house.client()
    await client.play(
        """
        S: ...
        C: a1 LOGIN aoife@example.ie secret
        C: a2 SELECT INBOX
        C: a3 UNSELECT
        C: a4 LOGOUT
        S: a1 OK ...
        S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)
        S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] ...
        S: * 0 EXISTS
        S: * 0 RECENT
        S: * OK [UIDVALIDITY 1000] ...
        S: * OK [UIDNEXT 1] ...
        S: * OK [HIGHESTMODSEQ 1] ...
        S: a2 OK [READ-WRITE] the mailbox is open
        S: a3 OK closed, and nothing expunged
        S: * BYE ...
        S: a4 OK logged out
        -- closed
        """
    )


async def test_a_server_that_stops_says_so(house: House) -> None:
    client = await house.reader()
    await house.door.close()
    await client.play(
        """
        S: * BYE [UNAVAILABLE] the server is stopping, come again
        -- closed
        """
    )


async def test_an_account_that_is_closed_or_has_moved_ends_the_session(house: House) -> None:
    client = await house.reader()
    house.owner.open = False
    await client.play(
        """
        C: a1 NOOP
        S: * BYE [UNAVAILABLE] the account is not open here any more, sign in again
        -- closed
        """
    )


@pytest.mark.parametrize("name", ["NoSuch", "Entw&APw-rfe"])
async def test_a_select_that_fails_leaves_no_mailbox_open(house: House, name: str) -> None:
    client = await house.reader()
    await client.play(
        f"""
        C: a1 SELECT {name}
        S: * OK [CLOSED] the mailbox before is closed
        S: a1 NO [NONEXISTENT] there is no such mailbox
        C: a2 FETCH 1 FLAGS
        S: a2 BAD no command of that name in this state of the session (RFC 3501 6)
        """
    )
