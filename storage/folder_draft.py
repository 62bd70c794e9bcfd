"""The next head of a folder, while it is being made: objects first, then the head that names them.

A draft is made upon one head, and stands or falls with the compare-and-swap of that head. What it has put
is named by nobody until then. If we crash before the swap, objects lie there that no head names: they
are sealed, and go with the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, final

from storage.errors import Corrupt
from storage.folder_documents import (
    Batch,
    Changed,
    Head,
    Segment,
    milliseconds,
    moment,
    write_entries,
    write_headers,
)
from storage.folder_shelf import Shelf
from storage.folder_types import Entry
from storage.folder_uids import UidSet
from storage.folder_vault import FolderVault, fresh_name
from storage.header_block import Heading
from storage.identity import MessageId
from storage.keys import Purpose

SEEN: Final = "\\Seen"
DELETED: Final = "\\Deleted"
TAIL: Final = 256  # entries in the head
OVERLAY: Final = 512  # changes in the head
SEGMENT: Final = 2000  # entries in a segment that may still grow
# Header blocks in a batch that may still be merged: fewer than come in at once where much does, so that a
# session never holds more than it asked for because batches of hundreds were made one of thousands.
_SMALL: Final = 128
_SMALL_BATCHES: Final = 16


@final
@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that is to stand in a folder. `header` is what the index keeps of its header."""

    message: MessageId
    flags: frozenset[str]
    size: int
    internal_date: datetime
    header: Heading


@final
class Draft:
    """Changes upon one head. `head` is the head as it would be."""

    def __init__(self, vault: FolderVault, shelf: Shelf, head: Head) -> None:
        self._vault: Final = vault
        self.shelf: Final = shelf
        self.base: Final = head
        self.head = head
        self.made: Final[list[str]] = []  # keys, for whoever has to take them back
        self.has_removed = False

    async def entries(self, uids: UidSet) -> list[Entry]:
        """Those that are there, by UID. Raises Superseded."""
        return await self.shelf.entries(self.head, uids)

    async def headers(self, uids: UidSet) -> dict[int, Heading]:
        """The header blocks of those that are there, by UID. Raises Superseded."""
        found: dict[int, Heading] = {}
        for batch in self.head.batches:
            if batch.uids.both(uids):
                found |= await self.shelf.headers(batch, uids)
        return found

    async def holding(self, messages: Iterable[MessageId]) -> dict[MessageId, int]:
        """Which of these messages stand in the folder, and under which UID; reads the segments that may
        have them."""
        wanted = {str(one) for one in messages}
        found = {entry.message: entry.uid for entry in self.head.tail if str(entry.message) in wanted}
        for segment in self.head.segments:
            if any(segment.first <= one <= segment.last for one in wanted):
                rows = await self.shelf.entries(self.head, segment.uids)
                found |= {row.message: row.uid for row in rows if str(row.message) in wanted}
        return found

    async def add(self, arrivals: Sequence[Arrival]) -> tuple[int, ...]:
        """UIDs in the order of the arrivals (RFC 3501 2.3.1.1: strictly ascending)."""
        if not arrivals:
            return ()
        first = self.head.uid_next
        modseq = self._next_modseq()
        entries = tuple(
            # The date as whoever reads the head will have it.
            Entry(
                first + n,
                one.message,
                one.flags,
                one.size,
                moment(milliseconds(one.internal_date)),
                modseq,
            )
            for n, one in enumerate(arrivals)
        )
        batch = await self._put_batch({first + n: one.header for n, one in enumerate(arrivals)})
        self.head = replace(
            self.head,
            uid_next=first + len(entries),
            modseq=modseq,
            unseen=self.head.unseen + sum(SEEN not in entry.flags for entry in entries),
            deleted=self.head.deleted.union(_deleted(entries)),
            tail=(*self.head.tail, *entries),
            batches=(*self.head.batches, batch),
        )
        return tuple(entry.uid for entry in entries)

    def change(self, before: Sequence[Entry], flags: Mapping[int, frozenset[str]]) -> list[Entry]:
        """New flags of entries, which are given as they are now; returns them as they will be."""
        modseq = self._next_modseq()
        after = [replace(one, flags=flags[one.uid], modseq=modseq) for one in before]
        newer = {entry.uid: entry for entry in after}
        in_tail = {entry.uid for entry in self.head.tail}
        changes = {uid: Changed(one.flags, modseq) for uid, one in newer.items() if uid not in in_tail}
        seen = sum(SEEN in one.flags for one in before) - sum(SEEN in one.flags for one in after)
        self.head = replace(
            self.head,
            modseq=modseq,
            unseen=self.head.unseen + seen,
            deleted=self.head.deleted.minus(UidSet.of(newer)).union(_deleted(after)),
            tail=tuple(newer.get(entry.uid, entry) for entry in self.head.tail),
            overlay={**self.head.overlay, **changes},
        )
        return after

    async def remove(self, gone: Sequence[Entry]) -> None:
        """Entries out, with their header blocks: what is deleted must not go on lying in an index."""
        self.has_removed = True
        uids = UidSet.of(entry.uid for entry in gone)
        segments = [replace(one, uids=one.uids.minus(uids)) for one in self.head.segments]
        self.head = replace(
            self.head,
            modseq=self._next_modseq(),
            unseen=self.head.unseen - sum(SEEN not in entry.flags for entry in gone),
            deleted=self.head.deleted.minus(uids),
            recent=self.head.recent.minus(uids),
            segments=tuple(one for one in segments if one.uids),
            tail=tuple(entry for entry in self.head.tail if entry.uid not in uids),
            overlay={uid: one for uid, one in self.head.overlay.items() if uid not in uids},
        )
        batches: list[Batch] = []
        for batch in self.head.batches:
            left = batch.uids.minus(uids)
            if left == batch.uids:
                batches.append(batch)
            elif left:
                batches.append(await self._put_batch(await self.shelf.headers(batch, left)))
        self.head = replace(self.head, batches=tuple(batches))

    async def settle(self) -> None:
        """Before the swap: keep the head small."""
        if len(self.head.tail) > TAIL:
            await self._flush()
        while len(self.head.overlay) > OVERLAY:
            await self._fold_in()
        small = 0
        for batch in reversed(self.head.batches):
            if len(batch.uids) >= _SMALL:
                break
            small += 1
        if small >= _SMALL_BATCHES:
            await self._merge_last(small)

    def dropped(self) -> list[str]:
        """The keys that the base named and the head does not."""
        return sorted(self._named(self.base) - self._named(self.head))

    def _named(self, head: Head) -> set[str]:
        segments = {self.shelf.segment_key(one.name) for one in head.segments}
        return segments | {self.shelf.batch_key(one.name) for one in head.batches}

    def _next_modseq(self) -> int:
        """One for all changes of a draft: they become true in the same moment."""
        return self.base.modseq + 1

    async def _flush(self) -> None:
        """The tail into a segment: the last one, as long as that is not full."""
        kept, entries = self.head.segments, list(self.head.tail)
        if kept and len(kept[-1].uids) + len(entries) <= SEGMENT:
            entries = await self.entries(kept[-1].uids) + entries
            kept = kept[:-1]
        self._replace_segments((*kept, await self._put_segment(entries)), tail=())

    async def _fold_in(self) -> None:
        """The segment with most changes, written anew with them in it."""
        changes: Counter[int] = Counter()
        for at, segment in enumerate(self.head.segments):
            changes[at] = sum(uid in segment.uids for uid in self.head.overlay)
        ((at, count),) = changes.most_common(1)
        if not count:
            raise Corrupt(self.shelf.segment_key(""), "changes of entries that no segment has")
        segments = list(self.head.segments)
        segments[at] = await self._put_segment(await self.entries(segments[at].uids))
        self._replace_segments(tuple(segments), tail=self.head.tail)

    def _replace_segments(self, segments: tuple[Segment, ...], *, tail: tuple[Entry, ...]) -> None:
        kept = {one.name for one in segments} & {one.name for one in self.head.segments}
        unfolded = [one.uids for one in segments if one.name in kept]
        overlay = {
            uid: one for uid, one in self.head.overlay.items() if any(uid in uids for uids in unfolded)
        }
        self.head = replace(self.head, segments=segments, tail=tail, overlay=overlay)

    async def _merge_last(self, count: int) -> None:
        blocks: dict[int, Heading] = {}
        for batch in self.head.batches[-count:]:
            blocks |= await self.shelf.headers(batch, batch.uids)
        merged = await self._put_batch(blocks)
        self.head = replace(self.head, batches=(*self.head.batches[:-count], merged))

    async def _put_segment(self, entries: Sequence[Entry]) -> Segment:
        name = fresh_name()
        key = self.shelf.segment_key(name)
        self.made.append(key)
        await self._vault.put_fresh(key, write_entries(entries))
        messages = [str(entry.message) for entry in entries]
        modseq = max(entry.modseq for entry in entries)
        uids = UidSet.of(entry.uid for entry in entries)
        return Segment(name, uids, min(messages), max(messages), modseq)

    async def _put_batch(self, headers: Mapping[int, Heading]) -> Batch:
        name = fresh_name()
        key = self.shelf.batch_key(name)
        self.made.append(key)
        document = write_headers(headers, self._vault.telling.editions)
        await self._vault.put_fresh(key, document, Purpose.CONTENT)
        return Batch(name, UidSet.of(headers))


def _deleted(entries: Iterable[Entry]) -> UidSet:
    return UidSet.of(entry.uid for entry in entries if DELETED in entry.flags)
