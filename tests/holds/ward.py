"""A region with a mailbox in it, and everything that holds and deletes there.

async with ward(region) as it:
    ids = await it.deliver(10)
    await it.register.place(on(it.account), NORA)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from policy.address import Address
from policy.geography import RegionCode
from policy.hold import Mailbox
from storage.accounts import Subscriber, SubscriberRecord
from storage.audit.entry import Entry, Event
from storage.audit.log import Committed
from storage.audit.pseudonym import Pseudonyms
from storage.deletion import Candidate, Deletions, Outcome
from storage.holds import HoldRegister
from storage.identity import AccountId, Clock, MessageId
from storage.keyring import Keyholder, create_keyring
from storage.located import AccountStatus, Located
from storage.mailbox import Envelope, append, message_key
from storage.region import Ground, RegionStore
from storage.relocation import Site
from storage.tombstones import tombstone_key
from storage.vault import Vault
from storage.versions import Version, Versions
from tests.holds.people import AOIFE, NOW

PSEUDONYMS: Final = Pseudonyms(bytes(range(32)))
MAIL: Final = b"Received: x\r\nFrom: Brian <brian@example.ie>\r\nTo: aoife@example.ie\r\n\r\nHello.\r\n"


class Ledger:
    """Commits at once, in memory; or refuses, where a test says so."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.refuse: Exception | None = None

    async def append(self, entry: Entry) -> Committed:
        if self.refuse is not None:
            raise self.refuse
        self.entries.append(entry)
        return Committed(entry.region, len(self.entries) - 1, len(self.entries))

    def events(self) -> list[Event]:
        return [entry.event for entry in self.entries]


@contextmanager
def sites_of(
    ground: Ground, clock: Clock, ledgers: Mapping[RegionCode, Ledger] | None = None
) -> Iterator[dict[RegionCode, Site]]:
    """The regions that are open, each with its register, as a process has them that was started now."""
    with ExitStack() as stack:
        sites = {}
        for store in ground.stores():
            versions = stack.enter_context(Versions(store))
            log = ledgers[store.region.code] if ledgers is not None else Ledger()
            register = HoldRegister(Vault(store), versions, log, PSEUDONYMS, clock)
            sites[store.region.code] = Site(store, register)
        yield sites


@dataclass
class Ward:
    store: RegionStore
    vault: Vault
    versions: Versions
    register: HoldRegister
    ledger: Ledger
    located: Located
    now: datetime = NOW
    delivered: int = 0
    others: list[Located] = field(default_factory=list)

    @property
    def account(self) -> AccountId:
        return self.located.account

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(str(self.account), frozenset({AOIFE}))

    @property
    def deletions(self) -> Deletions:
        return Deletions(self.register)

    def another_register(self) -> HoldRegister:
        """As a second process has it: with a memory of its own."""
        return HoldRegister(self.vault, self.versions, self.ledger, PSEUDONYMS, lambda: self.now)

    async def deliver(
        self, count: int, *, at: datetime | None = None, content: bytes = MAIL
    ) -> list[MessageId]:
        """Messages that came one second after another, the first at `at` (or after the last)."""
        ids = []
        for _ in range(count):
            moment = (at or NOW - timedelta(days=1)) + timedelta(seconds=self.delivered)
            envelope = Envelope("brian@example.ie", str(AOIFE), "192.0.2.1", "mx", moment, "ESMTP")
            ids.append(await append(self.store, self.located, envelope, content))
            self.delivered += 1
        return ids

    async def candidates(self, ids: Iterable[MessageId]) -> list[Candidate]:
        return [Candidate(await self.all_versions(one), one) for one in ids]

    async def all_versions(self, message: MessageId) -> tuple[Version, ...]:
        """Of the message, and of its tombstone."""
        mail = await self.versions.of(message_key(self.account, message))
        return mail + await self.versions.of(tombstone_key(self.account, message))

    async def destroy(self, ids: Sequence[MessageId]) -> Outcome:
        async with self.deletions.on(self.mailbox) as eraser:
            return await eraser.destroy(await self.candidates(ids))

    async def present(self, account: AccountId | None = None) -> set[MessageId]:
        """The messages that a plain read finds."""
        prefix = f"mail/{account or self.account}/"
        return {
            MessageId.parse(listed.key.rpartition("/")[2]) async for listed in self.store.mail.list(prefix)
        }

    async def kept(self) -> set[MessageId]:
        """The messages of which the bucket has a version, hidden or not, with its octets."""
        found = set()
        async for version in self.versions.list(f"mail/{self.account}/"):
            if not version.is_marker:
                found.add(MessageId.parse(version.key.rpartition("/")[2]))
        return found


@asynccontextmanager
async def ward(store: RegionStore, address: Address = AOIFE) -> AsyncIterator[Ward]:
    account = AccountId.new()
    keys = await create_keyring(store.mail, store.keys, Keyholder(store.region.code, account), NOW)
    await SubscriberRecord(store, account).create(keys, Subscriber(address, NOW))
    vault = Vault(store)
    ledger = Ledger()
    with Versions(store) as versions:
        located = Located(account, store.region, keys, AccountStatus.ACTIVE)
        made: list[Ward] = []
        register = HoldRegister(vault, versions, ledger, PSEUDONYMS, lambda: made[0].now)
        made.append(Ward(store, vault, versions, register, ledger, located))
        yield made[0]
