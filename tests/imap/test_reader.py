"""A mailbox that is open: FETCH, STORE, COPY, MOVE, EXPUNGE, and what is told meanwhile (RFC 3501 6.4, 7)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from gateway.imap.reading import CommandReader
from storage.errors import Unavailable
from storage.folder_types import View
from tests.imap.conftest import House, OpenHouse
from tests.imap.transcripts import Client

HELLO = (
    b"From: Jonas Weber <jonas@example.de>\r\nTo: aoife@example.ie\r\nSubject: hello\r\n"
    b"Message-ID: <1@example.de>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nIt stays in Ireland.\r\n"
)
JULY = datetime(1996, 7, 17, 9, 44, 25, tzinfo=UTC)


def deliver(house: House, *bodies: bytes) -> None:
    for body in bodies or (HELLO,):
        house.inbox.deliver(body, at=JULY)


async def test_select_tells_what_there_is(house: House) -> None:
    deliver(house, HELLO, HELLO)
    client = await house.resident()
    await client.play(
        """
        C: a1 SELECT inbox
        S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)
        S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] flags that are kept
        S: * 2 EXISTS
        S: * 2 RECENT
        S: * OK [UNSEEN 1] the first that is unseen
        S: * OK [UIDVALIDITY 1000] UIDs are valid
        S: * OK [UIDNEXT 3] the next UID
        S: * OK [HIGHESTMODSEQ 3] modification sequences are kept
        S: a1 OK [READ-WRITE] the mailbox is open
        """
    )


async def test_fetch_of_everything_that_the_index_has_reads_no_message(house: House) -> None:
    deliver(house)
    client = await house.reader()
    await client.play(
        """
        C: a1 FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)
        S: * 1 FETCH (UID 1 FLAGS (\\Recent) INTERNALDATE "17-Jul-1996 09:44:25 +0000" RFC822.SIZE 167)
        S: a1 OK that is all
        C: a2 UID FETCH 1:* (ENVELOPE BODY.PEEK[HEADER.FIELDS (subject)])
        S: * 1 FETCH (UID 1 ENVELOPE ("Tue, 24 Nov 2026 12:00:00 +0000" "hello" ...) BODY[...] {18}
        S: Subject: hello
        S:
        S: )
        S: a2 OK that is all
        C: a3 UID FETCH 1 (BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (subject)] ENVELOPE)
        S: * 1 FETCH (UID 1 BODYSTRUCTURE ("text" "plain" ... 22 1 NIL NIL NIL NIL) BODY[...] {18}
        S: Subject: hello
        S:
        S:  ENVELOPE ("Tue, 24 Nov 2026 12:00:00 +0000" "hello" ...))
        S: a3 OK that is all
        """
    )
    assert house.inbox.content_reads == 0


async def test_structure_is_told_alike_from_the_index_and_from_the_message(house: House) -> None:
    deliver(house)
    client = await house.reader()
    (kept, _) = await client.command("a1", "FETCH 1 (BODYSTRUCTURE ENVELOPE)")
    (read, *_) = await client.command("a2", "FETCH 1 (BODYSTRUCTURE ENVELOPE BODY.PEEK[TEXT])")
    assert kept.removesuffix(")") == read.partition(" BODY[")[0]
    (short, _) = await client.command("a3", "FETCH 1 BODY")
    assert short == '* 1 FETCH (BODY ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 22 1))'


async def test_a_long_message_that_is_read_in_pieces_is_opened_once(house: House) -> None:
    """As Thunderbird reads a large attachment. Another message in between, or none of that size, is not
    kept for anybody."""
    text = b"".join(b"%9d\r\n" % number for number in range(20_000))
    deliver(house, b"Subject: long\r\n\r\n" + text, HELLO)
    client = await house.reader()
    got = b""
    while len(got) < len(text):
        await client.send(b"a1 UID FETCH 1 (UID BODY.PEEK[1]<%d.65536>)\r\n" % len(got))
        size = int((await client.text_line()).partition("{")[2].removesuffix("}"))
        got += await client.reader.readexactly(size)
        await client.play(
            """
            S: )
            S: a1 OK that is all
            """
        )
    assert got == text
    assert house.inbox.content_reads == 1
    for _ in range(2):
        await client.command("a2", "FETCH 2 BODY.PEEK[TEXT]<0.4>")
    assert house.inbox.content_reads == 3
    await client.command("a3", "FETCH 1 BODY.PEEK[TEXT]<0.4>")
    assert house.inbox.content_reads == 4


async def test_what_is_kept_for_the_next_piece_is_charged_and_let_go(house: House) -> None:
    """With the mailbox, and with the session."""
    memory = house.commons.memory
    deliver(house, b"Subject: long\r\n\r\n" + b"x" * 100_000)
    client = await house.reader()
    await client.command("a1", "FETCH 1 BODY.PEEK[TEXT]<0.4>")
    assert memory.in_flight > 100_000
    await client.command("a2", "SELECT INBOX")
    await client.command("a3", "FETCH 1 BODY.PEEK[TEXT]<0.4>")
    assert house.inbox.content_reads == 2
    await house.door.close()
    assert memory.in_flight == 0


async def test_where_there_is_no_room_nothing_is_kept_for_the_next_piece(house: House) -> None:
    memory = house.commons.memory
    deliver(house, b"Subject: long\r\n\r\n" + b"x" * 100_000)
    client = await house.reader()
    memory.charge(house.commons.limits.memory_for_mail // 2 - 50_000)
    for _ in range(2):
        lines = await client.command("a1", "FETCH 1 BODY.PEEK[TEXT]<0.4>")
        assert lines[-1] == "a1 OK that is all"
    assert house.inbox.content_reads == 2


async def test_reading_a_body_marks_it_seen_and_peeking_does_not(house: House) -> None:
    deliver(house)
    client = await house.reader()
    await client.play(
        """
        C: a1 FETCH 1 BODY.PEEK[TEXT]<0.8>
        S: * 1 FETCH (BODY[TEXT]<0> {8}
        S: It stays)
        S: a1 OK that is all
        C: a2 FETCH 1 BODY[TEXT]
        S: * 1 FETCH (BODY[TEXT] {22}
        S: It stays in Ireland.
        S:  FLAGS (\\Recent \\Seen))
        S: a2 OK that is all
        C: a3 FETCH 1 RFC822.TEXT
        S: * 1 FETCH (RFC822.TEXT {22}
        S: It stays in Ireland.
        S: )
        S: a3 OK that is all
        C: a4 NOOP
        S: a4 OK done
        """
    )


async def test_a_mailbox_to_be_read_only_stays_as_it_is(house: House) -> None:
    deliver(house)
    client = await house.reader("EXAMINE")
    await client.play(
        """
        C: a1 FETCH 1 BODY[TEXT]
        S: * 1 FETCH (BODY[TEXT] {22}
        S: It stays in Ireland.
        S: )
        S: a1 OK that is all
        C: a2 STORE 1 +FLAGS (\\Deleted)
        S: a2 NO the mailbox was opened to be read only
        C: a3 EXPUNGE
        S: a3 NO the mailbox was opened to be read only
        C: a4 MOVE 1 Trash
        S: a4 NO the mailbox was opened to be read only
        C: a5 CLOSE
        S: a5 OK closed
        """
    )
    assert len(house.inbox.mail) == 1


async def test_to_look_without_opening_takes_recent_from_nobody(house: House) -> None:
    """RFC 3501 6.3.10, 6.3.2: STATUS and EXAMINE must not cause messages to lose \\Recent."""
    deliver(house)
    client = await house.resident()
    for verb in ("STATUS INBOX (RECENT)", "STATUS INBOX (RECENT)"):
        assert '* STATUS "INBOX" (RECENT 1)' in await client.command("a1", verb)
    assert "* 1 RECENT" in await client.command("a2", "EXAMINE INBOX")
    deliver(house)
    assert "* 2 RECENT" in await client.command("a3", "NOOP")
    assert "* 1 FETCH (FLAGS (\\Recent))" in await client.command("a4", "FETCH 1 FLAGS")
    assert "* 2 RECENT" in await client.command("a5", "SELECT INBOX")
    assert "* 0 RECENT" in await client.command("a6", "SELECT INBOX")


async def test_store_in_each_of_its_forms(house: House) -> None:
    deliver(house, HELLO, HELLO)
    client = await house.reader()
    await client.play(
        """
        C: a1 STORE 1:2 +FLAGS (\\flagged $Work)
        S: * 1 FETCH (FLAGS (\\Flagged \\Recent $Work))
        S: * 2 FETCH (FLAGS (\\Flagged \\Recent $Work))
        S: a1 OK kept
        C: a2 UID STORE 2 -FLAGS.SILENT \\Flagged
        S: a2 OK kept
        C: a3 UID STORE 2 FLAGS ()
        S: * 2 FETCH (UID 2 FLAGS (\\Recent))
        S: a3 OK kept
        C: a4 STORE 3 FLAGS ()
        S: a4 BAD there is no message of that number (RFC 3501 9)
        C: a5 UID STORE 77 FLAGS ()
        S: a5 OK kept
        C: a6 STORE 1 FLAGS (\\Recent)
        S: * 1 FETCH (FLAGS (\\Recent))
        S: a6 OK kept
        C: a7 STORE 1 FLAGS (\\Nonsense)
        S: a7 BAD there is no such system flag (RFC 3501 2.3.2)
        C: a8 NOOP
        S: a8 OK done
        """
    )


async def test_expunge_counts_from_the_end(house: House) -> None:
    deliver(house, *[HELLO] * 4)
    client = await house.reader()
    await client.play(
        """
        C: a1 UID STORE 1,3:4 +FLAGS.SILENT \\Deleted
        S: a1 OK kept
        C: a2 UID EXPUNGE 3
        S: * 3 EXPUNGE
        S: a2 OK expunged
        C: a3 EXPUNGE
        S: * 3 EXPUNGE
        S: * 1 EXPUNGE
        S: a3 OK expunged
        C: a4 UID FETCH 1:* UID
        S: * 1 FETCH (UID 2)
        S: a4 OK that is all
        """
    )


async def test_close_expunges_and_unselect_does_not(house: House) -> None:
    deliver(house, HELLO, HELLO)
    client = await house.reader()
    await client.play(
        """
        C: a1 STORE 1 +FLAGS.SILENT \\Deleted
        S: a1 OK kept
        C: a2 UNSELECT
        S: a2 OK closed, and nothing expunged
        """
    )
    assert len(house.inbox.mail) == 2
    client = await house.reader()
    await client.play(
        """
        C: a1 CLOSE
        S: a1 OK closed
        """
    )
    assert list(house.inbox.mail) == [2]


async def test_copy_and_move_say_where_to(house: House) -> None:
    deliver(house, HELLO, HELLO, HELLO)
    client = await house.reader()
    await client.play(
        """
        C: a1 COPY 1,3 Sent
        S: a1 OK [COPYUID 1001 1,3 1:2] copied
        C: a2 UID MOVE 2:3 Trash
        S: * OK [COPYUID 1002 2:3 1:2] moved
        S: * 3 EXPUNGE
        S: * 2 EXPUNGE
        S: a2 OK moved
        C: a3 COPY 1 Nowhere
        S: a3 NO [TRYCREATE] there is no such mailbox, and it could be made
        C: a4 UID COPY 77 Sent
        S: a4 OK there was nothing to copy
        """
    )


async def test_nothing_is_expunged_while_the_client_counts(house: House) -> None:
    deliver(house, HELLO, HELLO)
    client, other = await house.reader(), await house.reader()
    await other.play(
        """
        C: b1 STORE 1 +FLAGS.SILENT \\Deleted
        S: b1 OK kept
        C: b2 EXPUNGE
        S: * 1 EXPUNGE
        S: b2 OK expunged
        """
    )
    await client.play(
        """
        C: a1 FETCH 1:2 UID
        S: * 2 FETCH (UID 2)
        S: a1 NO [EXPUNGEISSUED] some of the messages are no longer there
        C: a2 STORE 2 +FLAGS.SILENT \\Seen
        S: a2 OK kept
        C: a3 NOOP
        S: * 1 EXPUNGE
        S: a3 OK done
        C: a4 FETCH 1 (UID FLAGS)
        S: * 1 FETCH (UID 2 FLAGS (\\Recent \\Seen))
        S: a4 OK that is all
        """
    )


async def test_what_others_do_is_told(house: House) -> None:
    deliver(house)
    client, other = await house.reader(), await house.reader()
    deliver(house)
    await other.play(
        """
        C: b1 STORE 1 +FLAGS.SILENT $Work
        S: b1 OK kept
        """
    )
    await client.play(
        """
        C: a1 NOOP
        S: * 2 EXISTS
        S: * 2 RECENT
        S: * 1 FETCH (UID 1 FLAGS (\\Recent $Work))
        S: a1 OK done
        """
    )


@pytest.mark.parametrize(
    ("enable", "told"),
    [("NOOP", "FLAGS (\\Recent \\Seen $Work)"), ("ENABLE CONDSTORE", "UID 1 FLAGS (...$Work) MODSEQ (4)")],
    ids=["plain", "condstore"],
)
async def test_a_silent_store_hides_nothing_of_what_others_did(house: House, enable: str, told: str) -> None:
    """RFC 3501 6.4.6: the status of the flags is determinate without a race, .SILENT or not."""
    deliver(house)
    client, other = await house.reader(), await house.reader()
    await client.command("a1", enable)
    await other.command("b1", "STORE 1 +FLAGS.SILENT $Work")
    await client.play(
        f"""
        C: a2 STORE 1 +FLAGS.SILENT \\Seen
        S: * 1 FETCH ({told})
        S: a2 OK kept
        C: a3 NOOP
        S: a3 OK done
        """
    )


async def test_a_mailbox_that_is_deleted_ends_the_sessions_that_have_it_open(house: House) -> None:
    await house.folders.create("Old")
    client, other = await house.reader(name="Old"), await house.resident()
    await other.play(
        """
        C: b1 DELETE Old
        S: b1 OK deleted
        """
    )
    await client.play(
        """
        C: a1 NOOP
        S: * BYE [NONEXISTENT] the mailbox was deleted
        -- closed
        """
    )


async def test_idle_tells_at_once_what_came_in(house: House) -> None:
    deliver(house)
    client = await house.reader()
    await client.play(
        """
        C: a1 IDLE
        S: + idling
        """
    )
    deliver(house)
    house.ring()
    await client.play(
        """
        S: * 2 EXISTS
        S: * 2 RECENT
        C: DONE
        S: a1 OK done
        C: a2 IDLE
        S: + idling
        C: NONSENSE
        S: a2 BAD IDLE ends with DONE (RFC 2177 3)
        """
    )


async def test_idle_tells_what_another_process_did_within_the_poll_interval(open_house: OpenHouse) -> None:
    house = await open_house(poll_seconds=0.1)
    client = await house.reader()
    await client.play(
        """
        C: a1 IDLE
        S: + idling
        """
    )
    deliver(house)
    await client.play(
        """
        S: * 1 EXISTS
        S: * 1 RECENT
        C: DONE
        S: a1 OK done
        """
    )


async def test_an_idle_may_last_as_long_as_clients_let_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 2177 3: clients begin anew every 29 minutes. The client is waited for that long, and told why
    when it has not said DONE by then."""
    waited: list[float] = []
    answer = CommandReader.answer

    async def hurried(reader: CommandReader, seconds: float) -> bytes:
        waited.append(seconds)
        return await answer(reader, 0.01)

    monkeypatch.setattr(CommandReader, "answer", hurried)
    client = await house.reader()
    await client.play(
        """
        C: a1 IDLE
        S: + idling
        S: * BYE nothing was said for too long (RFC 3501 5.4)
        -- closed
        """
    )
    assert waited == [pytest.approx(30 * 60, abs=120)]
    assert waited[0] > 29 * 60


async def test_a_server_that_stops_ends_an_idle(house: House) -> None:
    client = await house.reader()
    await client.play(
        """
        C: a1 IDLE
        S: + idling
        """
    )
    await house.door.close()
    await client.play(
        """
        S: * BYE [UNAVAILABLE] the server is stopping, come again
        -- closed
        """
    )


async def test_modification_sequences(house: House) -> None:
    deliver(house, HELLO, HELLO)
    client = await house.reader()
    await client.play(
        """
        C: a1 ENABLE CONDSTORE NONSENSE
        S: * ENABLED CONDSTORE
        S: a1 OK done
        C: a2 FETCH 1:2 (FLAGS) (CHANGEDSINCE 2)
        S: * 2 FETCH (FLAGS (\\Recent) MODSEQ (3))
        S: a2 OK that is all
        C: a3 UID STORE 1:2 (UNCHANGEDSINCE 2) +FLAGS.SILENT (\\Seen)
        S: * 1 FETCH (UID 1 MODSEQ (4))
        S: a3 OK [MODIFIED 2] some had changed meanwhile
        C: a4 FETCH 1 MODSEQ
        S: * 1 FETCH (MODSEQ (4))
        S: a4 OK that is all
        C: a5 STATUS INBOX (HIGHESTMODSEQ MESSAGES)
        S: * STATUS "INBOX" (HIGHESTMODSEQ 4 MESSAGES 2)
        S: a5 OK that is all
        """
    )


async def test_a_fetch_of_everything_flows_to_a_client_that_reads_slowly(house: House) -> None:
    """RFC 3501 has no bound for an answer; memory has: what waits is never more than a little."""
    deliver(house, *[HELLO + b"x" * 20_000 + b"\r\n"] * 1_000)
    client = await house.reader()
    await client.send(b"a1 FETCH 1:* BODY.PEEK[]\r\n")
    await _read_some(client, 200_000)
    assert house.inbox.content_reads < 900, "the rest waits until the client has taken these"
    lines = [await client.text_line()]
    while not lines[-1].startswith("a1 "):
        lines.append(await client.text_line())
    assert house.inbox.content_reads == 1_000


async def _read_some(client: Client, octets: int) -> None:
    await client.reader.readexactly(octets)


async def test_search_reads_no_more_than_it_has_to(house: House) -> None:
    deliver(house, HELLO, HELLO.replace(b"hello", b"=?utf-8?q?gr=C3=BC=C3=9Fe?="), HELLO)
    client = await house.reader()
    await client.play(
        """
        C: a1 STORE 3 +FLAGS.SILENT (\\Seen $Work)
        S: a1 OK kept
        C: a2 SEARCH UNSEEN
        S: * SEARCH 1 2
        S: a2 OK that is all
        C: a3 UID SEARCH OR KEYWORD $work (FROM jonas SUBJECT "hello") NOT UID 1
        S: * SEARCH 3
        S: a3 OK that is all
        C: a4 SEARCH CHARSET UTF-8 SUBJECT {7+}
        C: GR\\xc3\\x9cSSE
        S: * SEARCH 2
        S: a4 OK that is all
        C: a5 SEARCH SINCE 1-Jan-2000
        S: * SEARCH
        S: a5 OK that is all
        C: a6 SEARCH 1:2 ON 17-Jul-1996 LARGER 100 SMALLER 1000 HEADER Message-ID example.de
        S: * SEARCH 1 2
        S: a6 OK that is all
        """
    )
    assert house.inbox.content_reads == 0
    await client.play(
        """
        C: a1 SEARCH BODY "STAYS in ireland"
        S: * SEARCH 1 2 3
        S: a1 OK that is all
        C: a2 SEARCH MODSEQ "/flags/\\\\seen" all 4
        S: * SEARCH 3 (MODSEQ 5)
        S: a2 OK that is all
        C: a3 SEARCH CHARSET KOI8-R ALL
        S: a3 NO [BADCHARSET (US-ASCII UTF-8)] US-ASCII and UTF-8 are searched in
        C: a4 SEARCH NONSENSE x
        S: a4 BAD there is no such search key (RFC 3501 6.4.4)
        C: a5 SEARCH 9
        S: a5 BAD there is no message of that number (RFC 3501 9)
        """
    )


async def test_a_range_to_the_last_one_is_never_empty(house: House) -> None:
    """RFC 3501 9: `*` is the largest number in use, and a range has no direction."""
    client = await house.reader()
    await client.play(
        """
        C: a1 FETCH 1:* UID
        S: a1 OK that is all
        """
    )
    deliver(house, HELLO, HELLO)
    await client.command("a2", "NOOP")
    await client.play(
        """
        C: a3 FETCH 7:* UID
        S: * 2 FETCH (UID 2)
        S: a3 OK that is all
        C: a4 UID FETCH 7:* UID
        S: * 2 FETCH (UID 2)
        S: a4 OK that is all
        C: a5 FETCH 1:7 UID
        S: a5 BAD there is no message of that number (RFC 3501 9)
        C: a6 FETCH 2,*,1 UID
        S: * 1 FETCH (UID 1)
        S: * 2 FETCH (UID 2)
        S: a6 OK that is all
        """
    )


async def test_idle_outlasts_a_region_that_is_down(house: House) -> None:
    client = await house.reader()
    await client.play(
        """
        C: a1 IDLE
        S: + idling
        """
    )
    whole = house.inbox.refresh
    looked = asyncio.Event()

    async def down(*, claims: bool = True) -> View:
        looked.set()
        raise Unavailable("down")

    house.inbox.refresh = down  # type: ignore[method-assign]
    house.ring()
    await looked.wait()
    house.inbox.refresh = whole  # type: ignore[method-assign]
    deliver(house)
    house.ring()
    await client.play(
        """
        S: * 1 EXISTS
        S: * 1 RECENT
        C: DONE
        S: a1 OK done
        """
    )
