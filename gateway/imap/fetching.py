"""FETCH: from the index what the index has, from the messages only what has to be read from them.

Messages stream through: each is told as it comes, and the next are fetched while the client reads.
What waits for the client stays within `Conversation.flow`'s bound and the folder's own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Final, final

from gateway.imap import replies as say
from gateway.imap.commands import Fetch
from gateway.imap.conversation import Conversation
from gateway.imap.fetch_grammar import Attribute, FetchItem, Octets
from gateway.imap.opened import Opened
from gateway.imap.rendering import need_of, render
from gateway.imap.replies import Status
from gateway.imap.sections import Cut
from storage.folder_types import Entry, FlagChange, FlagMode
from storage.header_block import LONG_ENOUGH_FOR_A_THREAD, Heading

_ENTRIES_AT_ONCE: Final = 500
_NOTHING: Final = Heading(b"")
_SEEN: Final = FlagChange(FlagMode.ADD, frozenset({"\\Seen"}))


async def fetch(conversation: Conversation, opened: Opened, command: Fetch) -> Status:
    """Tells what was asked for, and how it ended. Raises Refused and what reading a folder raises."""
    uids = opened.chosen(command.chosen, by_uid=command.by_uid)
    items = command.items
    if command.by_uid and Attribute.UID not in items:
        items = (Attribute.UID, *items)  # RFC 3501 6.4.8
    if command.changed_since is not None:
        conversation.condstore = True
        changed = {entry.uid for entry in await opened.folder.changed(opened.view, command.changed_since)}
        uids = tuple(uid for uid in uids if uid in changed)
        if Attribute.MODSEQ not in items:
            items = (*items, Attribute.MODSEQ)  # RFC 7162 3.1.4.1
    if Attribute.MODSEQ in items:
        conversation.condstore = True
    told = await _Fetching(conversation, opened, items).tell(uids)
    # A UID that is not there is no fault (RFC 3501 6.4.8), nor is what goes while it is fetched by UID.
    if told < len(uids) and not command.by_uid:
        return say.SOME_GONE
    return say.ok("that is all")


@final
class _Fetching:
    """One FETCH on its way."""

    def __init__(self, conversation: Conversation, opened: Opened, items: tuple[FetchItem, ...]) -> None:
        self._conversation: Final = conversation
        self._opened: Final = opened
        self._items: Final = items
        self._need: Final = need_of(items)
        # RFC 3501 6.4.5: reading octets without PEEK sets \Seen, and then tells the flags.
        self._sees: Final = not opened.read_only and any(
            isinstance(item, Octets) and not item.peek for item in items
        )
        self._is_piece: Final = any(isinstance(item, Octets) and item.partial for item in items)

    async def tell(self, uids: Sequence[int]) -> int:
        """Tells all of them, in the order of their UIDs. Returns how many there were."""
        told = 0
        entries = _Entries(self._opened, uids, sees=self._sees)
        async with aclosing(entries), aclosing(self._read(uids)) as stream:
            if any(self._need.kept):
                entries.ask()
            async for uid, read in stream:
                found = await entries.of(uid)
                if found is None:
                    continue
                entry, seen_now = found
                self._tell_one(entry, read, seen_now=seen_now)
                told += 1
                await self._conversation.flow()
        return told

    def _tell_one(self, entry: Entry, read: Heading | Cut, *, seen_now: bool) -> None:
        number = self._opened.view.sequence(entry.uid)
        assert number is not None, "a UID that was chosen from the view is in it"
        items = self._items
        if seen_now and Attribute.FLAGS not in items:
            items = (*items, Attribute.FLAGS)
        if seen_now and self._conversation.condstore and Attribute.MODSEQ not in items:
            items = (*items, Attribute.MODSEQ)  # RFC 7162 3.2
        if Attribute.FLAGS in items:
            self._opened.knows(entry)
        pieces = render(items, entry, self._opened.flags(entry), read)
        self._conversation.say(b"* %d FETCH (" % number, *pieces, b")\r\n")

    async def _read(self, uids: Sequence[int]) -> AsyncGenerator[tuple[int, Heading | Cut]]:
        """Each UID with the message, or with what the index keeps of it, whichever is needed."""
        folder, view, need = self._opened.folder, self._opened.view, self._need
        if need.content:
            async for uid, cut in self._contents(uids):
                yield uid, cut
        elif any(need.kept):
            async for uid, heading in folder.headings(view, uids, need.kept):
                yield uid, heading
        else:
            for uid in uids:
                yield uid, _NOTHING

    async def _contents(self, uids: Sequence[int]) -> AsyncGenerator[tuple[int, Cut]]:
        kept, in_pieces = self._conversation.last_opened, self._is_piece and len(uids) == 1
        if in_pieces and (cut := kept.of(self._opened, uids[0])) is not None:
            yield uids[0], cut
            return
        async for uid, content in self._opened.folder.contents(self._opened.view, uids):
            cut = Cut(content)
            if self._need.apart and len(content) >= LONG_ENOUGH_FOR_A_THREAD:
                await asyncio.to_thread(cut.take_apart)
            if in_pieces:
                kept.keep(self._opened, uid, cut)
            yield uid, cut


@final
class _Entries:
    """The entries of a rising row of UIDs, some hundred at a time."""

    def __init__(self, opened: Opened, uids: Sequence[int], *, sees: bool) -> None:
        self._opened: Final = opened
        self._chunks: Final = deque(
            uids[at : at + _ENTRIES_AT_ONCE] for at in range(0, len(uids), _ENTRIES_AT_ONCE)
        )
        self._sees: Final = sees
        self._last = 0
        self._here: dict[int, Entry] = {}
        self._seen_now: set[int] = set()
        self._coming: asyncio.Task[tuple[Entry, ...]] | None = None

    def ask(self) -> None:
        """For the first ones, while something else is on its way."""
        if self._chunks:
            self._coming = asyncio.create_task(self._read(self._chunks[0]))

    async def aclose(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)

    async def of(self, uid: int) -> tuple[Entry, bool] | None:
        """The entry, and whether this FETCH has just set its \\Seen; None for a message that is gone."""
        while uid > self._last:
            chunk = self._chunks.popleft()
            self._last = chunk[-1]
            await self._load(chunk)
        entry = self._here.get(uid)
        return None if entry is None else (entry, uid in self._seen_now)

    async def _read(self, chunk: Iterable[int]) -> tuple[Entry, ...]:
        return await self._opened.folder.entries(self._opened.view, chunk)

    async def _load(self, chunk: Iterable[int]) -> None:
        coming, self._coming = self._coming, None
        entries = await (coming or self._read(chunk))
        self._here = {entry.uid: entry for entry in entries}
        self._seen_now = set()
        unseen = tuple(entry.uid for entry in entries if "\\Seen" not in entry.flags)
        if self._sees and unseen:
            outcome = await self._opened.change(unseen, _SEEN)
            self._seen_now = {entry.uid for entry in outcome.entries}
            self._here |= {entry.uid: entry for entry in outcome.entries}
