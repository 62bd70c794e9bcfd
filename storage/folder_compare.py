"""The whole comparison: every message that lies there against every entry of every folder.

Arrivals look back by an overlap and no further. What comes in with an old date (an import), what a dead
process has put and not entered, what a sweeper or an eraser has destroyed, is found here. A comparison is
due when somebody asks for it (`folders/<account>/arrivals/<due><name>`), and from time to time.

It changes nothing unless the folders stood still while it read: else a message that is being moved could
be seen nowhere, and entered twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, final

import structlog

from storage.errors import NotFound
from storage.folder_arrivals import CHUNK, Arrivals, Overtaken, message_of
from storage.folder_documents import milliseconds
from storage.folder_draft import Draft
from storage.folder_index import Index
from storage.folder_intake import Intake
from storage.folder_notes import due_notes
from storage.folder_types import NoSuchFolder
from storage.folder_uids import UidSet
from storage.folder_vault import FolderVault
from storage.mailbox import message_key
from storage.objects import Listed
from storage.tombstones import hidden

_log: Final = structlog.get_logger(__name__)

_EVERY: Final = timedelta(days=7)
_ATTEMPTS: Final = 3

IndexesOf = Callable[[], Awaitable[list[Index]]]


@final
@dataclass(frozen=True, slots=True)
class _Difference:
    """Messages that no folder has, in order; and UIDs whose message is gone."""

    lacking: list[Listed]
    gone: dict[str, UidSet]  # by the folder's id
    serial: int  # of the intake, when it was looked


@final
class Comparison:
    """One account's. Made for one session."""

    def __init__(self, vault: FolderVault, intake: Intake, arrivals: Arrivals, indexes: IndexesOf) -> None:
        self._vault: Final = vault
        self._intake: Final = intake
        self._arrivals: Final = arrivals
        self._indexes: Final = indexes

    async def if_due(self, given: dict[str, set[int]]) -> None:
        """Compare, where it is time to. Adds the UIDs that it gave to `given`, by the folder's id."""
        notes = await due_notes(self._vault)
        known = await self._intake.read()
        now = milliseconds(self._vault.clock())
        if not known.compared and not notes:
            # The first intake has looked at everything that there was.
            await self._intake.compared()
            return
        due = bool(notes) or now - known.compared > _EVERY // timedelta(milliseconds=1)
        if due and await self.compare(given):
            for note in notes:
                await self._vault.discard(note)

    async def compare(self, given: dict[str, set[int]]) -> bool:
        """False where the folders would not stand still: later."""
        for _ in range(_ATTEMPTS):
            difference = await self._difference()
            if difference is None:
                continue
            try:
                await self._enter(difference, given)
            except Overtaken:
                continue
            await self._take_out(difference)
            await self._intake.compared()
            return True
        _log.info("folders.comparison_put_off", account=str(self._vault.account))
        return False

    async def _difference(self) -> _Difference | None:
        """None where anything changed meanwhile."""
        serial = (await self._intake.read()).serial
        indexes = await self._indexes()
        heads = {}
        entered: dict[str, tuple[str, int]] = {}
        for index in indexes:
            head = heads[index.id] = await index.read()
            for segment in head.segments:
                for entry in await index.entries(segment.uids):
                    entered[str(entry.message)] = (index.id, entry.uid)
            entered |= {str(entry.message): (index.id, entry.uid) for entry in head.tail}
        pending = {one for head in heads.values() for one in head.pending}
        lacking: list[Listed] = []
        listing = self._vault.home.mail.list(f"mail/{self._vault.account}/")
        async with aclosing(listing):
            async for one in listing:
                if entered.pop(str(message_of(one)), None) is None and str(message_of(one)) not in pending:
                    lacking.append(one)
        tombstones = {one async for one in hidden(self._vault.home.mail, self._vault.account)}
        if serial != (await self._intake.read()).serial:
            return None
        for index in indexes:
            if (await index.read()).serial != heads[index.id].serial:
                return None
        gone: dict[str, list[int]] = {}
        for folder, uid in entered.values():
            gone.setdefault(folder, []).append(uid)
        return _Difference(
            [one for one in lacking if message_of(one) not in tombstones],
            {folder: UidSet.of(uids) for folder, uids in gone.items()},
            serial,
        )

    async def _enter(self, difference: _Difference, given: dict[str, set[int]]) -> None:
        for start in range(0, len(difference.lacking), CHUNK):
            known = await self._intake.read()
            listed = difference.lacking[start : start + CHUNK]
            deliveries = await self._arrivals.enter(known, listed, given)
            await self._intake.note([message_of(one) for one in listed], deliveries)

    async def _take_out(self, difference: _Difference) -> None:
        for index in await self._indexes():
            uids = difference.gone.get(index.id)
            if uids:
                await take_out_lost(self._vault, index, uids)


async def take_out_lost(vault: FolderVault, index: Index, uids: UidSet) -> tuple[int, ...]:
    """Entries whose message was destroyed: by the sweeper when its time had come, by an eraser. Each is
    looked for once more. Returns the UIDs that went."""
    lost: list[int] = []
    for entry in await index.entries(uids):
        try:
            await vault.home.mail.get_range(message_key(vault.account, entry.message), 0, 1)
        except NotFound:
            lost.append(entry.uid)

    async def take_out(draft: Draft) -> tuple[int, ...]:
        gone = await draft.entries(UidSet.of(lost))
        if gone:
            await draft.remove(gone)
        return tuple(entry.uid for entry in gone)

    if not lost:
        return ()
    try:
        return await index.commit(take_out)
    except NoSuchFolder:
        return ()
