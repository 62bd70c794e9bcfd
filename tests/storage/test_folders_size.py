"""A mailbox of 100,000 messages: what it costs to open it, counted in requests; and UIDs in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Corrupt
from storage.folder_documents import (
    Batch,
    Head,
    Segment,
    read_head,
    read_headers,
    write_entries,
    write_head,
    write_headers,
)
from storage.folder_index import head_key
from storage.folder_names import Names
from storage.folder_uids import UidSet
from storage.folder_vault import FolderVault, fresh_name
from storage.folders import INBOX, Entry, FlagChange, FlagMode, Folders
from storage.header_block import NOT_TOLD, Editions, Heading
from storage.identity import MessageIds
from storage.keys import Purpose
from storage.region import RegionStore
from tests.engines import EngineKind
from tests.holds.people import NOW
from tests.holds.ward import Ward, ward

MESSAGES = 100_000
IN_A_SEGMENT = 2000

uid_sets = st.sets(st.integers(1, 60))


@given(uid_sets, uid_sets)
def test_uid_sets_are_sets(left: set[int], right: set[int]) -> None:
    one, other = UidSet.of(left), UidSet.of(right)
    assert list(one) == sorted(left)
    assert set(one.union(other)) == left | right
    assert set(one.minus(other)) == left - right
    assert set(one.both(other)) == left & right
    assert UidSet.parse(str(one)) == one
    assert [one[at] for at in range(len(one))] == list(one)
    assert [one.position(uid) for uid in one] == list(range(len(one)))
    assert {uid for uid in range(62) if uid in one} == left


async def a_large_inbox(it: Ward) -> int:
    """An index as it would be after years, without the messages: returns how many are unseen."""
    vault = await FolderVault.open(it.store, it.located, it.register, lambda: it.now)
    roster = await Names(vault).open()
    folder = roster.folders[INBOX].id
    assert folder is not None
    ids = MessageIds()
    start = NOW - timedelta(days=2000)
    head = Head(uid_next=MESSAGES + 1, modseq=2, unseen=MESSAGES)
    for first in range(1, MESSAGES + 1, IN_A_SEGMENT):
        uids = range(first, first + IN_A_SEGMENT)
        entries = [
            Entry(uid, ids.issue(start + timedelta(minutes=uid)), frozenset(), 20_000, start, 2)
            for uid in uids
        ]
        name = fresh_name()
        prefix = f"{vault.prefix}{folder}/"
        await vault.put_fresh(f"{prefix}entries/{name}", write_entries(entries))
        blocks = {uid: Heading(b"Subject: message %d\r\n\r\n" % uid) for uid in uids}
        await vault.put_fresh(
            f"{prefix}headers/{name}", write_headers(blocks, NOT_TOLD.editions), Purpose.CONTENT
        )
        messages = [str(entry.message) for entry in entries]
        segment = Segment(name, UidSet.of(uids), messages[0], messages[-1], 2)
        batch = Batch(name, segment.uids)
        head = replace(head, segments=(*head.segments, segment), batches=(*head.batches, batch))
    key = head_key(vault, folder)
    await vault.compare_and_swap(key, write_head(head), (await vault.get(key)).etag)
    # What is older than the overlap was taken in long ago.
    await it.deliver(1, at=NOW - timedelta(days=1))
    folders = await Folders.open(it.store, it.located, it.register, lambda: it.now)
    await (await folders.folder(INBOX)).refresh()
    return MESSAGES + 1


def count_requests(store: RegionStore, counted: Counter[str]) -> None:
    for name in ("get", "get_range", "put", "put_if_absent", "compare_and_swap", "list"):
        setattr(store.mail, name, _counting(name, getattr(store.mail, name), counted))


def _counting(name: str, call: Callable[..., Any], counted: Counter[str]) -> Callable[..., Any]:
    def counting(*given: Any, **named: Any) -> Any:
        counted[name] += 1
        return call(*given, **named)

    return counting


async def test_opening_reads_a_head_and_what_came_since(region: RegionStore, engine_kind: EngineKind) -> None:
    async with ward(region) as it:
        count = await a_large_inbox(it)
        await it.deliver(3, at=NOW - timedelta(minutes=5))
        counted: Counter[str] = Counter()
        count_requests(it.store, counted)
        folders = await Folders.open(it.store, it.located, it.register, lambda: it.now)
        inbox = await folders.folder(INBOX)
        view = await inbox.refresh()
        assert (view.count, view.uid(view.count)) == (count + 3, count + 3)
        # Keyring and names; the head and what is known; three new messages; the swap of both.
        assert counted["get"] <= 24, counted
        assert counted["list"] <= 6, counted
        assert counted["put_if_absent"] + counted["compare_and_swap"] <= 4, counted
        counted.clear()
        newest = await inbox.entries(view, view.uids[-50:])
        blocks = [block async for _, block in inbox.headers(view, view.uids[-50:])]
        assert (len(newest), len(blocks)) == (50, 50)
        assert counted["get"] <= 5, counted
        counted.clear()
        await inbox.store([7, 50_000], FlagChange(FlagMode.ADD, frozenset({"\\Seen"})))
        assert counted["get"] <= 4, counted
        assert counted["compare_and_swap"] == 1
        assert [one.uid for one in await inbox.changed(view, view.highest_modseq)] == [7, 50_000]


def test_a_head_is_read_as_it_was_written() -> None:
    entry = Entry(9, MessageIds().issue(NOW), frozenset({"\\Seen", "x"}), 1, NOW, 3)
    head = Head(uid_next=10, tail=(entry,), deleted=UidSet.of([9]), taken=frozenset({"a"}), filed=("b",))
    head = replace(head, recent=UidSet.of([9]))
    assert read_head("k", write_head(head)) == head


HEADINGS = {
    3: Heading(b"A: b\r\n\r\n", b"(A b)", b"(1)"),
    9: Heading(b""),
    10: Heading(b"C: d\r\n", b"", b"(2)"),
}


def test_what_another_edition_made_is_left_out() -> None:
    written = write_headers(HEADINGS, Editions(4, 7))
    assert read_headers("k", written, Editions(4, 7)) == HEADINGS
    told = {uid: one._replace(structure=b"") for uid, one in HEADINGS.items()}
    assert read_headers("k", written, Editions(4, 8)) == told
    structures = {uid: one._replace(told=b"") for uid, one in HEADINGS.items()}
    assert read_headers("k", written, Editions(5, 7)) == structures


@pytest.mark.parametrize(
    ("beginning", "told"),
    [
        (b'{"version":1,"lengths":[[3,8],[10,6]]}\nA: b\r\n\r\nC: d\r\n', b""),
        (b'{"version":1,"edition":4,"lengths":[[3,8,5],[10,6,0]]}\nA: b\r\n\r\n(A b)C: d\r\n', b"(A b)"),
    ],
    ids=["before anything was told", "before structures were kept"],
)
def test_header_blocks_of_earlier_versions_are_read(beginning: bytes, told: bytes) -> None:
    expected = {3: Heading(b"A: b\r\n\r\n", told), 10: Heading(b"C: d\r\n")}
    assert read_headers("k", beginning, Editions(4, 7)) == expected
    with pytest.raises(Corrupt):
        read_headers("k", beginning + b"x", Editions(4, 7))
