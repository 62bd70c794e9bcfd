"""The parts before they are encrypted: cells that are no formulas, volumes that lose nothing."""

from __future__ import annotations

import csv
import io
import json
import mailbox
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.disclosure.parts import COLUMNS, MboxVolumes, MessageVolumes, Plain, TooLarge, TrafficVolumes
from storage.identity import MessageIds
from storage.traffic import TrafficRecord
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


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_is_never_a_formula_and_a_row_never_two(text: str) -> None:
    volumes = TrafficVolumes(1 << 20)
    assert list(volumes.add(record(**{"from": text}))) == []
    lines, table = volumes.finish()
    assert json.loads(lines.body)["from"] == text
    header, row = csv.reader(io.StringIO(table.body.decode(), newline=""))
    cell = row[header.index("from")]
    assert cell.lstrip("'") == text.lstrip("'")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_the_columns_are_the_fields_of_a_traffic_record() -> None:
    whole = TrafficRecord(MessageIds().issue(NOW), "", "", "", "", "", 0, "", None, None, None, None, None)
    assert [*whole.to_json(), "deleted_by_owner"] == list(COLUMNS)


@given(st.lists(st.binary(max_size=3000), max_size=40), st.integers(3600, 9000))
def test_volumes_hold_every_message_once_and_keep_to_their_size(contents: list[bytes], size: int) -> None:
    volumes, full = MessageVolumes(size), list[Plain]()
    placed = []
    for number, content in enumerate(contents):
        where, done = volumes.add(f"{number:032x}", NOW, content)
        placed.append(where)
        full += [done] if done else []
    last = volumes.finish()
    full += [last] if last else []
    found = {}
    for part in full:
        assert len(part.body) <= size
        with zipfile.ZipFile(io.BytesIO(part.body)) as volume:
            assert volume.testzip() is None
            found.update({(part.name, name): volume.read(name) for name in volume.namelist()})
    assert found == {
        (where.part, where.path): content for where, content in zip(placed, contents, strict=True)
    }


def _unquoted(body: bytes) -> list[bytes]:
    """The messages of an mboxrd file, read by its rules and by nothing of ours."""
    assert body.startswith(b"From ")
    found = re.split(rb"(?m)^From MAILER-DAEMON [A-Z][a-z]{2} [^\n]*\n", body)[1:]
    return [re.sub(rb"(?m)^>(>*From )", rb"\1", each[:-1]) for each in found]


LINES = st.sampled_from(
    [b"From me", b">From me", b">>From ", b" From", b"", b"text", b"From MAILER-DAEMON x"]
)


@given(st.lists(st.lists(LINES, min_size=1, max_size=6), min_size=1, max_size=12), st.integers(400, 2000))
def test_no_line_of_a_message_begins_another_one_in_an_mbox(messages: list[list[bytes]], size: int) -> None:
    volumes, full = MboxVolumes(size), list[Plain]()
    contents = [b"".join(line + b"\r\n" for line in lines) for lines in messages]
    for content in contents:
        done = volumes.add(NOW, content)
        full += [done] if done else []
    last = volumes.finish()
    assert last is not None
    full.append(last)
    assert all(len(part.body) <= size for part in full)
    found = [each for part in full for each in _unquoted(part.body)]
    assert found == [content.replace(b"\r\n", b"\n") for content in contents]


def test_an_mbox_is_read_by_others(tmp_path: Path) -> None:
    volumes = MboxVolumes(1 << 20)
    for number in range(3):
        volumes.add(NOW, b"Subject: %d\r\n\r\nFrom here\r\nFrom there" % number)
    part = volumes.finish()
    assert part is not None
    (tmp_path / part.name).write_bytes(part.body)
    read = mailbox.mbox(tmp_path / part.name)
    assert [message["Subject"] for message in read] == ["0", "1", "2"]


def test_a_message_larger_than_a_part_is_said_to_be() -> None:
    with pytest.raises(TooLarge):
        MessageVolumes(10_000).add("0" * 32, NOW, bytes(10_000))


def test_many_small_messages_are_counted_with_what_a_zip_says_of_each() -> None:
    """What a ZIP's directory takes at the end grows with every file: a part of small ones is mostly that."""
    size, volumes, full = 64 * 1024, MessageVolumes(64 * 1024), list[Plain]()
    for number in range(3_000):
        done = volumes.add(f"{number:032x}", NOW, b"")[1]
        full += [done] if done else []
    assert len(full) > 3
    assert all(0.98 * size < len(part.body) <= size for part in full)
