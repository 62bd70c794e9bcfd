"""What somebody sends to an owner, or asks for, to make the server slow or a client helpless."""

from __future__ import annotations

from datetime import UTC, date, datetime
from time import process_time
from typing import Final

import pytest

from gateway.imap.envelope import envelope
from gateway.imap.listing import Listing, listed
from gateway.imap.search import Bounds, Found, matches
from gateway.imap.search_keys import InBody, Sent, When
from gateway.imap.written_structure import told_structure
from storage.errors import Unavailable
from storage.folder_types import Entry, FolderName
from storage.identity import MessageIds
from tests.imap.conftest import OpenHouse

NOW: Final = datetime(2026, 11, 24, tzinfo=UTC)
# CPU, not the clock on the wall: each took minutes.
MOMENT: Final = 2.0


def found(message: bytes) -> Found:
    entry = Entry(1, MessageIds().issue(NOW), frozenset(), len(message), NOW, 1)
    return Found(1, entry, Bounds(1, 1), content=message)


@pytest.mark.parametrize("day", [b"1 Jan 99999999999999999999", b"99 Jan 2026", b"1 Jan -5", b", ,", b""])
def test_a_date_that_is_no_date_is_found_by_no_search(day: bytes) -> None:
    message = found(b"Date: Mon, " + day + b" 00:00:00 +0000\r\n\r\nx\r\n")
    assert matches(Sent(When.SINCE, date(2026, 1, 1)), message) is False


@pytest.mark.parametrize("charset", [b"punycode", b"idna", b"unicode_escape", b"rot13", b"no-such"])
def test_a_charset_that_is_none_costs_nothing(charset: bytes) -> None:
    body = b"a" * 300_000 + b"-" + b"a" * 300_000 + b" needle"
    message = found(b"Content-Type: text/plain; charset=" + charset + b"\r\n\r\n" + body)
    began = process_time()
    assert matches(InBody("needle"), message) is True
    assert process_time() - began < MOMENT


def test_a_field_of_very_many_addresses_is_told_in_part() -> None:
    """However they are written: in one field, or in a field of their own each."""
    began = process_time()
    for header in (b"To: " + b"a@b, " * 20_000 + b"\r\n\r\n", b"To: a@b\r\n" * 6_000 + b"\r\n"):
        assert envelope(header).count(b'(NIL NIL "a" "b")') == 5_000
    assert process_time() - began < MOMENT


def test_multiparts_within_multiparts_cost_little() -> None:
    """Each of them is looked through for its own boundary, to the end of the message."""
    message = b"\r\n" + b"\r\n-" * 1_000_000
    for depth in range(39):
        head = b"Content-Type: multipart/mixed; boundary=b%02d\r\n\r\n" % depth
        message = head + b"--b%02d\r\n" % depth + message + b"\r\n--b%02d--\r\n" % depth
    began = process_time()
    assert told_structure(message).startswith(b"((((")
    assert process_time() - began < MOMENT / 4


def test_a_pattern_of_wildcards_costs_little() -> None:
    folders = [FolderName(f"{'a' * 200}{n}", None, False, 1) for n in range(20)]
    began = process_time()
    assert listed(Listing("", ("%a" * 300 + "x", "%" * 900 + "x", "*" * 900 + "x")), folders, ()) == []
    assert len(listed(Listing("", ("%" * 900,)), folders, ())) == len(folders)
    assert process_time() - began < MOMENT


def test_thousands_of_folders_are_listed_at_once() -> None:
    folders = [FolderName(f"parent{n // 10}/child{n}", None, False, 1) for n in range(5000)]
    folders += [FolderName(f"parent{n}", None, False, 1) for n in range(500)]
    began = process_time()
    found = listed(Listing("", ("*",)), folders, ())
    assert process_time() - began < MOMENT
    children = {one.name: "\\HasChildren" in one.attributes for one in found}
    assert children["parent3"]
    assert not children["parent3/child30"]


async def test_a_look_that_fails_behind_an_append_does_not_undo_it(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that hears NO sends the message again."""
    house = await open_house()
    client = await house.reader()

    async def unreachable(*, claims: bool) -> None:
        raise Unavailable("for now")

    monkeypatch.setattr(house.inbox, "refresh", unreachable)
    lines = await client.command("a", "APPEND INBOX {3+}\r\nx\r\n")
    assert lines[-1].startswith("a OK [APPENDUID "), lines
    monkeypatch.undo()
    lines = await client.command("n", "NOOP")
    assert "* 1 EXISTS" in lines
