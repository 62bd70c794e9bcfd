"""Mailboxes by name: LIST in its forms, CREATE to RENAME, STATUS, APPEND (RFC 3501 6.3, RFC 5258)."""

from __future__ import annotations

from tests.imap.conftest import House, OpenHouse


async def test_list(house: House) -> None:
    await house.folders.create("Work")
    await house.folders.create("Work/Old")
    await house.folders.create("Entwürfe & mehr")
    client = await house.resident()
    await client.play(
        """
        C: a1 LIST "" ""
        S: * LIST (\\Noselect) "/" ""
        S: a1 OK that is all
        C: a2 LIST "" *
        S: * LIST (\\HasNoChildren) "/" "INBOX"
        S: * LIST (\\HasNoChildren) "/" "Entw&APw-rfe &- mehr"
        S: * LIST (\\HasNoChildren \\Junk) "/" "Junk"
        S: * LIST (\\HasNoChildren \\Sent) "/" "Sent"
        S: * LIST (\\HasNoChildren \\Trash) "/" "Trash"
        S: * LIST (\\HasChildren) "/" "Work"
        S: * LIST (\\HasNoChildren) "/" "Work/Old"
        S: a2 OK that is all
        C: a3 LIST "" W%
        S: * LIST (\\HasChildren) "/" "Work"
        S: a3 OK that is all
        C: a4 LIST Work/ %
        S: * LIST (\\HasNoChildren) "/" "Work/Old"
        S: a4 OK that is all
        C: a5 LIST "" inbox
        S: * LIST (\\HasNoChildren) "/" "INBOX"
        S: a5 OK that is all
        C: a6 LIST "" "Entw&APw-rfe*"
        S: * LIST (\\HasNoChildren) "/" "Entw&APw-rfe &- mehr"
        S: a6 OK that is all
        C: a7 LIST "" "Entw\\xfcrfe"
        S: a7 BAD a mailbox name is 7-bit: modified UTF-7 (RFC 3501 5.1.3)
        """
    )


async def test_list_extended(house: House) -> None:
    await house.folders.create("Work")
    await house.folders.create("Work/Old")
    await house.folders.subscribe("Work/Old", True)
    client = await house.resident()
    await client.play(
        """
        C: a1 LIST (SPECIAL-USE) "" "*" RETURN (SPECIAL-USE)
        S: * LIST (\\HasNoChildren \\Junk) "/" "Junk"
        S: * LIST (\\HasNoChildren \\Sent) "/" "Sent"
        S: * LIST (\\HasNoChildren \\Trash) "/" "Trash"
        S: a1 OK that is all
        C: a2 LIST (SUBSCRIBED) "" (INBOX Work/*) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))
        S: * LIST (\\HasNoChildren \\Subscribed) "/" "INBOX"
        S: * STATUS "INBOX" (MESSAGES 0 UNSEEN 0)
        S: * LIST (\\HasNoChildren \\Subscribed) "/" "Work/Old"
        S: * STATUS "Work/Old" (MESSAGES 0 UNSEEN 0)
        S: a2 OK that is all
        C: a3 LIST (SUBSCRIBED RECURSIVEMATCH) "" %
        S: * LIST (\\HasNoChildren \\Subscribed) "/" "INBOX"
        S: * LIST (\\HasChildren) "/" "Work" ("CHILDINFO" ("SUBSCRIBED"))
        S: a3 OK that is all
        C: a4 LIST (RECURSIVEMATCH) "" %
        S: a4 BAD RECURSIVEMATCH does not stand alone (RFC 5258 3.1)
        C: a5 LSUB "" %
        S: * LSUB () "/" "INBOX"
        S: * LSUB (\\Noselect) "/" "Work"
        S: a5 OK that is all
        """
    )


async def test_a_pattern_of_many_stars_takes_no_time(house: House) -> None:
    await house.folders.create("a" * 500)
    client = await house.resident()
    await client.play(
        f"""
        C: a1 LIST "" "{"*a" * 400}*b"
        S: a1 OK that is all
        C: a2 LIST "" "{"x" * 1001}"
        S: a2 BAD a pattern has 1000 characters at most here
        """
    )


async def test_mailboxes_come_and_go(house: House) -> None:
    client = await house.resident()
    await client.play(
        """
        C: a1 CREATE Work/
        S: a1 OK made
        C: a2 CREATE Work
        S: a2 NO [ALREADYEXISTS] there is a mailbox of that name already
        C: a3 SUBSCRIBE Work
        S: a3 OK subscribed
        C: a4 RENAME Work Play
        S: a4 OK renamed
        C: a5 DELETE Work
        S: a5 NO [NONEXISTENT] there is no such mailbox
        C: a6 DELETE Play
        S: a6 OK deleted
        C: a7 DELETE INBOX
        S: a7 NO [CANNOT] INBOX is never deleted (RFC 3501 6.3.4)
        C: a8 UNSUBSCRIBE Work
        S: a8 OK unsubscribed
        C: a9 NAMESPACE
        S: * NAMESPACE (("" "/")) NIL NIL
        S: a9 OK that is all
        """
    )


async def test_append_and_status(house: House) -> None:
    client = await house.resident()
    await client.play(
        """
        C: a1 APPEND Sent (\\Seen $Work) "17-Jul-1996 02:44:25 -0700" {20}
        S: + go on
        C: Subject: a
        C:
        C: text
        C:
        S: a1 OK [APPENDUID 1001 1] kept
        C: a2 APPEND Sent {5+}
        C: hello
        S: a2 OK [APPENDUID 1001 2] kept
        C: a3 STATUS Sent (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)
        S: * STATUS "Sent" (MESSAGES 2 RECENT 2 UIDNEXT 3 UIDVALIDITY 1001 UNSEEN 1)
        S: a3 OK that is all
        C: a4 APPEND Nowhere {5+}
        C: hello
        S: a4 NO [TRYCREATE] there is no such mailbox, and it could be made
        C: a5 APPEND Sent "31-Feb-1996 02:44:25 -0700" {5+}
        C: hello
        S: a5 BAD there is no such date and time (RFC 3501 9)
        C: a6 APPEND Sent {3+}
        C: a\\x00b
        S: a6 BAD a message has no NUL (RFC 3501 4.3)
        C: a7 EXAMINE Sent
        S: ...
        S: ...
        S: * 2 EXISTS
        S: ...
        S: * OK [UNSEEN 2] ...
        S: ...
        S: ...
        S: ...
        S: a7 OK [READ-ONLY] the mailbox is open
        C: a8 FETCH 1 (FLAGS INTERNALDATE BODY[])
        S: * 1 FETCH (FLAGS (\\Recent \\Seen $Work) INTERNALDATE "17-Jul-1996 09:44:25 +0000" BODY[] {20}
        S: Subject: a
        S:
        S: text
        S: )
        S: a8 OK that is all
        """
    )


async def test_a_message_that_is_too_large_is_read_past(house: House) -> None:
    client = await house.resident()
    await client.play(
        """
        C: a1 APPEND Sent {1048577}
        S: a1 NO [TOOBIG] larger than a message may be here
        C: a2 APPEND Sent {1048577+}
        """
    )
    await client.send(b"x" * 1_048_577 + b"\r\n")
    await client.play(
        """
        S: a2 NO [TOOBIG] larger than a message may be here
        C: a3 NOOP
        S: a3 OK done
        """
    )
    assert not house.folders.of("Sent").mail


async def test_appends_past_the_memory_bound_are_put_off(open_house: OpenHouse) -> None:
    house = await open_house()
    bound = house.commons.limits.memory_for_mail // 2
    house.commons.memory.charge(bound - 100_000)
    client = await house.resident()
    await client.play(
        """
        C: a1 APPEND Sent {200000}
        S: a1 NO [LIMIT] too much mail in flight, try again later
        C: a2 APPEND Sent {5+}
        C: hello
        S: a2 OK [APPENDUID 1001 1] kept
        """
    )
    assert house.commons.memory.in_flight == bound - 100_000


async def test_what_is_appended_to_the_open_mailbox_is_told(house: House) -> None:
    client = await house.reader()
    await client.play(
        """
        C: a1 APPEND INBOX {5+}
        C: hello
        S: * 1 EXISTS
        S: * 1 RECENT
        S: a1 OK [APPENDUID 1000 1] kept
        """
    )
