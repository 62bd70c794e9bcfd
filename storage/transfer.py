"""Carrying an account's objects from one home to another: opened, checked, sealed to the new keys.

Nothing passes through anything but memory. A message is opened with the old home's key service,
compared with the digest in its own traffic record, sealed to the account's keys in the new home, and
put if absent. Where it is there already, an earlier run has put it: it is opened with the new keys
and compared with the same digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Final, final

from storage.contents import MAIL, Shown, shown_messages
from storage.errors import AlreadyExists, Corrupt, NotFound, Unavailable
from storage.identity import AccountId, MessageId
from storage.in_order import in_order
from storage.keyring import Keyholder, Keyring, create_keyring
from storage.keys import PublicKeys, Purpose
from storage.labels import LABELS, put_label, read_label
from storage.mailbox import message_key
from storage.moving import MoveRecord
from storage.opening import Opener
from storage.record_keys import RecordKeys, note_where_it_lived, where_it_lived
from storage.region import RegionStore
from storage.sealing import (
    Binding,
    open_document,
    read_document_header,
    seal_document,
    seal_message,
)
from storage.tombstones import TOMBSTONES, hide
from storage.traffic import TrafficRecord, write_record
from storage.vault import Vault

AT_ONCE: Final = 32
_IN_MEMORY: Final = 64 * 1024 * 1024  # octets of sealed mail under way; one larger message goes alone
_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?\Z')
_DOCUMENTS: Final = ("folders",)


@final
class Transfer:
    """One account's way from `old` to `new`. Makes its keys there."""

    def __init__(
        self,
        old: RegionStore,
        new: RegionStore,
        vaults: tuple[Vault, Vault],
        account: AccountId,
        record: MoveRecord,
        keys: PublicKeys,
        ring: Keyring,
    ) -> None:
        self._old: Final = old
        self._new: Final = new
        self._old_vault, self._new_vault = vaults
        self._account: Final = account
        self._record: Final = record
        self._reads: Final = Opener(old, account)
        self._checks: Final = Opener(new, account)
        self.keys: Final = keys
        self._ring: Final = ring  # the old one
        self._verified: Final[set[MessageId]] = set()  # put or compared by this run

    @classmethod
    async def open(
        cls,
        old: RegionStore,
        new: RegionStore,
        vaults: tuple[Vault, Vault],
        account: AccountId,
        record: MoveRecord,
    ) -> Transfer:
        """Make the account's keyring in the new home, or take the one that an earlier run has made."""
        holder = Keyholder(new.region.code, account)
        left = await RecordKeys.find(new.mail, holder)  # it has lived there before
        following = left.newest + 1 if left else 1
        keys = await create_keyring(new.mail, new.keys, holder, record.move.begun, generation=following)
        ring = await Keyring.load(old.mail, old.keys, Keyholder(old.region.code, account))
        return cls(old, new, vaults, account, record, keys, ring)

    async def copy(self, progress: Callable[[], None]) -> set[MessageId]:
        """Carry over what the new home lacks; returns what it has and the old one has not.

        Raises Corrupt for a message that is not what its digest says; Moving, Unavailable.
        """
        surplus: set[MessageId] = set()

        async def one(pair: tuple[Shown | None, Shown | None]) -> None:
            here, there = pair
            if here is not None:
                await self._carry(here, there)
            elif there is not None:
                surplus.add(there.message)
            progress()

        pairs = _abreast(
            shown_messages(self._old.mail, self._account),
            shown_messages(self._new.mail, self._account),
        )
        async for _ in in_order(pairs, one, AT_ONCE, weigh=_octets, budget=_IN_MEMORY):
            pass
        return surplus

    async def copy_documents(self) -> None:
        """The owner's folders, where it has lived, and last the subscriber record: with it the account
        is there."""
        for folder in _DOCUMENTS:
            async for listed in self._old.mail.list(f"{folder}/{self._account}/"):
                await self._reseal(listed.key)
        left = {*await where_it_lived(self._old_vault, self._account), self._old.region.code}
        await self._record.still_ours()
        await note_where_it_lived(self._new_vault, self._account, left - {self._new.region.code})
        await self._reseal(f"accounts/{self._account}/account.json")

    async def _carry(self, here: Shown, there: Shown | None) -> None:
        await self._record.still_ours()
        have = {one.key for one in there.objects} if there else set()
        for one in here.objects:
            await self._carry_object(here.message, one.key, is_there=one.key in have)

    async def _carry_object(self, message: MessageId, key: str, *, is_there: bool) -> None:
        if key.startswith(MAIL):
            if not is_there:
                await self._carry_message(message)
            elif message not in self._verified:  # an earlier run's
                await self._verify(message)
            self._verified.add(message)
        elif key.startswith(TOMBSTONES):
            await hide(self._new.mail, self._account, message)
        elif key.startswith(LABELS):
            label = await read_label(self._old_vault, key)
            await put_label(self._new_vault, self._account, message, label)
        elif not is_there:
            await self._reseal(key)

    async def _carry_message(self, message: MessageId) -> None:
        key = message_key(self._account, message)
        try:
            sealed = await self._reads.sealed(message)
        except NotFound:
            return  # deleted since it was listed: the comparison at the end will tell
        traffic, content = await self._reads.unseal(message, sealed)
        _must_be(key, traffic, content)
        binding = Binding(self._new.region.code, key)
        again = seal_message(self.keys, binding, write_record(traffic), content)
        # Nothing was there when it was listed, and whoever holds the claim is alone in writing here: the
        # first attempt needs no condition. Were it another's after all, it would be this same message.
        try:
            etag = await self._new.mail.put_if_absent(key, again, fresh_key=True)
        except AlreadyExists:
            await self._verify(message)
            return
        # Engines that tag by content say so of what they hold, not of what they were sent.
        digest = _MD5.match(etag)
        if digest and digest.group(1) != hashlib.md5(again, usedforsecurity=False).hexdigest():
            raise Unavailable(f"{key} arrived damaged in {self._new.region.code}")

    async def _verify(self, message: MessageId) -> None:
        """What lies in the new home is this very message, and opens there. Raises Corrupt."""
        key = message_key(self._account, message)
        traffic = await self._reads.traffic(message)
        found, carried = await self._checks.message(message)
        if found != traffic:
            raise Corrupt(key, "another message lies under its name in the new home")
        _must_be(key, found, carried)

    async def _reseal(self, key: str) -> None:
        """A document under one of the account's keys, under the like key in the new home."""
        try:
            sealed = (await self._old.mail.get(key)).body
        except NotFound:
            return
        binding = Binding(self._old.region.code, key)
        header = read_document_header(binding, sealed, Purpose.RECORD, Purpose.CONTENT)
        private = await self._ring.private(header.purpose, header.generation, opens=key)
        document = open_document(private, binding, sealed)
        await self._record.still_ours()
        again = seal_document(self.keys, Binding(self._new.region.code, key), document, header.purpose)
        await self._new.mail.put(key, again)


def _octets(pair: tuple[Shown | None, Shown | None]) -> int:
    here, _ = pair
    return here.octets if here is not None else 0


def _must_be(key: str, traffic: TrafficRecord, content: bytes) -> None:
    if len(content) != traffic.size or hashlib.sha256(content).hexdigest() != traffic.sha256:
        raise Corrupt(key, "its content is not what its digest says")


async def _abreast(
    old: AsyncIterator[Shown], new: AsyncIterator[Shown]
) -> AsyncIterator[tuple[Shown | None, Shown | None]]:
    """Two mailboxes side by side, in key order: None where one of them has nothing of that name."""
    here, there = await anext(old, None), await anext(new, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here.message < there.message):
            yield here, None
            here = await anext(old, None)
        elif here is None or there.message < here.message:
            yield None, there
            there = await anext(new, None)
        else:
            yield here, there
            here, there = await anext(old, None), await anext(new, None)
