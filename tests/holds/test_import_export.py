"""Mail in and out again: octets, dates and flags; nothing twice; nothing that its owner has deleted."""

from __future__ import annotations

import hashlib
import json
import mailbox
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail_export import ExportExists, Format, write_export
from gateway.mail_sources import SourceError, count_maildir, read_maildir, read_mbox
from storage.exporting import Exported, NotExported, owners_mail
from storage.flags import Flags
from storage.identity import MessageId
from storage.importing import Found, import_message
from storage.mailbox import append, message_key
from storage.region import RegionStore
from storage.tombstones import hide
from storage.traffic import Envelope
from tests.holds.people import AOIFE
from tests.holds.ward import Ward, ward

THEN = datetime(2019, 3, 4, 5, 6, 7, tzinfo=UTC)


def a_maildir(directory: Path) -> None:
    """With what other programs make: flags, a subfolder, a message in new/, one in tmp/, bare LF."""
    for folder in ("", ".Archive.2019", ".notes"):
        for part in ("cur", "new", "tmp"):
            (directory / folder / part).mkdir(parents=True)
    files = {
        "cur/1551.1.host:2,S": b"Subject: read\n\nbody\n",
        "cur/1552.2.host:2,FRS": b"Return-Path: <b@x.ie>\r\nSubject: answered\r\n\r\nbody\r\n",
        "new/1553.3.host": b"Subject: new\n\n\n",
        "tmp/1554.4.host": b"Subject: half\n",
        ".Archive.2019/cur/1555.5.host:2,": b"Subject: old\n\n\xff\xfe no charset\n",
    }
    for name, body in files.items():
        path = directory / name
        path.write_bytes(body)
        os.utime(path, (THEN.timestamp(), THEN.timestamp()))


MBOX = b"""From b@x.ie Mon Mar  4 05:06:07 2019
Subject: one
Status: RO
X-Status: AF

>From the start
>>From deeper
From here it is text, since no empty line stands before it

From MAILER-DAEMON Mon Mar  4 06:06:07 2019 +0100
Subject: two

last
"""


def test_maildir(tmp_path: Path) -> None:
    a_maildir(tmp_path)
    found = list(read_maildir(tmp_path))
    assert count_maildir(tmp_path) == len(found) == 4
    assert {one.received_at for one in found} == {THEN}
    assert [(one.flags.folder, sorted(one.flags.flags)) for one in found] == [
        ("INBOX", ["\\Seen"]),
        ("INBOX", ["\\Answered", "\\Flagged", "\\Seen"]),
        ("INBOX", []),
        ("Archive/2019", []),
    ]
    assert found[0].content == b"Subject: read\r\n\r\nbody\r\n"
    assert found[1].sender == "b@x.ie"
    with pytest.raises(SourceError, match="cur/"):
        list(read_maildir(tmp_path / "cur"))


def test_mbox(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(MBOX)
    one, two = read_mbox(path)
    assert one.content.endswith(
        b"\r\n\r\nFrom the start\r\n>From deeper\r\n"
        b"From here it is text, since no empty line stands before it\r\n"
    )
    assert (one.sender, one.received_at) == ("b@x.ie", THEN)
    assert one.flags == Flags("INBOX", frozenset({"\\Seen", "\\Answered", "\\Flagged"}))
    assert (two.sender, two.received_at, two.content) == ("", THEN, b"Subject: two\r\n\r\nlast\r\n")
    path.write_bytes(b"Subject: no mbox\n\n")
    with pytest.raises(SourceError, match="not an mbox"):
        list(read_mbox(path))


@given(st.lists(st.binary(max_size=200).map(lambda b: b.replace(b"\r", b"")), min_size=1, max_size=5))
def test_what_python_writes_as_mbox_is_read_message_for_message(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("mbox") / "box"
    box = mailbox.mbox(path)
    for body in bodies:
        box.add(b"Subject: x\n\n" + body + b"\n")
    box.close()
    found = list(read_mbox(path))
    assert len(found) == len(bodies)
    for one, body in zip(found, bodies, strict=True):
        written = one.content.replace(b"\r\n", b"\n")
        # mboxo, which Python writes, quotes no line that was quoted before: there the two differ.
        if b"\n>From " not in b"\n" + body:
            assert written.rstrip(b"\n") == (b"Subject: x\n\n" + body).rstrip(b"\n")


async def imported(it: Ward, found: list[Found]) -> list[bool]:
    return [await import_message(it.store, it.located, str(AOIFE), one) for one in found]


async def test_an_import_run_again_brings_nothing_twice(shared_region: RegionStore, tmp_path: Path) -> None:
    a_maildir(tmp_path)
    async with ward(shared_region) as it:
        found = list(read_maildir(tmp_path))
        assert await imported(it, found[:2]) == [True, True]
        assert await imported(it, found) == [False, False, True, True]
        assert len(await it.kept()) == 4
        assert {one.received_at for one in await it.kept()} == {THEN}


@pytest.mark.parametrize("format_", list(Format))
async def test_what_was_imported_comes_out_the_same(
    shared_region: RegionStore, tmp_path: Path, format_: Format
) -> None:
    a_maildir(tmp_path / "in")
    async with ward(shared_region) as it:
        source = list(read_maildir(tmp_path / "in"))
        await imported(it, source)
        gone, broken = await it.deliver(2)
        await hide(it.store.mail, it.account, gone)
        await it.store.mail.put(message_key(it.account, broken), b"SITM nothing")
        out = tmp_path / "out"
        written = await write_export(owners_mail(it.store, it.located), out, format_, told={"address": "a"})
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["counts"] == {"messages": 4, "octets": written.octets, "errors": 1}
        assert [one["id"] for one in manifest["errors"]] == [str(broken)]
        for one in manifest["messages"]:
            body = (out / one["file"]).read_bytes()
            assert hashlib.sha256(body).hexdigest() == one["sha256"]
            assert (out / one["file"]).stat().st_mode & 0o077 == 0
            assert (out / one["file"]).stat().st_mtime == THEN.timestamp()
        contents = sorted((out / one["file"]).read_bytes() for one in manifest["messages"])
        assert contents == sorted(one.content for one in source)
        if format_ is Format.MAILDIR:
            again = list(read_maildir(out / "Maildir"))
            assert {(one.content, one.flags, one.received_at) for one in again} == {
                (one.content, one.flags, one.received_at) for one in source
            }
        with pytest.raises(ExportExists):
            await write_export(owners_mail(it.store, it.located), out, format_, told={})


async def test_a_delivery_that_was_sent_again_is_exported_once(shared_region: RegionStore) -> None:
    """Also from a mailbox that no client has ever opened."""

    def envelope(sent: str) -> Envelope:
        return Envelope("b@example.ie", str(AOIFE), "192.0.2.1", "mx", THEN, "ESMTP", sent)

    async with ward(shared_region) as it:
        first = await append(
            it.store, it.located, envelope("a" * 64), b"Received: 1\r\nMessage-ID: <1@x>\r\n\r\nx\r\n"
        )
        await append(
            it.store, it.located, envelope("a" * 64), b"Received: 2\r\nMessage-ID: <1@x>\r\n\r\nx\r\n"
        )
        other = await append(it.store, it.located, envelope("b" * 64), b"Received: 3\r\n\r\ny\r\n")
        found = [one.message async for one in owners_mail(it.store, it.located)]
        assert found == [first, other]


@pytest.mark.parametrize("folder", ["../../etc", "/etc", "..", "a/../../b", ".", "", "x\0y", "a\nb"])
async def test_a_folders_name_cannot_lead_out_of_the_directory(tmp_path: Path, folder: str) -> None:
    async def mail() -> AsyncIterator[Exported | NotExported]:
        yield Exported(MessageId.parse("0" * 12 + "7" + "0" * 3 + "8" + "0" * 15), b"x", Flags(folder))

    await write_export(mail(), tmp_path / "out", Format.MAILDIR, told={})
    (path,) = (tmp_path / "out").rglob("*.situs:2,")
    assert path.resolve().is_relative_to((tmp_path / "out" / "Maildir").resolve())


async def test_mail_of_odd_dates_and_file_names_comes_in_once(region: RegionStore, tmp_path: Path) -> None:
    """Dated before there was mail, or after there is time; named in Latin-1; with nothing in it."""
    odd = {b"1.a\xe9:2,SZ\xe9": -5e8, b"2.b": 4e11, b"3.c:2,": 0.0}
    for folder in (b"cur", b".Entw\xfcrfe/cur"):
        place = os.path.join(os.fsencode(tmp_path), folder)
        os.makedirs(place)
        for name, at in odd.items():
            path = os.path.join(place, name)
            with open(path, "wb") as file:
                file.write(b"Subject: odd\n\nx\n" if at else b"")
            os.utime(path, (at, at))
    async with ward(region) as it:
        for fresh in (True, False):
            for found in read_maildir(tmp_path):
                assert await import_message(it.store, it.located, str(AOIFE), found) is fresh
        kept = sorted(one.received_at.year for one in await it.present())
        assert kept[:4] == [1970] * 4
        assert all(year > 2100 for year in kept[4:]), "as late as the disk can say"
        folders = {one.flags.folder for one in read_maildir(tmp_path)}
        assert folders == {"INBOX", "Entw\\xfcrfe"}


@pytest.mark.parametrize(
    ("date", "year"),
    [
        (b"Thu Jan  1 00:00:00 1960", 1970),
        (b"Fri Dec 31 23:59:59 9999 -0100", 2019),
        (b"Mon Feb 31 25:61:61 2020", 2019),
    ],
    ids=["before-1970", "after-9999", "no-such-day"],
)
def test_an_mbox_with_dates_that_cannot_be(tmp_path: Path, date: bytes, year: int) -> None:
    (tmp_path / "mbox").write_bytes(b"From a@x.ie " + date + b"\nDate: Mon, 4 Mar 2019 05:06:07 +0000\n\nx\n")
    (found,) = read_mbox(tmp_path / "mbox")
    assert found.received_at.year == year
