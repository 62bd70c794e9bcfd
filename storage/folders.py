"""An account's folders, as its owner sees them: names, and one sealed index for each.

    folders = await Folders.open(home, located, register, clock)
    inbox = await folders.folder("INBOX")
    view = await inbox.refresh()
    async for uid, header in inbox.headers(view, view.uids): ...

Everything is changed by compare-and-swap, so that any number of sessions in any number of processes may
work on an account at once. `storage/README.md` tells the life of a folder.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, final

import structlog

from storage.errors import StorageError
from storage.folder import Folder
from storage.folder_arrivals import Arrivals
from storage.folder_compare import Comparison
from storage.folder_expunging import Expunging
from storage.folder_filing import Filing
from storage.folder_index import Index
from storage.folder_intake import Intake
from storage.folder_names import Names
from storage.folder_types import (
    INBOX,
    Entry,
    FlagChange,
    FlagMode,
    FolderExists,
    FolderName,
    FolderRefused,
    NoSuchFolder,
    StoreOutcome,
    View,
)
from storage.folder_vault import FolderVault
from storage.header_block import NOT_TOLD, Telling
from storage.holds import HoldRegister
from storage.identity import Clock
from storage.located import Located
from storage.region import RegionStore

__all__ = [
    "INBOX",
    "Entry",
    "FlagChange",
    "FlagMode",
    "Folder",
    "FolderExists",
    "FolderName",
    "FolderRefused",
    "Folders",
    "NoSuchFolder",
    "StoreOutcome",
    "View",
]

_log: Final = structlog.get_logger(__name__)


@final
class Folders:
    """One account's folders, for one signed-in session: it keeps the account's keys once opened."""

    def __init__(self, vault: FolderVault) -> None:
        self._vault: Final = vault
        self._names: Final = Names(vault)
        self._intake: Final = Intake(vault)
        self._filing: Final = Filing(vault, self._intake)
        self._expunging: Final = Expunging(vault)
        self._indexes: Final[dict[str, Index]] = {}
        self._arrivals: Final = Arrivals(vault, self._intake, self._folder_for_mail)
        self._comparison: Final = Comparison(vault, self._intake, self._arrivals, self._all_indexes)

    @classmethod
    async def open(
        cls,
        home: RegionStore,
        located: Located,
        register: HoldRegister,
        clock: Clock,
        telling: Telling = NOT_TOLD,
    ) -> Folders:
        """Make the folders that every account has, where there are none. `telling`: what a door tells of
        a header most often is made when mail comes in, and kept in the index.

        Raises NotFound where the account is not at home here; Unavailable, Forbidden, Corrupt.
        """
        folders = cls(await FolderVault.open(home, located, register, clock, telling))
        roster = await folders._names.open()
        for folder in roster.dying:
            await folders._bury(folder)
        return folders

    async def names(self) -> tuple[FolderName, ...]:
        """The folders, by name; INBOX first."""
        return await self._names.list()

    async def subscriptions(self) -> tuple[str, ...]:
        """The names that are subscribed to, of folders that are gone too (RFC 3501 6.3.6)."""
        return tuple(sorted((await self._names.roster()).subscribed))

    async def create(self, name: str) -> FolderName:
        """RFC 3501 6.3.3, with the names above it. Raises FolderExists, FolderRefused."""
        return await self._names.create(name)

    async def delete(self, name: str) -> None:
        """RFC 3501 6.3.4: the folder, and the messages in it as if they were expunged. Raises
        NoSuchFolder, FolderRefused."""
        folder = await self._names.delete(name)
        if folder is not None:
            await self._bury(folder)

    async def rename(self, old: str, new: str) -> None:
        """RFC 3501 6.3.5. Raises NoSuchFolder, FolderExists, FolderRefused."""
        if old.upper() != INBOX:
            await self._names.rename(old, new)
            return
        # RFC 3501 6.3.5: the messages go, and INBOX stays, empty.
        inbox = await self.folder(INBOX)
        await inbox.refresh()
        await self._names.create(new)
        target = await self.folder(new)
        await inbox.move((await inbox.refresh()).uids, target)

    async def subscribe(self, name: str, on: bool) -> None:
        """RFC 3501 6.3.6 and 6.3.7. Raises NoSuchFolder for a name that is no folder."""
        await self._names.subscribe(name, on)

    async def folder(self, name: str) -> Folder:
        """A folder, with what a dead process began in it ended. Raises NoSuchFolder."""
        kept, named, folder = await self._names.find(name)
        index = Index(self._vault, folder)
        head = await index.read()
        if head.leaving:
            await self._filing.finish(index)
        if head.pending:
            try:
                await self._expunging.finish(index)
            except StorageError as error:  # hidden already, and the sweeper's to destroy
                _log.info("folders.deletion_left", folder=folder, reason=type(error).__name__)
        take_in = self._take_in if kept == INBOX else None
        return Folder(self._vault, index, kept, named.uid_validity, self._filing, self._expunging, take_in)

    async def _take_in(self) -> dict[str, set[int]]:
        given = await self._arrivals.take_in()
        await self._comparison.if_due(given)
        return given

    async def _folder_for_mail(self, name: str) -> Index:
        """Where mail goes that was filed under that name: made where there is none, INBOX where no folder
        may have the name."""
        try:
            with suppress(FolderExists):
                if name.upper() != INBOX:
                    await self._names.create(name)
            _, _, folder = await self._names.find(name)
        except (FolderRefused, NoSuchFolder):
            _, _, folder = await self._names.find(INBOX)
        return self._index(folder)

    async def _all_indexes(self) -> list[Index]:
        roster = await self._names.roster()
        return [self._index(named.id) for named in roster.folders.values() if named.id is not None]

    def _index(self, folder: str) -> Index:
        if folder not in self._indexes:
            self._indexes[folder] = Index(self._vault, folder)
        return self._indexes[folder]

    async def _bury(self, folder: str) -> None:
        """What is left when it fails is done at the next opening."""
        try:
            with suppress(NoSuchFolder):
                await self._expunging.bury(Index(self._vault, folder))
            await self._names.buried(folder)
        except StorageError as error:
            _log.info("folders.burial_left", folder=folder, reason=type(error).__name__)
