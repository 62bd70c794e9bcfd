"""What an owner puts into folders: APPEND, COPY, MOVE.

A message that the owner puts is an object like any other, with its flags document beside it, put first:
if we crash before the folder's head names the message, the next look at INBOX, or the next comparison,
enters it where the flags document says.

A move changes two heads, and goes in three steps, each a swap:

    1. the source says what leaves, under the move's name     the messages are in the source alone
    2. the target enters them, and remembers the name         they are in both, under the source's note
    3. the source lets go of them, and of its note            done

Whoever reads the source after a crash does 2 and 3 again: 2 is done once for a name.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, final

import structlog

from storage.errors import NotFound, StorageError
from storage.flags import Flags, put_flags
from storage.folder_documents import Arrived, Leaving
from storage.folder_draft import Arrival, Draft
from storage.folder_index import Index
from storage.folder_intake import OVERLAP, Intake
from storage.folder_notes import leave_note
from storage.folder_types import Entry, NoSuchFolder
from storage.folder_uids import UidSet
from storage.folder_vault import FolderVault, fresh_name
from storage.identity import MessageId, MessageIds, named_by
from storage.in_order import as_stream, in_order
from storage.mailbox import Envelope, append, message_key
from storage.sealing import Binding, seal_message
from storage.tombstones import hide
from storage.traffic import TrafficRecord, write_record

_log: Final = structlog.get_logger(__name__)

PROTOCOL: Final = "IMAP"  # in the traffic record, where RFC 3848 has ESMTP
_IDS: Final = MessageIds()
_AT_ONCE: Final = 8
_OCTETS_AT_ONCE: Final = 32 * 1024 * 1024
# How long a target remembers the name of a move: longer than any process is at one.
_REMEMBERED: Final = timedelta(days=1)
_REMEMBERED_AT_LEAST: Final = 32
# Of what was put here, how much a head still knows: an intake that began before is long over by then.
_FILED: Final = 64

Pairs = tuple[tuple[int, int], ...]  # the UID here, and the UID there


@final
class Filing:
    """One account's owner at work. Made for one session."""

    def __init__(self, vault: FolderVault, intake: Intake) -> None:
        self._vault: Final = vault
        self._intake: Final = intake

    async def append(
        self, index: Index, name: str, content: bytes, flags: frozenset[str], internal_date: datetime | None
    ) -> int:
        """A message of the owner's own; it is received here and now, whatever its date says: an order's
        timespan is measured by that. `name` is the folder's. Returns the UID."""
        now = self._vault.clock()
        message = _IDS.issue(now)
        _, held = await asyncio.gather(self._vault.refuse_while_frozen(), self._vault.is_under_hold())
        located = replace(self._vault.located, keys=self._vault.public, legal_hold=held)
        kept = Flags(name, flags, internal_date)
        await put_flags(self._vault.home, located.keys, located.account, message, kept)
        envelope = Envelope("", "", "", "", now, PROTOCOL)
        await append(self._vault.home, located, envelope, content, message=message)
        date = internal_date or message.received_at
        arrival = Arrival(message, flags, len(content), date, await self._vault.telling.heading(content))
        (uid,) = await self._enter(index, [arrival])
        return uid

    async def copy(self, source: Index, uids: UidSet, target: Index, name: str) -> Pairs:
        """New objects, under names of the same time: an order's timespan still finds them. What another
        session has expunged is left out (RFC 3501 6.4.8), though this one has not heard of it yet."""
        await source.read()
        entries = await source.entries(uids)
        if not entries:
            return ()
        vault = self._vault
        await vault.refuse_while_frozen()
        held = await vault.is_under_hold()
        # If we die on the way, the copies have old dates, and nobody would look for them.
        due = vault.clock() + OVERLAP
        note = await leave_note(vault.home, vault.public, vault.account, due)
        put: list[MessageId] = []

        async def one(entry: Entry) -> tuple[int, Arrival] | None:
            try:
                original = await vault.message(entry.message)
            except NotFound:
                return None
            message = named_by(entry.message.received_at, secrets.token_bytes(16))
            put.append(message)
            return entry.uid, await self._copied(entry, original, message, name, held=held)

        stream = in_order(
            as_stream(entries), one, _AT_ONCE, weigh=lambda entry: entry.size, budget=_OCTETS_AT_ONCE
        )
        try:
            async with aclosing(stream):
                copied = [pair async for pair in stream if pair is not None]
        except BaseException:
            # RFC 3501 6.4.7: the target is left as it was before the attempt.
            await asyncio.shield(self._settle(target, put, whole=False))
            raise
        # What fails from here on leaves the note: when it is due, somebody looks at what became of it.
        there = await self._enter(target, [arrival for _, arrival in copied])
        await asyncio.shield(vault.let_go(note))
        return tuple(zip((uid for uid, _ in copied), there, strict=True))

    async def move(self, source: Index, uids: UidSet, target: Index) -> Pairs:
        """The messages stay where they lie: only heads change. One that another session is moving
        elsewhere at this moment is left to it."""
        await self.finish(source)  # an attempt that failed on its way would else be taken for another's
        if source.id == target.id:
            return await source.commit(partial(_renumber, uids=uids))
        name = fresh_name()

        async def announce(draft: Draft) -> UidSet:
            leaves = draft.head.uids.both(uids).minus(draft.head.moving)
            if leaves:
                note = Leaving(name, target.id, leaves)
                draft.head = replace(draft.head, leaving=(*draft.head.leaving, note))
            return leaves

        leaves = await source.commit(announce)
        if not leaves:
            return ()
        there = await self._carry(source, Leaving(name, target.id, leaves), target)
        return tuple(zip(leaves, there, strict=True))

    async def finish(self, source: Index) -> None:
        """Moves that somebody has begun and not ended."""
        for leaving in (await source.known()).leaving:
            target = Index(self._vault, leaving.to)
            try:
                await self._carry(source, leaving, target)
            except NoSuchFolder:  # the target was deleted before anything came there
                await source.commit(partial(_forget, name=leaving.id))

    async def _carry(self, source: Index, leaving: Leaving, target: Index) -> tuple[int, ...]:
        """Steps 2 and 3."""
        entries = await source.entries(leaving.uids)
        headers = await source.headers(leaving.uids)
        # Headers that are gone by now were let go by another session, which has ended this move: the
        # target knows its name then.
        arrivals = [
            Arrival(one.message, one.flags, one.size, one.internal_date, headers[one.uid])
            for one in entries
            if one.uid in headers
        ]
        now = self._vault.clock()

        async def enter(draft: Draft) -> tuple[int, ...]:
            for arrived in draft.head.arrived:
                if arrived.id == leaving.id:
                    return arrived.uids
            uids = await draft.add(arrivals)
            known = draft.head.arrived
            standing = [
                one
                for at, one in enumerate(known)
                if at >= len(known) - _REMEMBERED_AT_LEAST or one.at > now - _REMEMBERED
            ]
            draft.head = replace(draft.head, arrived=(*standing, Arrived(leaving.id, now, uids)))
            return uids

        async def let_go(draft: Draft) -> None:
            if any(one.id == leaving.id for one in draft.head.leaving):
                await draft.remove(await draft.entries(leaving.uids))
                await _forget(draft, name=leaving.id)

        there = await target.commit(enter)
        await source.commit(let_go)
        return there

    async def _copied(
        self,
        entry: Entry,
        original: tuple[TrafficRecord, bytes],
        message: MessageId,
        name: str,
        *,
        held: bool,
    ) -> Arrival:
        vault, (record, content) = self._vault, original
        date = entry.internal_date
        flags = Flags(name, entry.flags, date if date != message.received_at else None)
        await put_flags(vault.home, vault.public, vault.account, message, flags)
        # Nobody has sent the copy: it must not be taken for a delivery that was sent again.
        traffic = replace(record, id=message, sent_sha256=None)
        key = message_key(vault.account, message)
        binding = Binding(vault.home.region.code, key)
        sealed = seal_message(vault.public, binding, write_record(traffic), content)
        await vault.home.mail.put_if_absent(key, sealed, legal_hold=held, fresh_key=True)
        return Arrival(message, entry.flags, len(content), date, await vault.telling.heading(content))

    async def _enter(self, index: Index, arrivals: Sequence[Arrival]) -> tuple[int, ...]:
        """Into the folder; somebody who has looked at INBOX meanwhile may have done so already."""

        async def enter(draft: Draft) -> tuple[int, ...]:
            there = await draft.holding(one.message for one in arrivals)
            new = [one for one in arrivals if one.message not in there]
            there |= dict(zip((one.message for one in new), await draft.add(new), strict=True))
            if new:
                filed = (*draft.head.filed, *(str(one.message) for one in new))
                draft.head = replace(draft.head, filed=filed[-_FILED:])
            return tuple(there[one.message] for one in arrivals)

        messages = [one.message for one in arrivals]
        try:
            uids = await index.commit(enter)
        except BaseException as error:
            # The swap may have happened, and its answer been lost; or the session ends at this moment.
            settled = await asyncio.shield(self._settle(index, messages, whole=True))
            if not settled or not isinstance(error, StorageError):
                raise
            uids = settled
        # They are in the folder. What is remembered here only spares the next look at INBOX some work: the
        # command has succeeded, and a copy that the folder names must not be taken back.
        with suppress(StorageError):
            await self._intake.remember(messages)
        return uids

    async def _settle(self, index: Index, put: Sequence[MessageId], *, whole: bool) -> tuple[int, ...] | None:
        """After an attempt that ended badly: all of it is in the folder, or none (RFC 3501 6.3.11, 6.4.7).

        `put` is `whole` where nothing was left to put. Returns the UIDs where the head names all of it;
        nothing where it names none, and from now on never will; None where nobody can say for now: then
        nothing is taken back, since a head may name it.
        """
        if not put:
            return ()
        try:
            there = await index.commit(partial(_all_or_none, put=put, whole=whole))
        except NoSuchFolder:
            there = ()
        except StorageError as error:
            _log.info("folders.filing_unsettled", folder=index.id, reason=type(error).__name__)
            return None
        if not there:
            for message in put:
                await hide(self._vault.home.mail, self._vault.account, message)
        return there


async def _all_or_none(draft: Draft, *, put: Sequence[MessageId], whole: bool) -> tuple[int, ...]:
    there = await draft.holding(put)
    if whole and len(there) == len(put):
        return tuple(there[message] for message in put)
    if there:  # another session has looked at INBOX meanwhile, and filed what it found
        await draft.remove(await draft.entries(UidSet.of(there.values())))
    # A new head, even where nothing else changes: a swap that is still on its way finds its own gone. And
    # whoever has listed the messages before they are hidden finds them known, and enters none.
    draft.head = replace(draft.head, filed=(*draft.head.filed, *map(str, put)))
    return ()


async def _forget(draft: Draft, *, name: str) -> None:
    left = tuple(one for one in draft.head.leaving if one.id != name)
    draft.head = replace(draft.head, leaving=left)


async def _renumber(draft: Draft, *, uids: UidSet) -> Pairs:
    """RFC 6851 3.3: a message that is moved to where it is gets a new UID there. One that is leaving for
    another folder is not in both: what is expunged from the one would be gone from the other."""
    entries = await draft.entries(uids.minus(draft.head.moving))
    headers = await draft.headers(uids)
    there = await draft.add(
        [Arrival(one.message, one.flags, one.size, one.internal_date, headers[one.uid]) for one in entries]
    )
    if entries:
        await draft.remove(entries)
    return tuple(zip((one.uid for one in entries), there, strict=True))
