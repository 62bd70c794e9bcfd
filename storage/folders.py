"""An account's folders, as its owner sees them: names, and one sealed index for each.

folders = await Folders.open(home, located, register, clock)
inbox = await folders.folder("INBOX")
view = await inbox.refresh()
async for uid, header in inbox.headers(view, view.uids): ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Final, final

from storage.folder_types import Entry, FlagChange, FolderName, StoreOutcome, View
from storage.holds import HoldRegister
from storage.identity import Clock
from storage.located import Located
from storage.region import RegionStore


@final
class Folders:
    """One account's folders, for one signed-in session: it keeps the account's keys once opened."""

    def __init__(self, home: RegionStore, located: Located, register: HoldRegister, clock: Clock) -> None:
        self._home: Final = home
        self._located: Final = located
        self._register: Final = register
        self._clock: Final = clock

    @classmethod
    async def open(cls, home: RegionStore, located: Located, register: HoldRegister, clock: Clock) -> Folders:
        """Make the folders that every account has, where there are none; finish what a dead process
        began. Raises Unavailable, Forbidden, Corrupt, FenceBroken."""
        raise NotImplementedError

    async def names(self) -> tuple[FolderName, ...]:
        """The folders, by name; INBOX first."""
        raise NotImplementedError

    async def subscriptions(self) -> tuple[str, ...]:
        """The names that are subscribed to, of folders that are gone too (RFC 3501 6.3.6)."""
        raise NotImplementedError

    async def create(self, name: str) -> FolderName:
        """RFC 3501 6.3.3, with the names above it. Raises FolderExists, FolderRefused."""
        raise NotImplementedError

    async def delete(self, name: str) -> None:
        """RFC 3501 6.3.4. Raises NoSuchFolder, FolderRefused."""
        raise NotImplementedError

    async def rename(self, old: str, new: str) -> None:
        """RFC 3501 6.3.5. Raises NoSuchFolder, FolderExists, FolderRefused."""
        raise NotImplementedError

    async def subscribe(self, name: str, on: bool) -> None:
        """RFC 3501 6.3.6 and 6.3.7. Raises NoSuchFolder where a name that is no folder is subscribed to."""
        raise NotImplementedError

    async def folder(self, name: str) -> Folder:
        """Raises NoSuchFolder."""
        raise NotImplementedError


@final
class Folder:
    """One folder. Any number of sessions in any number of processes may have it open."""

    name: str

    async def refresh(self) -> View:
        """Take in new mail and what others changed. Raises NoSuchFolder once it was deleted; Unavailable,
        Corrupt, Forbidden."""
        raise NotImplementedError

    async def entries(self, view: View, uids: Iterable[int]) -> tuple[Entry, ...]:
        """The entries of those UIDs that the view has, by UID, each as this session last saw it or
        newer; one that another session has expunged since may be missing."""
        raise NotImplementedError

    async def changed(self, view: View, since: int) -> tuple[Entry, ...]:
        """The entries with a modification sequence above `since` (RFC 7162 3.1.4), without reading
        segments in which there is none."""
        raise NotImplementedError

    def headers(self, view: View, uids: Iterable[int]) -> AsyncIterator[tuple[int, bytes]]:
        """Header blocks, through the empty line, by UID, out of the index: no message is fetched."""
        raise NotImplementedError

    def contents(self, view: View, uids: Iterable[int]) -> AsyncIterator[tuple[int, bytes]]:
        """Whole messages, by UID, fetched ahead within a bound of octets. One that is gone is left out."""
        raise NotImplementedError

    async def store(
        self, uids: Iterable[int], change: FlagChange, *, unchanged_since: int | None = None
    ) -> StoreOutcome:
        """Change flags. Raises FolderRefused for what is no flag."""
        raise NotImplementedError

    async def append(
        self, content: bytes, flags: frozenset[str] = frozenset(), internal_date: datetime | None = None
    ) -> int:
        """A message of the owner's own, received here and now; returns its UID."""
        raise NotImplementedError

    async def copy(self, uids: Iterable[int], to: Folder) -> tuple[tuple[int, int], ...]:
        """Pairs of the UID here and the UID there. All are copied, or an error is raised."""
        raise NotImplementedError

    async def move(self, uids: Iterable[int], to: Folder) -> tuple[tuple[int, int], ...]:
        """RFC 6851; pairs as with `copy`."""
        raise NotImplementedError

    async def expunge(self, uids: Iterable[int] | None = None) -> tuple[int, ...]:
        """Delete the messages that bear \\Deleted (of `uids`, where given: RFC 4315 2.1); returns their
        UIDs. What a hold keeps, stays for the law."""
        raise NotImplementedError
