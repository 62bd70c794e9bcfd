"""Opening an account's mail in its home, for those who act for its owner or for the account's sake:
the owner's export, a move, a hold whose query asks for traffic data.

Nothing here is a way to disclose: what the law is given is read by `storage.disclosure_reader`,
for a RecordedPermit, and by nothing else.
"""

from __future__ import annotations

from typing import Final, final

from storage.errors import Corrupt, NotFound
from storage.identity import AccountId, MessageId
from storage.keyring import Keyholder, Keyring
from storage.keys import Purpose
from storage.mailbox import message_key
from storage.region import RegionStore
from storage.sealing import (
    LONGEST_SEALED,
    TRAFFIC_READ,
    Binding,
    open_content,
    open_traffic,
    read_message_header,
)
from storage.traffic import TrafficRecord, read_record


@final
class Opener:
    """One account's mail. Needs the key service of its home; let it go when done: it holds keys."""

    def __init__(self, home: RegionStore, account: AccountId) -> None:
        self._home: Final = home
        self._account: Final = account
        self._keyring: Keyring | None = None

    async def traffic(self, message: MessageId) -> TrafficRecord:
        """A message's traffic data, without fetching its content.

        Raises NotFound, Corrupt, Forbidden, Unavailable.
        """
        key = message_key(self._account, message)
        head = await self._home.mail.get_range(key, 0, TRAFFIC_READ)
        binding = Binding(self._home.region.code, key)
        header = read_message_header(binding, head)
        if missing := max(0, header.traffic_end - len(head)):
            head += await self._home.mail.get_range(key, len(head), missing)
        private = await (await self._keys()).private(Purpose.TRAFFIC, header.generation, opens=key)
        return read_record(key, message, open_traffic(private, binding, head))

    async def traffic_if_known(self, message: MessageId) -> TrafficRecord | None:
        """The same; None where nobody can read it any more. What cannot be read for now raises."""
        try:
            return await self.traffic(message)
        except (NotFound, Corrupt):
            return None

    async def message(self, message: MessageId) -> tuple[TrafficRecord, bytes]:
        """A message as it was received, octet for octet, with its traffic data.

        Raises NotFound, Corrupt, Forbidden, Unavailable.
        """
        return await self.unseal(message, await self.sealed(message))

    async def content(self, message: MessageId) -> bytes:
        """The same without its traffic data, for whoever has the envelope already: half the keys are used.

        Raises NotFound, Corrupt, Forbidden, Unavailable.
        """
        key = message_key(self._account, message)
        sealed = await self.sealed(message)
        binding = Binding(self._home.region.code, key)
        generation = read_message_header(binding, sealed).generation
        private = await (await self._keys()).private(Purpose.CONTENT, generation, opens=key)
        return open_content(private, binding, sealed)

    async def unseal(self, message: MessageId, sealed: bytes) -> tuple[TrafficRecord, bytes]:
        """A message that has been fetched already. Raises Corrupt, Forbidden, Unavailable."""
        key = message_key(self._account, message)
        binding = Binding(self._home.region.code, key)
        generation = read_message_header(binding, sealed).generation
        keys = await self._keys()
        traffic = open_traffic(await keys.private(Purpose.TRAFFIC, generation, opens=key), binding, sealed)
        content = open_content(await keys.private(Purpose.CONTENT, generation, opens=key), binding, sealed)
        return read_record(key, message, traffic), content

    async def sealed(self, message: MessageId) -> bytes:
        """The whole object, as a range of it: nobody needs its tag here, and a range comes in one step of
        the object client where a whole object takes two, a third of what fetching it costs this process.

        Raises NotFound, Forbidden, Unavailable.
        """
        return await self._home.mail.get_range(message_key(self._account, message), 0, LONGEST_SEALED)

    async def _keys(self) -> Keyring:
        if self._keyring is None:
            holder = Keyholder(self._home.region.code, self._account)
            self._keyring = await Keyring.load(self._home.mail, self._home.keys, holder)
        return self._keyring
