"""Traffic records: who, to whom, when; what the message says is in none of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Corrupt
from storage.identity import MessageIds
from storage.traffic import Envelope, describe, read_record, write_record
from tests.storage.grounds import NOW, envelope

ID: Final = MessageIds().issue(NOW)
OCTETS: Final = st.binary(max_size=300) | st.builds(
    b"\r\n".join,
    st.lists(
        st.sampled_from([b"From: a@b", b"to:c", b"CC : d", b" folded", b"\ttoo", b"Date: now", b"", b"x"]),
        max_size=12,
    ),
)


@given(content=OCTETS, sender=st.text(max_size=20), helo=st.text(max_size=20))
def test_any_mail_has_a_traffic_record_that_comes_back(content: bytes, sender: str, helo: str) -> None:
    sender, helo = (text.encode("utf-8", "replace").decode() for text in (sender, helo))
    record = describe(ID, Envelope(sender, "b@c", "::1", helo, NOW, "LMTP"), content)
    assert read_record("k", ID, write_record(record)) == record


def test_the_fields_of_the_header_and_no_subject() -> None:
    content = (
        b"Received: by mx\r\n\tfrom somewhere\r\nMESSAGE-ID: <1@x>\r\nFrom: A <a@x>\r\nTo: b@y,\r\n c@z\r\n"
        b"Cc : d@w\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\nSubject: TOP SECRET\r\n\r\nTo: not@this\r\n"
    )
    record = describe(ID, envelope(), content)
    assert record.message_id == "<1@x>"
    assert record.from_ == "A <a@x>"
    assert record.to == "b@y, c@z"
    assert record.cc == "d@w"
    assert record.date == "Tue, 24 Nov 2026 12:00:00 +0000"
    assert b"SECRET" not in write_record(record)
    assert "subject" not in record.to_json()
    shown = json.loads(json.dumps(record.to_json()))
    assert (shown["received_at"], shown["from"]) == ("2026-11-24T12:00:00.000Z", "A <a@x>")


def test_a_field_that_stands_twice_is_kept_twice() -> None:
    assert describe(ID, envelope(), b"From: a@x\r\nFrom: b@y\r\n\r\n").from_ == "a@x, b@y"


def test_a_field_without_end_is_cut_and_says_so() -> None:
    record = describe(ID, envelope(), b"To: " + b"a@x," * 20_000 + b"\r\n\r\n")
    assert record.to is not None
    assert (len(record.to), record.cut) == (32_768, ("to",))


@pytest.mark.timeout(120)
def test_a_million_fields_are_read_in_the_time_that_they_take_to_come() -> None:
    """A minute's work for whoever sends it, and, joined one by one, an hour's for who reads it."""
    content = b"To:a\r\nCc:" + b"b" * 100_000 + b"\r\n" + b"To:c\r\n" * 1_000_000 + b"\r\n"
    record = describe(ID, envelope(), content)
    assert record.to is not None
    assert record.to.startswith("a, c, c, ")
    assert len(record.to) == 32_768
    assert set(record.cut) == {"to", "cc"}


def test_a_record_of_before_the_sent_digest_was_kept_still_opens() -> None:
    sent = "a" * 64
    record = describe(ID, replace(envelope(), sent_sha256=sent), b"From: a@x\r\n\r\nhello\r\n")
    fields = json.loads(write_record(record))
    assert fields.pop("sent_sha256") == sent
    old = read_record("k", ID, json.dumps(fields).encode())
    assert old == replace(record, sent_sha256=None)


def test_the_sent_digest_goes_to_nobody_who_may_not_read_the_content() -> None:
    """Whoever has a text at hand could tell by its digest in whose mailbox it lies."""
    record = describe(ID, replace(envelope(), sent_sha256="a" * 64), b"")
    assert "a" * 64 not in json.dumps(record.to_json())


def test_a_record_that_is_none_is_named() -> None:
    record = write_record(describe(ID, envelope(), b""))
    other = MessageIds().issue(NOW)
    for octets, message in ((b"", ID), (b"{}", ID), (record[:-1], ID), (record, other)):
        with pytest.raises(Corrupt, match="mail/x"):
            read_record("mail/x", message, octets)
