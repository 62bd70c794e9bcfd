"""Folders in memory, for tests of what is said on the wire. As strict as those at rest: UIDs only rise,
a view is what it was, and who names a message that is gone gets nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from gateway.imap.signing_in import TELLING
from storage.folder_types import (
    INBOX,
    Entry,
    FlagChange,
    FolderExists,
    FolderName,
    FolderRefused,
    NoSuchFolder,
    StoreOutcome,
    View,
)
from storage.folder_uids import UidSet
from storage.header_block import Heading, Wanted
from storage.identity import MessageIds

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
_IDS = MessageIds()


class MemoryFolder:
    """One folder; sessions share it as they share a folder at rest."""

    def __init__(self, name: str, uid_validity: int) -> None:
        self.name = name
        self.uid_validity = uid_validity
        self.deleted = False
        self.modseq = 1
        self.uid_next = 1
        self.mail: dict[int, tuple[Entry, bytes]] = {}
        self.content_reads = 0
        self._untaken: set[int] = set()

    def deliver(self, content: bytes, flags: frozenset[str] = frozenset(), at: datetime = NOON) -> int:
        uid, self.uid_next = self.uid_next, self.uid_next + 1
        self.modseq += 1
        entry = Entry(uid, _IDS.issue(at), flags, len(content), at, self.modseq)
        self.mail[uid] = (entry, content)
        self._untaken.add(uid)
        return uid

    async def refresh(self, *, claims: bool = True) -> View:
        if self.deleted:
            raise NoSuchFolder("it was deleted")
        taken = frozenset(self._untaken & self.mail.keys())
        if claims:
            self._untaken = set()
        unseen = sum("\\Seen" not in entry.flags for entry, _ in self.mail.values())
        return View(self.uid_validity, self.uid_next, self.modseq, unseen, UidSet.of(self.mail), taken)

    async def entries(self, view: View, uids: Iterable[int]) -> tuple[Entry, ...]:
        return tuple(self.mail[uid][0] for uid in sorted(set(uids)) if uid in view.uids and uid in self.mail)

    async def changed(self, view: View, since: int) -> tuple[Entry, ...]:
        return tuple(one for one in await self.entries(view, view.uids) if one.modseq > since)

    async def headers(self, view: View, uids: Iterable[int]) -> AsyncIterator[tuple[int, bytes]]:
        for uid in uids:
            if uid in self.mail:
                header, blank, _ = self.mail[uid][1].partition(b"\r\n\r\n")
                yield uid, header + blank

    async def headings(
        self, view: View, uids: Iterable[int], wanted: Wanted
    ) -> AsyncIterator[tuple[int, Heading]]:
        for uid in uids:
            if uid in self.mail:
                yield uid, TELLING.read(self.mail[uid][1], wanted)

    async def contents(self, view: View, uids: Iterable[int]) -> AsyncIterator[tuple[int, bytes]]:
        for uid in uids:
            if uid in self.mail:
                self.content_reads += 1
                yield uid, self.mail[uid][1]

    async def store(
        self, uids: Iterable[int], change: FlagChange, *, unchanged_since: int | None = None
    ) -> StoreOutcome:
        entries, before, modified = [], [], []
        self.modseq += 1
        for uid in uids:
            if uid not in self.mail:
                continue
            entry, content = self.mail[uid]
            if unchanged_since is not None and entry.modseq > unchanged_since:
                modified.append(uid)
                continue
            before.append(entry.modseq)
            flags = change.on(entry.flags)
            if flags != entry.flags:
                entry = replace(entry, flags=flags, modseq=self.modseq)
                self.mail[uid] = (entry, content)
            entries.append(entry)
        return StoreOutcome(tuple(entries), tuple(before), tuple(modified))

    async def append(
        self, content: bytes, flags: frozenset[str] = frozenset(), internal_date: datetime | None = None
    ) -> int:
        return self.deliver(content, flags, internal_date or NOON)

    async def copy(self, uids: Iterable[int], to: MemoryFolder) -> tuple[tuple[int, int], ...]:
        found = [(uid, *self.mail[uid]) for uid in uids if uid in self.mail]
        return tuple((uid, to.deliver(octets, one.flags, one.internal_date)) for uid, one, octets in found)

    async def move(self, uids: Iterable[int], to: MemoryFolder) -> tuple[tuple[int, int], ...]:
        pairs = await self.copy(uids, to)
        self.remove(uid for uid, _ in pairs)
        return pairs

    async def expunge(self, uids: Iterable[int] | None = None) -> tuple[int, ...]:
        among = set(self.mail if uids is None else uids)
        gone = [uid for uid, (one, _) in self.mail.items() if uid in among and "\\Deleted" in one.flags]
        self.remove(gone)
        return tuple(gone)

    def remove(self, uids: Iterable[int]) -> None:
        for uid in uids:
            self.modseq += 1
            del self.mail[uid]


class MemoryFolders:
    """One account's folders."""

    def __init__(self) -> None:
        self._validity = count(1000)
        self._folders: dict[str, MemoryFolder] = {}
        self._subscribed: set[str] = {INBOX}
        self._uses = {"Sent": "\\Sent", "Trash": "\\Trash", "Junk": "\\Junk"}
        for name in (INBOX, *self._uses):
            self._folders[name] = MemoryFolder(name, next(self._validity))

    def of(self, name: str) -> MemoryFolder:
        return self._folders[name]

    async def names(self) -> tuple[FolderName, ...]:
        return tuple(
            FolderName(name, self._uses.get(name), name in self._subscribed, folder.uid_validity)
            for name, folder in sorted(self._folders.items(), key=lambda one: (one[0] != INBOX, one[0]))
        )

    async def subscriptions(self) -> tuple[str, ...]:
        return tuple(sorted(self._subscribed))

    async def create(self, name: str) -> FolderName:
        if name in self._folders:
            raise FolderExists("it exists")
        folder = self._folders[name] = MemoryFolder(name, next(self._validity))
        return FolderName(name, None, False, folder.uid_validity)

    async def delete(self, name: str) -> None:
        if name == INBOX:
            raise FolderRefused("INBOX is never deleted (RFC 3501 6.3.4)")
        folder = await self.folder(name)
        folder.deleted = True
        del self._folders[name]

    async def rename(self, old: str, new: str) -> None:
        folder = await self.folder(old)
        if new in self._folders:
            raise FolderExists("it exists")
        del self._folders[old]
        self._folders[new] = folder

    async def subscribe(self, name: str, on: bool) -> None:
        if on:
            await self.folder(name)
            self._subscribed.add(name)
        else:
            self._subscribed.discard(name)

    async def folder(self, name: str) -> MemoryFolder:
        if name not in self._folders:
            raise NoSuchFolder("there is none")
        return self._folders[name]
