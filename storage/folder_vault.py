"""The sealed objects of one account's folders, opened for its owner in the account's home.

`folders/<account>/...`: names, heads and entries are sealed to the record key; header blocks, which
say what mail says, to the content key.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection
from typing import Final, final

import structlog

from storage.bookkeeping import discard, discard_earlier, discard_several
from storage.errors import Corrupt, StorageError
from storage.flags import Flags, read_flags
from storage.header_block import NOT_TOLD, Telling
from storage.holds import HoldRegister
from storage.identity import AccountId, Clock, MessageId
from storage.keyring import Keyholder, Keyring
from storage.keys import PublicKeys, Purpose
from storage.located import Located
from storage.lookup import LOCATED_FOR
from storage.mailboxes import mailbox_of
from storage.moving import refuse_while_frozen
from storage.objects import Blob, ETag
from storage.opening import Opener
from storage.region import RegionStore
from storage.sealing import Binding, open_document, read_document_header, seal_document
from storage.traffic import TrafficRecord

_log: Final = structlog.get_logger(__name__)

FOLDERS: Final = "folders/"


def fresh_name() -> str:
    """The last part of a key that nobody else will choose."""
    return secrets.token_hex(10)


class FolderDocuments:
    """What one account's sealed folder objects say. It keeps the account's keys: let it go when done."""

    def __init__(self, home: RegionStore, account: AccountId, keyring: Keyring) -> None:
        self.home: Final = home
        self.account: Final = account
        self.prefix: Final = f"{FOLDERS}{account}/"
        self._keyring = keyring
        self._renewing: Final = asyncio.Lock()

    async def get(self, key: str, purpose: Purpose = Purpose.RECORD) -> Blob:
        """An opened document, and the tag of its sealed form. Raises NotFound, Corrupt, Unavailable."""
        blob = await self.home.mail.get(key)
        binding = Binding(self.home.region.code, key)
        generation = read_document_header(binding, blob.body, purpose).generation
        if not self._keyring.has(generation):  # rotated by another process since the session began
            await self._renew()
        private = await self._keyring.private(purpose, generation, opens=key)
        return Blob(open_document(private, binding, blob.body), blob.etag)

    async def _renew(self) -> None:
        async with self._renewing:
            holder = Keyholder(self.home.region.code, self.account)
            self._keyring = await Keyring.load(self.home.mail, self.home.keys, holder)


@final
class FolderVault(FolderDocuments):
    """One account's folder objects, to read and to write: what a signed-in session has."""

    def __init__(
        self,
        home: RegionStore,
        located: Located,
        register: HoldRegister,
        clock: Clock,
        keyring: Keyring,
        telling: Telling,
    ) -> None:
        super().__init__(home, located.account, keyring)
        self.telling: Final = telling
        self.located: Final = located
        self.register: Final = register
        self.clock: Final = clock
        self._held = False
        self._held_asked = float("-inf")  # loop time
        self._opener = Opener(home, located.account)

    @classmethod
    async def open(
        cls,
        home: RegionStore,
        located: Located,
        register: HoldRegister,
        clock: Clock,
        telling: Telling = NOT_TOLD,
    ) -> FolderVault:
        """`telling`: what is kept beside each header block.

        Raises NotFound where the account is not at home here; Unavailable, Forbidden, Corrupt.
        """
        holder = Keyholder(home.region.code, located.account)
        keyring = await Keyring.load(home.mail, home.keys, holder)
        return cls(home, located, register, clock, keyring, telling)

    @property
    def public(self) -> PublicKeys:
        return self._keyring.public

    async def put_fresh(self, key: str, document: bytes, purpose: Purpose = Purpose.RECORD) -> None:
        """Write an object once, under a key that ends in a `fresh_name`."""
        await self.home.mail.put_if_absent(key, self._seal(key, document, purpose), fresh_key=True)

    async def compare_and_swap(self, key: str, document: bytes, expected: ETag | None) -> ETag:
        """Raises Conflict when the document is no longer the one that had the tag `expected`."""
        return await self.home.mail.compare_and_swap(key, self._seal(key, document), expected)

    async def discard(self, key: str) -> None:
        """Remove an object that nothing names any more, with all its versions."""
        await discard(self.register.versions, key)

    async def let_go(self, key: str) -> None:
        """The same, of what does no harm if it stays."""
        try:
            await self.discard(key)
        except StorageError as error:
            _log.info("folders.left_for_later", key=key, reason=type(error).__name__)

    async def discard_several(self, prefix: str, keys: Collection[str]) -> None:
        """The same for objects under a folder's prefix."""
        if keys:
            await discard_several(self.register.versions, prefix, keys)

    async def forget_replaced(self, key: str) -> None:
        """Remove the replaced versions of a document. What fails here is done after a later change."""
        try:
            await discard_earlier(self.register.versions, key)
        except StorageError as error:
            _log.info("folders.left_for_later", key=key, reason=type(error).__name__)

    async def flags(self, message: MessageId) -> Flags:
        """What a message carried where it came from. Raises Corrupt, Forbidden, Unavailable."""
        try:
            return await read_flags(self.home, self._keyring, self.account, message)
        except Corrupt:
            await self._renew()
            return await read_flags(self.home, self._keyring, self.account, message)

    async def message(self, message: MessageId) -> tuple[TrafficRecord, bytes]:
        """A message as it was received. Raises NotFound, Corrupt, Forbidden, Unavailable."""
        try:
            return await self._opener.message(message)
        except Corrupt:
            # Sealed perhaps to a generation that came after this session began: once more, with
            # a keyring read anew.
            await self._renew()
            return await self._opener.message(message)

    async def content(self, message: MessageId) -> bytes:
        """The same without its traffic data. Raises NotFound, Corrupt, Forbidden, Unavailable."""
        try:
            return await self._opener.content(message)
        except Corrupt:
            await self._renew()
            return await self._opener.content(message)

    async def refuse_while_frozen(self) -> None:
        """Before each change: what is written while the mailbox moves would not come along. Raises Moving."""
        await refuse_while_frozen(self.register.vault, self.account)

    async def is_under_hold(self) -> bool:
        """Whether what is put into the mailbox now has to carry the bucket's own lock. The directory's
        word is as old as the session; the register's is `LOCATED_FOR` seconds old at most, as a
        delivery's is."""
        if self.located.legal_hold:
            return True
        now = asyncio.get_running_loop().time()
        if now - self._held_asked >= LOCATED_FOR:
            mailbox = await mailbox_of(self.home, self.account)
            holds = await self.register.on(self.account)
            self._held = any(hold.touches(mailbox) and hold.keeps(self.clock()) for hold in holds)
            self._held_asked = now
        return self._held

    def _seal(self, key: str, document: bytes, purpose: Purpose = Purpose.RECORD) -> bytes:
        return seal_document(self.public, Binding(self.home.region.code, key), document, purpose)

    async def _renew(self) -> None:
        await super()._renew()
        self._opener = Opener(self.home, self.account)
