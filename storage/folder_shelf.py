"""Reading what a head names: segments and header blocks, each fetched once and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, final

from storage.errors import NotFound
from storage.folder_documents import Batch, Head, Rows, Segment, read_entries, read_headers
from storage.folder_types import Entry
from storage.folder_uids import UidSet
from storage.folder_vault import FolderDocuments
from storage.header_block import Editions, Heading
from storage.keys import Purpose

_SEGMENTS_KEPT: Final = 4  # of some 2,000 entries: about 1 MB each
_BATCHES_KEPT: Final = 2

_T = TypeVar("_T")


class Superseded(NotFound):
    """An object that the head named is gone: the head has been replaced. Read it again."""


@final
class Shelf:
    """One folder's write-once objects. What is kept can never be out of date: names are used once."""

    def __init__(self, vault: FolderDocuments, prefix: str, editions: Editions) -> None:
        """`prefix` is the folder's own, with the slash; `editions` those of what is told of mail."""
        self._vault: Final = vault
        self._prefix: Final = prefix
        self._editions: Final = editions
        self._segments: Final[OrderedDict[str, Rows]] = OrderedDict()
        self._batches: Final[OrderedDict[str, dict[int, Heading]]] = OrderedDict()

    async def entries(self, head: Head, uids: UidSet) -> list[Entry]:
        """The entries of those UIDs that the head has, by UID. Raises Superseded, Corrupt, Unavailable."""
        found: list[Entry] = []
        for segment in head.segments:
            wanted = segment.uids.both(uids)
            if wanted:
                rows = await self._segment(segment)
                found += (as_changed(rows.entry(uid), head) for uid in wanted)
        found += (entry for entry in head.tail if entry.uid in uids)
        return found

    async def headers(self, batch: Batch, uids: UidSet) -> dict[int, Heading]:
        """The header blocks of those UIDs that are in the batch."""
        blocks = await self._kept(self._batches, _BATCHES_KEPT, batch.name, self._read_batch)
        return {uid: blocks[uid] for uid in batch.uids.both(uids)}

    async def _segment(self, segment: Segment) -> Rows:
        return await self._kept(self._segments, _SEGMENTS_KEPT, segment.name, self._read_segment)

    async def _read_segment(self, name: str) -> Rows:
        key = self.segment_key(name)
        return read_entries(key, await self._get(key, Purpose.RECORD))

    async def _read_batch(self, name: str) -> dict[int, Heading]:
        key = self.batch_key(name)
        return read_headers(key, await self._get(key, Purpose.CONTENT), self._editions)

    async def _get(self, key: str, purpose: Purpose) -> bytes:
        try:
            return (await self._vault.get(key, purpose)).body
        except NotFound:
            raise Superseded(key) from None

    @staticmethod
    async def _kept(
        kept: OrderedDict[str, _T], most: int, name: str, read: Callable[[str], Awaitable[_T]]
    ) -> _T:
        if name not in kept:
            kept[name] = await read(name)
            while len(kept) > most:
                kept.popitem(last=False)
        kept.move_to_end(name)
        return kept[name]

    def segment_key(self, name: str) -> str:
        return f"{self._prefix}entries/{name}"

    def batch_key(self, name: str) -> str:
        return f"{self._prefix}headers/{name}"


def as_changed(entry: Entry, head: Head) -> Entry:
    """An entry out of a segment, with what became of it since."""
    changed = head.overlay.get(entry.uid)
    if changed is None:
        return entry
    return Entry(entry.uid, entry.message, changed.flags, entry.size, entry.internal_date, changed.modseq)
