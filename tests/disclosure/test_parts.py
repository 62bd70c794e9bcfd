"""The parts before they are encrypted: cells that are no formulas, volumes that lose nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import mailbox
import random
import re
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.disclosure.cms import Recipient
from gateway.disclosure.parts import (
    COLUMNS,
    LARGEST,
    Letter,
    MessageVolume,
    PartWriter,
    TooLarge,
    TrafficVolume,
    mbox_message,
)
from gateway.disclosure.zipping import Archive, Packed
from storage.identity import MessageIds
from storage.traffic import TrafficRecord
from tests.policy import pki
from tests.policy.pki import NOW


def record(**changes: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"id": "0" * 32, "size": 1, "cut": []} | changes


HOSTILE = [
    '=HYPERLINK("http://x")',
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    'a"b',
    "a,b",
    "a\r\nb",
    "é\u2028x",
]


class Open:
    """In the place of the encryption: keeps what is written into a part, to look at it."""

    def __init__(self, recipient: Recipient) -> None:
        self.written: list[bytes] = []

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def finish(self) -> bytes:
        return b"".join(self.written)


@pytest.fixture(autouse=True)
def unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.disclosure.parts.Envelope", Open)


@cache
def somebody() -> Recipient:
    return Recipient(pki.judge("IE").cert, NOW)


def body(part: PartWriter) -> bytes:
    sealed = part.finish()
    assert sealed.told.size == len(sealed.body)
    assert sealed.told.sha256 == hashlib.sha256(sealed.body).hexdigest()
    return bytes(sealed.body)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_is_never_a_formula_and_a_row_never_two(text: str) -> None:
    volume = TrafficVolume(1, somebody())
    volume.add(record(**{"from": text}))
    lines, table = map(body, volume.close())
    assert json.loads(lines)["from"] == text
    header, row = csv.reader(io.StringIO(table.decode(), newline=""))
    cell = row[header.index("from")]
    assert cell.lstrip("'") == text.lstrip("'")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_the_columns_are_the_fields_of_a_traffic_record() -> None:
    whole = TrafficRecord(MessageIds().issue(NOW), "", "", "", "", "", 0, "", None, None, None, None, None)
    assert [*whole.to_json(), "deleted_by_owner"] == list(COLUMNS)


def volumes(contents: list[bytes], part_size: int, *, mbox: bool = False) -> list[MessageVolume]:
    """The messages in as many volumes as it takes."""
    found: list[MessageVolume] = []
    for number, content in enumerate(contents):
        name, again = f"{number:032x}", mbox_message(NOW, content) if mbox else None
        letter = Letter.of(name, NOW, content)
        if not found or not found[-1].has_room(letter, again, part_size):
            found.append(MessageVolume(len(found) + 1, somebody(), mbox=mbox))
        placed = found[-1].add(letter, again)
        assert (placed.path, placed.size) == (f"messages/{name}.eml", len(content))
        assert placed.sha256 == hashlib.sha256(content).hexdigest()
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=3000), max_size=40), st.integers(3600, 9000))
def test_volumes_hold_every_message_once_and_keep_to_their_size(contents: list[bytes], size: int) -> None:
    found: list[bytes] = []
    for volume in volumes(contents, size):
        (part,) = map(body, volume.close())
        assert len(part) <= size
        with zipfile.ZipFile(io.BytesIO(part)) as opened:
            assert opened.testzip() is None
            assert {info.date_time for info in opened.infolist()} == {NOW.timetuple()[:6]}
            found += [opened.read(name) for name in opened.namelist()]
    assert found == contents


def test_whoever_streams_a_zip_finds_each_file_by_its_own_header() -> None:
    contents = [b"Subject: 1\r\n\r\n" + b"first\r\n" * 99, b"", b"Subject: 3\r\n\r\nthird"]
    (volume,) = volumes(contents, 1 << 20)
    (part,) = map(body, volume.close())
    streamed, methods = [], []
    while part.startswith(b"PK\x03\x04"):
        method, packed, size, name = (
            int.from_bytes(part[a:b], "little") for a, b in ((8, 10), (18, 22), (22, 26), (26, 28))
        )
        octets = part[30 + name : 30 + name + packed]
        streamed.append(zlib.decompress(octets, wbits=-15) if method == 8 else octets)
        assert len(streamed[-1]) == size
        methods.append(method)
        part = part[30 + name + packed :]
    assert streamed == contents
    assert methods == [8, 0, 0]  # deflated where that makes it smaller


def test_an_archive_takes_no_more_files_than_any_reader_can_count() -> None:
    archive, nothing = Archive(), Packed.of(b"")
    for number in range(0xFFFF):
        assert archive.has_room("a", nothing, LARGEST)
        archive.before("a", NOW.replace(year=1970 if number == 0 else 2026), nothing)
    assert not archive.has_room("a", nothing, LARGEST)
    assert int.from_bytes(archive.end()[-12:-10], "little") == 0xFFFF


def _unquoted(body: bytes) -> list[bytes]:
    """The messages of an mboxrd file, read by its rules and by nothing of ours."""
    assert body.startswith(b"From ")
    found = re.split(rb"(?m)^From MAILER-DAEMON [A-Z][a-z]{2} [^\n]*\n", body)[1:]
    return [re.sub(rb"(?m)^>(>*From )", rb"\1", each[:-1]) for each in found]


LINES = st.sampled_from(
    [b"From me", b">From me", b">>From ", b" From", b"", b"text", b"From MAILER-DAEMON x"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(LINES, min_size=1, max_size=6), min_size=1, max_size=12), st.integers(900, 2000))
def test_no_line_of_a_message_begins_another_one_in_an_mbox(messages: list[list[bytes]], size: int) -> None:
    contents = [b"".join(line + b"\r\n" for line in lines) for lines in messages]
    mboxes = [body(volume.close()[1]) for volume in volumes(contents, size, mbox=True)]
    assert all(len(mbox) <= size for mbox in mboxes)
    assert [each for mbox in mboxes for each in _unquoted(mbox)] == [
        content.replace(b"\r\n", b"\n") for content in contents
    ]


def test_an_mbox_is_read_by_others(tmp_path: Path) -> None:
    contents = [b"Subject: %d\r\n\r\nFrom here\r\nFrom there" % number for number in range(3)]
    (volume,) = volumes(contents, 1 << 20, mbox=True)
    (tmp_path / "content-0001.mbox").write_bytes(body(volume.close()[1]))
    read = mailbox.mbox(tmp_path / "content-0001.mbox")
    assert [message["Subject"] for message in read] == ["0", "1", "2"]


def test_a_message_larger_than_a_part_is_said_to_be() -> None:
    noise = random.Random(5).randbytes(LARGEST)  # what no compression makes smaller
    Letter.of("0" * 32, NOW, noise[:-1024])
    with pytest.raises(TooLarge):
        Letter.of("0" * 32, NOW, noise)
    Letter.of("0" * 32, NOW, bytes(LARGEST))
    with pytest.raises(TooLarge):
        mbox_message(NOW, b"x" * (LARGEST - 1024) + b"\nFrom " * 1024)


def test_the_largest_part_is_64_mib_when_it_is_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    part = PartWriter("content-0001.zip", "application/zip", somebody())
    part.write(bytes(LARGEST))
    sealed = part.finish()
    assert LARGEST < sealed.told.encrypted_size == len(sealed.body) <= 64 << 20
    assert sealed.told.encrypted_sha256 == hashlib.sha256(sealed.body).hexdigest()


def test_many_small_messages_are_counted_with_what_a_zip_says_of_each() -> None:
    """What a ZIP's directory takes at the end grows with every file: a part of small ones is mostly that."""
    size = 64 * 1024
    full = [body(volume.close()[0]) for volume in volumes([b""] * 3_000, size)]
    assert len(full) > 3
    assert all(0.98 * size < len(part) <= size for part in full[:-1])
