"""One folder's index: its head, read and replaced by compare-and-swap.

    result = await index.commit(change)

`change` works on a draft of the newest head, and is run again when another process was faster: so no
change of anybody's is lost, and no UID is given twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar, final

import structlog

from storage.errors import Conflict, Corrupt, NotFound, StorageError
from storage.folder_documents import Head, read_head, write_head
from storage.folder_draft import Draft
from storage.folder_shelf import Shelf, Superseded
from storage.folder_types import Entry, NoSuchFolder
from storage.folder_uids import UidSet
from storage.folder_vault import FolderVault
from storage.header_block import Heading
from storage.objects import ETag

_log: Final = structlog.get_logger(__name__)

# Every so many heads the replaced ones are taken away: the bucket keeps each version it was given.
_VERSIONS: Final = 64
_DROPPED: Final = 32  # objects that nothing names, before they are taken away
# A head that is replaced so often while one reads what it names: something else is wrong.
_READINGS: Final = 20

_T = TypeVar("_T")


def head_key(vault: FolderVault, folder: str) -> str:
    return f"{vault.prefix}{folder}/head"


@final
class Index:
    """One folder of one account, by the folder's id. Made for one session."""

    def __init__(self, vault: FolderVault, folder: str) -> None:
        self.vault: Final = vault
        self.id: Final = folder
        self._prefix: Final = f"{vault.prefix}{folder}/"
        self.shelf: Final = Shelf(vault, self._prefix, vault.telling.editions)
        self._key: Final = head_key(vault, folder)
        self._etag: ETag | None = None
        self._head: Head | None = None
        self._turn: Final = asyncio.Lock()
        self._removed: Final[set[str]] = set()  # dropped objects that are known to be gone

    async def create(self) -> None:
        """An empty folder, under an id that is nobody else's."""
        await self.vault.put_fresh(self._key, write_head(Head()))

    async def read(self) -> Head:
        """The head as it is now. Raises NoSuchFolder, Corrupt, Unavailable."""
        try:
            blob = await self.vault.get(self._key)
        except NotFound:
            self._head = self._etag = None
            raise NoSuchFolder("the folder was deleted") from None
        if blob.etag != self._etag or self._head is None:
            self._head, self._etag = read_head(self._key, blob.body), blob.etag
        return self._head

    async def known(self) -> Head:
        """The head as this session last saw it."""
        return self._head if self._head is not None else await self.read()

    async def entries(self, uids: UidSet) -> list[Entry]:
        """Those that are there, by UID."""
        for _ in range(_READINGS):
            try:
                return await self.shelf.entries(await self.known(), uids)
            except Superseded:
                await self.read()
        raise Corrupt(self._key, "it names objects that are not there")

    async def headers(self, uids: UidSet) -> dict[int, Heading]:
        """Header blocks of those that are there, all in memory."""
        for _ in range(_READINGS):
            try:
                return await Draft(self.vault, self.shelf, await self.known()).headers(uids)
            except Superseded:
                await self.read()
        raise Corrupt(self._key, "it names objects that are not there")

    async def commit(self, change: Callable[[Draft], Awaitable[_T]]) -> _T:
        """Make a change upon the newest head. Where the draft stays as it was, nothing is written.

        Raises NoSuchFolder, Moving, Unavailable (then it may have happened), Corrupt, Forbidden, and
        what `change` raises.
        """
        async with self._turn:
            await self.vault.refuse_while_frozen()
            missing = 0
            while True:
                draft = Draft(self.vault, self.shelf, await self.known())
                try:
                    result = await change(draft)
                    if draft.head is draft.base:
                        return result
                    await draft.settle()
                except Superseded:
                    missing += 1
                    if missing == _READINGS:
                        raise Corrupt(self._key, "it names objects that are not there") from None
                    await self._again(draft)
                    continue
                except StorageError:
                    await self._take_back(draft.made)
                    raise
                try:
                    await self._swap(draft)
                except Conflict:
                    await self._again(draft)
                    continue
                await self._clear_up(at_once=draft.has_removed)
                return result

    async def _swap(self, draft: Draft) -> None:
        standing = set(draft.base.dropped) - self._removed
        head = replace(
            draft.head,
            serial=draft.base.serial + 1,
            dropped=tuple(sorted(standing | set(draft.dropped()))),
        )
        expected, self._etag, self._head = self._etag, None, None  # until the answer is there
        self._etag = await self.vault.compare_and_swap(self._key, write_head(head), expected)
        self._head = head

    async def _again(self, draft: Draft) -> None:
        await self._take_back(draft.made)
        await self.read()

    async def _clear_up(self, *, at_once: bool) -> None:
        """After the swap: what the head names no more. `at_once` where header blocks of deleted mail are
        among it; else a few may gather. What fails here is done after a later swap: the head says what is
        left."""
        head = await self.known()
        left = [key for key in head.dropped if key not in self._removed]
        try:
            if left and (at_once or len(left) >= _DROPPED):
                await self.vault.discard_several(self._prefix, left)
                self._removed.update(left)
            self._removed.intersection_update(head.dropped)
        except StorageError as error:
            _log.info("folders.left_for_later", folder=self.id, reason=type(error).__name__)
        if head.serial % _VERSIONS == 0:
            await self.vault.forget_replaced(self._key)

    async def _take_back(self, made: list[str]) -> None:
        """What a draft has put that came to nothing."""
        try:
            await self.vault.discard_several(self._prefix, made)
        except StorageError as error:
            _log.info("folders.left_lying", folder=self.id, reason=type(error).__name__)
