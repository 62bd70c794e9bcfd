"""One folder, as a session has it open."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, final

import structlog

from storage.errors import Corrupt, NotFound, Unavailable
from storage.flags import FLAG, MOST_FLAGS
from storage.folder_compare import take_out_lost
from storage.folder_documents import Batch, Head
from storage.folder_draft import Draft
from storage.folder_expunging import Expunging
from storage.folder_filing import Filing, Pairs
from storage.folder_index import Index
from storage.folder_shelf import Superseded
from storage.folder_types import Entry, FlagChange, FolderRefused, StoreOutcome, View
from storage.folder_uids import NONE, UidSet
from storage.folder_vault import FolderVault
from storage.header_block import Heading, Wanted, aside
from storage.in_order import as_stream, in_order

_log: Final = structlog.get_logger(__name__)

_CHUNK: Final = 2000  # changes between two swaps
_ENTRIES: Final = 500  # looked up at once for their contents
_AT_ONCE: Final = 32  # an engine on the same machine answers most a second then
_BATCHES_AT_ONCE: Final = 4  # of header blocks: a megabyte each, or less
_OCTETS_AT_ONCE: Final = 8 * 1024 * 1024  # for each session: many may read at once
_READINGS: Final = 20
_FLAG: Final = re.compile(FLAG)
# RFC 3501 2.3.2; \Recent is a session's own and is never kept.
_SYSTEM: Final = {
    f"\\{one}".lower(): f"\\{one}" for one in ("Answered", "Flagged", "Deleted", "Seen", "Draft")
}

# Enters new mail; gives the UIDs that it gave, by the folder's id.
TakeIn = Callable[[], Awaitable[dict[str, set[int]]]]


@final
class Folder:
    """One folder. Any number of sessions in any number of processes may have it open."""

    def __init__(
        self,
        vault: FolderVault,
        index: Index,
        name: str,
        uid_validity: int,
        filing: Filing,
        expunging: Expunging,
        take_in: TakeIn | None,
    ) -> None:
        """Made by `Folders.folder`. `take_in` for INBOX alone."""
        self._vault: Final = vault
        self._index: Final = index
        self.name: Final = name
        self.uid_validity: Final = uid_validity
        self._filing: Final = filing
        self._expunging: Final = expunging
        self._take_in: Final = take_in
        self._lost: Final[set[int]] = set()  # whose message was not there when it was fetched

    async def refresh(self, *, claims: bool = True) -> View:
        """Take in new mail and what others changed. What came in is `recent` in one session alone, which
        `claims` it; a look that does not takes it from nobody (RFC 3501 6.3.2, 6.3.10).

        Raises NoSuchFolder once it was deleted; Unavailable, Corrupt, Forbidden."""
        came: frozenset[int] = frozenset()
        if self._take_in is not None:
            came = frozenset((await self._take_in()).get(self._index.id, ()))
        if self._lost:
            await take_out_lost(self._vault, self._index, UidSet.of(self._lost))
            self._lost.clear()
        head = await self._index.read()
        if head.leaving:
            try:
                await self._filing.finish(self._index)
            except Unavailable as error:  # the messages are shown here until somebody can
                _log.info("folders.move_left", folder=self._index.id, reason=type(error).__name__)
            head = await self._index.read()
        recent = came.union(head.recent)
        if head.recent if claims else came:
            recent = await self._recent(came, claims=claims)
            head = await self._index.known()
        return self._view(head, recent)

    async def entries(self, view: View, uids: Iterable[int]) -> tuple[Entry, ...]:
        """The entries of those UIDs that the view has, by UID, each as this session last saw it or
        newer; one that another session has expunged since may be missing."""
        return tuple(await self._index.entries(view.uids.both(UidSet.of(uids))))

    async def changed(self, view: View, since: int) -> tuple[Entry, ...]:
        """The entries with a modification sequence above `since` (RFC 7162 3.1.4), without reading
        segments in which there is none."""
        head = await self._index.known()
        spans = [span for one in head.segments if one.modseq > since for span in one.uids.ranges]
        newer = [uid for uid, one in head.overlay.items() if one.modseq > since]
        newer += [entry.uid for entry in head.tail if entry.modseq > since]
        uids = UidSet.spanning(spans).union(UidSet.of(newer)).both(view.uids)
        return tuple(entry for entry in await self._index.entries(uids) if entry.modseq > since)

    async def headers(self, view: View, uids: Iterable[int]) -> AsyncGenerator[tuple[int, bytes]]:
        """Header blocks, through the empty line, by UID."""
        stream = self.headings(view, uids, Wanted(block=True))
        async with aclosing(stream):
            async for uid, one in stream:
                yield uid, one.block

    async def headings(
        self, view: View, uids: Iterable[int], wanted: Wanted
    ) -> AsyncGenerator[tuple[int, Heading]]:
        """What is wanted of each message, by UID, out of the index: no message is fetched but where what is
        wanted was too long to stand there, or was made by other rules. One that is then gone is left out."""
        telling, batches = self._vault.telling, self._batches(view.uids.both(UidSet.of(uids)))
        async with aclosing(batches):
            async for batch in batches:
                contents = self.contents(view, [uid for uid, one in batch.items() if _lacks(one, wanted)])
                async with aclosing(contents):
                    fetched = await anext(contents, None)
                    for uid, one in batch.items():
                        if not _lacks(one, wanted):
                            tells = wanted.told and not one.told
                            yield uid, one._replace(told=telling.tell(one.block)) if tells else one
                        elif fetched is not None and fetched[0] == uid:
                            yield uid, await aside(partial(telling.read, wanted=wanted), fetched[1])
                            fetched = await anext(contents, None)

    async def _batches(self, left: UidSet) -> AsyncGenerator[dict[int, Heading]]:
        for _ in range(_READINGS):
            wanted = [(batch, batch.uids.both(left)) for batch in (await self._index.known()).batches]
            stream = in_order(as_stream([one for one in wanted if one[1]]), self._blocks, _BATCHES_AT_ONCE)
            try:
                async with aclosing(stream):
                    async for found, blocks in stream:
                        yield blocks
                        left = left.minus(found)
                return
            except Superseded:
                await self._index.read()
        raise Corrupt(self.name, "its head names objects that are not there")

    async def contents(self, view: View, uids: Iterable[int]) -> AsyncGenerator[tuple[int, bytes]]:
        """Whole messages, by UID, fetched ahead within a bound of octets. One that is gone is left out,
        and one that does not open, which is logged."""
        wanted = view.uids.both(UidSet.of(uids))

        async def entries() -> AsyncIterator[Entry]:
            for start in range(0, len(wanted), _ENTRIES):
                for entry in await self._index.entries(UidSet.of(wanted[start : start + _ENTRIES])):
                    yield entry

        stream = in_order(
            entries(), self._content, _AT_ONCE, weigh=lambda entry: entry.size, budget=_OCTETS_AT_ONCE
        )
        async with aclosing(stream):
            async for uid, content in stream:
                if content is not None:
                    yield uid, content

    async def store(
        self, uids: Iterable[int], change: FlagChange, *, unchanged_since: int | None = None
    ) -> StoreOutcome:
        """Change flags. Raises FolderRefused for what is no flag."""
        change = FlagChange(change.mode, frozenset(map(checked_flag, change.flags)))
        wanted = UidSet.of(uids)
        entries: list[Entry] = []
        before: list[int] = []
        modified: list[int] = []
        for start in range(0, len(wanted), _CHUNK):
            chunk = UidSet.of(wanted[start : start + _CHUNK])

            async def apply(draft: Draft, chunk: UidSet = chunk) -> StoreOutcome:
                return await _store(draft, chunk, change, unchanged_since)

            outcome = await self._index.commit(apply)
            entries += outcome.entries
            before += outcome.before
            modified += outcome.modified
        return StoreOutcome(tuple(entries), tuple(before), tuple(modified))

    async def append(
        self, content: bytes, flags: frozenset[str] = frozenset(), internal_date: datetime | None = None
    ) -> int:
        """A message of the owner's own, received here and now; returns its UID. Raises FolderRefused for
        what is no flag; NoSuchFolder; as `storage.mailbox.append`."""
        kept = frozenset(map(checked_flag, flags))
        if len(kept) > MOST_FLAGS:
            raise FolderRefused(f"a message bears at most {MOST_FLAGS} flags")
        return await self._filing.append(self._index, self.name, content, kept, internal_date)

    async def copy(self, uids: Iterable[int], to: Folder) -> Pairs:
        """Pairs of the UID here and the UID there. All that are still there
        are copied, or an error is raised."""
        return await self._filing.copy(self._index, UidSet.of(uids), to._index, to.name)

    async def move(self, uids: Iterable[int], to: Folder) -> Pairs:
        """RFC 6851; pairs as with `copy`. One that is gone is left out."""
        return await self._filing.move(self._index, UidSet.of(uids), to._index)

    async def expunge(self, uids: Iterable[int] | None = None) -> tuple[int, ...]:
        """Delete the messages that bear \\Deleted (of `uids`, where given: RFC 4315 2.1); returns their
        UIDs. What a hold keeps, stays for the law."""
        return await self._expunging.expunge(self._index, None if uids is None else UidSet.of(uids))

    async def _blocks(self, wanted: tuple[Batch, UidSet]) -> tuple[UidSet, dict[int, Heading]]:
        return wanted[1], await self._index.shelf.headers(*wanted)

    async def _content(self, entry: Entry) -> tuple[int, bytes | None]:
        try:
            return entry.uid, await self._vault.content(entry.message)
        except NotFound:
            self._lost.add(entry.uid)  # the sweeper's or an eraser's doing: the next refresh takes it out
        except Corrupt as error:
            _log.warning("folders.unreadable", key=error.key, rule=error.rule)
        return entry.uid, None

    async def _recent(self, came: frozenset[int], *, claims: bool) -> frozenset[int]:
        """What is \\Recent here: what came with this look, and what was left. It is left for the next look
        unless this one claims it."""

        async def leave(draft: Draft) -> UidSet:
            before = draft.head.recent
            left = NONE if claims else before.union(UidSet.of(came))
            if left != before:
                draft.head = replace(draft.head, recent=left)
            return before

        try:
            return came.union(await self._index.commit(leave))
        except Unavailable as error:  # it is worth no failure to anybody
            _log.info("folders.recent_left", folder=self._index.id, reason=type(error).__name__)
            return came

    def _view(self, head: Head, recent: frozenset[int]) -> View:
        return View(
            self.uid_validity, head.uid_next, head.modseq, head.unseen, head.uids, recent, head.serial
        )


def _lacks(one: Heading, wanted: Wanted) -> bool:
    """Whether the message itself has to be read for what is wanted."""
    if wanted.structure and not one.structure:
        return True
    return not one.block and (wanted.block or (wanted.told and not one.told))


def checked_flag(text: str) -> str:
    """A flag as it is kept: system flags in their usual case. Raises FolderRefused."""
    if not _FLAG.match(text) or (text.startswith("\\") and text.lower() not in _SYSTEM):
        raise FolderRefused(f"{text[:80]!r} is no flag that can be kept")
    return _SYSTEM.get(text.lower(), text)


async def _store(draft: Draft, uids: UidSet, change: FlagChange, unchanged_since: int | None) -> StoreOutcome:
    # What is on its way elsewhere goes with the flags that it had: a change here would be lost unheard.
    entries = await draft.entries(uids.minus(draft.head.moving))
    modified = [
        entry.uid for entry in entries if unchanged_since is not None and entry.modseq > unchanged_since
    ]
    left_alone = set(modified)
    meant = [entry for entry in entries if entry.uid not in left_alone]
    flags = {entry.uid: change.on(entry.flags) for entry in meant}
    if any(len(one) > MOST_FLAGS for one in flags.values()):
        raise FolderRefused(f"a message bears at most {MOST_FLAGS} flags")
    # RFC 7162 3.1.3 leaves it open; what does not change tells other sessions nothing.
    changing = [entry for entry in meant if flags[entry.uid] != entry.flags]
    after = {entry.uid: entry for entry in (draft.change(changing, flags) if changing else ())}
    entries_now = tuple(after.get(entry.uid, entry) for entry in meant)
    return StoreOutcome(entries_now, tuple(entry.modseq for entry in meant), tuple(modified))
