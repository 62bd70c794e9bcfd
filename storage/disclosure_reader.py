"""The one place that opens a mailbox for the law.

It takes a RecordedPermit and nothing less: an order verified, decided upon, approved by a
second person, and committed to the audit log. Which mailbox, which time and which categories
are read out of that permit; a caller can narrow nothing and widen nothing.

What is fetched and opened for each category:

    subscriber, identification   the subscriber record, under the record key
    traffic                      the first 4,096 octets of each message in the timespan, under the
                                 traffic key: the content frame is not fetched, and the content
                                 key is not asked of the key service
    content                      each message in the timespan whole, under the content key; the
                                 traffic frame inside stays closed
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, final

from policy.order import DataCategory
from storage.accounts import Account, SubscriberRecord
from storage.audit.recorded import RecordedPermit
from storage.errors import Corrupt, NotFound
from storage.identity import IdentityError, KeyRange, MessageId
from storage.in_order import in_order
from storage.keyring import Keyholder, Keyring
from storage.keys import PrivateKey, Purpose
from storage.located import Located
from storage.lookup import Lookup
from storage.objects import Listed
from storage.region import RegionStore
from storage.sealing import TRAFFIC_READ, Binding, open_content, open_traffic, read_message_header
from storage.traffic import TrafficRecord, read_record

_TRAFFIC_AT_ONCE: Final = 16
# Sealed messages in memory at once, and their octets: small ones come many at a time, and the largest
# that operators commonly let in, 25 MiB, two. Opened is one at a time: it may be far larger than sealed.
_MESSAGES_AT_ONCE: Final = 64
_OCTETS_AT_ONCE: Final = 64 * 1024 * 1024
# Octets from which on a message is opened in a thread: less takes no longer than getting there.
_LARGE: Final = 256 * 1024


class NotPermitted(Exception):
    """The permit does not carry the category that was asked for, or was made for another home."""


@final
@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it was received, octet for octet."""

    message_id: MessageId
    content: bytes

    @property
    def received_at(self) -> datetime:
        """UTC, to the millisecond."""
        return self.message_id.received_at


@final
@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object in the timespan that could not be opened. A package lists it: an authority must
    not take what it was given for all that there is."""

    key: str
    rule: str


@final
class DisclosureReader:
    """One mailbox, for one RecordedPermit. Let it go when the package is built: it holds keys."""

    def __init__(
        self, home: RegionStore, located: Located, recorded: RecordedPermit, *, mint: object
    ) -> None:
        if mint is not _MINT:
            raise TypeError("a DisclosureReader is made by DisclosureReader.open")
        self._home: Final = home
        self._located: Final = located
        self._permit: Final = recorded.permit
        self._loading: Final = asyncio.Lock()
        self._keyring: Keyring | None = None

    @classmethod
    async def open(cls, directory: Lookup, recorded: RecordedPermit) -> DisclosureReader:
        """Find the permit's mailbox in its home.

        Raises NotPermitted if that is no longer the region whose law the permit was decided
        under; UnknownAddress, Unavailable, Forbidden, Corrupt.
        """
        if not isinstance(recorded, RecordedPermit):
            raise TypeError("a mailbox is opened for a RecordedPermit alone")
        located = await directory.find(recorded.permit.address)
        if located.home != recorded.permit.region:
            raise NotPermitted(f"decided for {recorded.permit.region}, but the mailbox is at home elsewhere")
        return cls(directory.ground.home(located), located, recorded, mint=_MINT)

    async def subscriber(self) -> dict[str, object]:
        """Who the account belongs to (Reg. (EU) 2023/1543 Art. 3(9)), as JSON. Raises NotPermitted."""
        self._demand(DataCategory.SUBSCRIBER)
        return (await self._account()).to_json()

    async def identification(self) -> dict[str, object]:
        """What identifies the user of the address and nothing more (Art. 3(10)), as JSON.

        Situs keeps no log of the addresses that owners connect from, and says so: an empty list
        would claim that nobody ever had.
        """
        self._demand(DataCategory.IDENTIFICATION)
        account = (await self._account()).to_json()
        return {name: account[name] for name in ("account", "address", "aliases", "created")} | {
            "access_log": "not kept"
        }

    async def traffic(self, *, after: str | None = None) -> AsyncGenerator[TrafficRecord | Unreadable]:
        """The traffic records of the timespan, oldest first; from behind the message `after` on, where
        an earlier reading ended there. Raises NotPermitted."""
        self._demand(DataCategory.TRAFFIC)
        async with aclosing(in_order(self._listed(after), self._read_traffic, _TRAFFIC_AT_ONCE)) as stream:
            async for found in stream:
                if found is not None:
                    yield found

    async def messages(self, *, after: str | None = None) -> AsyncGenerator[StoredMessage | Unreadable]:
        """The messages of the timespan, oldest first; from behind the message `after` on, where an
        earlier reading ended there. Raises NotPermitted."""
        self._demand(DataCategory.CONTENT)
        fetched = in_order(
            self._listed(after),
            self._fetch,
            _MESSAGES_AT_ONCE,
            weigh=lambda listed: listed.size,
            budget=_OCTETS_AT_ONCE,
        )
        async with aclosing(fetched) as stream:
            async for listed, sealed in stream:
                if sealed is not None:
                    yield await self._open_message(listed, sealed)

    def _demand(self, category: DataCategory) -> None:
        if category not in self._permit.categories:
            raise NotPermitted(f"the permit does not carry {category}")

    async def _account(self) -> Account:
        record = SubscriberRecord(self._home, self._located.account)
        return (await record.read()).account(self._located)

    async def _listed(self, after: str | None) -> AsyncIterator[Listed]:
        wanted = KeyRange.of(self._permit.timespan)
        prefix = f"mail/{self._located.account}/"
        start = max(wanted.after, after or "")
        async for listed in self._home.mail.list(prefix, start_after=prefix + start):
            if listed.key >= prefix + wanted.before:
                return
            yield listed

    async def _read_traffic(self, listed: Listed) -> TrafficRecord | Unreadable | None:
        try:
            message = _message_id(listed.key)
            head = await self._home.mail.get_range(listed.key, 0, TRAFFIC_READ)
            return await self._open_traffic(listed, message, head)
        except NotFound:
            return None  # erased since it was listed
        except Corrupt as error:
            return _unreadable(listed, error)

    async def _fetch(self, listed: Listed) -> tuple[Listed, bytes | None]:
        try:
            # As a range of known size (there is no empty one): nobody asks for its tag here, and the client
            # library takes a quarter less CPU for the answer.
            return listed, await self._home.mail.get_range(listed.key, 0, max(1, listed.size))
        except NotFound:
            return listed, None  # erased since it was listed

    async def _open_message(self, listed: Listed, sealed: bytes) -> StoredMessage | Unreadable:
        try:
            message = _message_id(listed.key)
            binding = Binding(self._home.region.code, listed.key)
            generation = read_message_header(binding, sealed).generation
            private = await (await self._keys()).private(Purpose.CONTENT, generation, opens=listed.key)
            return StoredMessage(message, await self._unsealed(private, binding, sealed))
        except Corrupt as error:
            return _unreadable(listed, error)

    async def _unsealed(self, private: PrivateKey, binding: Binding, sealed: bytes) -> bytes:
        if len(sealed) < _LARGE:
            return open_content(private, binding, sealed)
        return await asyncio.to_thread(open_content, private, binding, sealed)

    async def _open_traffic(self, listed: Listed, message: MessageId, head: bytes) -> TrafficRecord:
        binding = Binding(self._home.region.code, listed.key)
        header = read_message_header(binding, head)
        if header.end != listed.size:
            raise Corrupt(listed.key, f"it has {listed.size} octets where its header says {header.end}")
        if missing := max(0, header.traffic_end - len(head)):
            head += await self._home.mail.get_range(listed.key, len(head), missing)
        private = await (await self._keys()).private(Purpose.TRAFFIC, header.generation, opens=listed.key)
        return read_record(listed.key, message, open_traffic(private, binding, head))

    async def _keys(self) -> Keyring:
        async with self._loading:
            if self._keyring is None:
                holder = Keyholder(self._home.region.code, self._located.account)
                self._keyring = await Keyring.load(self._home.mail, self._home.keys, holder)
            return self._keyring


_MINT: Final = object()


def _unreadable(listed: Listed, error: Corrupt) -> Unreadable:
    if error.key != listed.key:
        raise error  # it is the keyring: nothing can be opened, and no list of messages says so
    return Unreadable(listed.key, error.rule)


def _message_id(key: str) -> MessageId:
    try:
        return MessageId.parse(key.rpartition("/")[2])
    except IdentityError:
        raise Corrupt(key, "its name is no message id") from None
