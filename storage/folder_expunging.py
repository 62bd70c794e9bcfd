"""What an owner deletes: out of the folder in one swap, and then given to `storage.owners_delete`.

The swap takes the entries out and notes the messages as pending; they are hidden and, where nothing keeps
them, destroyed; the note is cleared. Whoever opens the folder after a crash goes on from the note. What a
hold keeps is gone from the folder, and stays for the law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, final

import structlog

from storage.errors import StorageError
from storage.folder_draft import Draft
from storage.folder_index import Index
from storage.folder_types import Entry
from storage.folder_uids import UidSet
from storage.folder_vault import FolderVault
from storage.identity import MessageId
from storage.owners_delete import delete_for_owner

_log: Final = structlog.get_logger(__name__)

_CHUNK: Final = 1000  # messages between two swaps: the head carries what is pending


@final
class Expunging:
    """One account's deletions. Made for one session."""

    def __init__(self, vault: FolderVault) -> None:
        self._vault: Final = vault

    async def expunge(self, index: Index, uids: UidSet | None) -> tuple[int, ...]:
        """Those that bear \\Deleted (of `uids`); returns what this call took out.

        When it returns, all of it is hidden, or is noted to be: a failure from then on is mended by
        whoever opens the folder next.
        """
        gone: list[int] = []
        while True:

            async def take_out(draft: Draft) -> list[Entry]:
                meant = draft.head.deleted.minus(draft.head.moving)
                if uids is not None:
                    meant = meant.both(uids)
                entries = await draft.entries(UidSet.of(meant[:_CHUNK]))
                if entries:
                    await draft.remove(entries)
                    pending = (*draft.head.pending, *(str(one.message) for one in entries))
                    draft.head = replace(draft.head, pending=pending)
                return entries

            taken = await index.commit(take_out)
            if not taken:
                return tuple(gone)
            gone += (one.uid for one in taken)
            try:
                await self.finish(index)
            except StorageError as error:
                _log.info("folders.deletion_left", folder=index.id, reason=type(error).__name__)

    async def finish(self, index: Index) -> None:
        """What is pending. Raises Unavailable, Corrupt, Forbidden; Moving."""
        pending = [MessageId.parse(one) for one in (await index.known()).pending]
        if not pending:
            return
        await self.delete(pending)
        done = frozenset(map(str, pending))

        async def clear(draft: Draft) -> None:
            left = tuple(one for one in draft.head.pending if one not in done)
            if left != draft.head.pending:
                draft.head = replace(draft.head, pending=left)

        await index.commit(clear)

    async def bury(self, index: Index) -> None:
        """All that a deleted folder has, then the folder's own objects. Done twice, it is done."""
        head = await index.read()
        uids = head.uids
        for start in range(0, len(uids), _CHUNK):
            entries = await index.entries(UidSet.of(uids[start : start + _CHUNK]))
            await self.delete([entry.message for entry in entries])
        await self.delete([MessageId.parse(one) for one in head.pending])
        prefix = f"{self._vault.prefix}{index.id}/"
        listing = self._vault.home.mail.list(prefix)
        keys = [listed.key async for listed in listing]
        # The head last: as long as it is there, somebody finds what is left.
        await self._vault.discard_several(prefix, [key for key in keys if not key.endswith("/head")])
        await self._vault.discard(f"{prefix}head")

    async def delete(self, messages: Sequence[MessageId]) -> None:
        """Raises as `delete_for_owner`."""
        if messages:
            await delete_for_owner(self._vault.home, self._vault.register, self._vault.account, messages)
