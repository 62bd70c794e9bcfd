"""Two regions, a mailbox in the first of them, and what moves it to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from policy.address import Address
from policy.geography import Region, RegionCode
from storage.identity import AccountId, MessageId
from storage.layout import ACCOUNT_FOLDERS
from storage.located import Located
from storage.mailbox import append
from storage.opening import Opener
from storage.relocation import Relocation, Site
from tests.engines import GERMANY, IRELAND, EngineKind, Settle
from tests.holds.people import AOIFE, NOW
from tests.holds.ward import MAIL, Ledger, sites_of
from tests.storage.grounds import World, envelope, world

REASON: Final = "The customer lives in Berlin now, ticket 17"
SENDER: Final = "sender@elsewhere.test"
# What may lie in a region that a mailbox has left: nothing, in any of these.
EVERYWHERE: Final = (*sorted(ACCOUNT_FOLDERS), "holds", "moves", "lived", "sweeps")


@dataclass
class Border:
    """Ireland and Germany, as one process serves them."""

    world: World
    sites: dict[RegionCode, Site]
    ledgers: dict[RegionCode, Ledger]
    account: AccountId
    address: Address = AOIFE
    now: datetime = NOW
    delivered: int = 0
    disclosure_open: bool = False
    contents: dict[MessageId, bytes] = field(default_factory=dict)

    async def with_another(self, address: Address) -> Border:
        """The same two regions, and a mailbox of its own in Ireland."""
        account = await self.world.directory.create(address, IRELAND.code)
        return replace(self, account=account.id, address=address, contents={}, delivered=0)

    @property
    def ireland(self) -> Site:
        return self.sites[IRELAND.code]

    @property
    def germany(self) -> Site:
        return self.sites[GERMANY.code]

    def relocation(self) -> Relocation:
        """As a process has it that was started just now."""

        async def site(code: RegionCode) -> Site:
            return self.sites[code]

        async def is_open(_: Located) -> bool:
            return self.disclosure_open

        return Relocation(self.world.directory, list(self.sites), site, is_open, settle=0)

    async def move(self, to: RegionCode = GERMANY.code) -> None:
        await self.relocation().move(self.address, to, REASON, "ada")

    async def home(self) -> Site:
        return self.sites[(await self.world.directory.find(self.address)).home.code]

    async def deliver(self, count: int, senders: Sequence[str] = (SENDER,)) -> list[MessageId]:
        """Through the directory, as the post does, each message another one, from each sender in turn."""
        ids = []
        for _ in range(count):
            located = await self.world.directory.locate(self.address)
            content = MAIL + f"{self.delivered}\r\n".encode() * 40
            at = NOW - timedelta(days=40) + timedelta(seconds=self.delivered)
            store = self.world.ground.home(located)
            sender = senders[self.delivered % len(senders)]
            wrapped = replace(envelope(str(self.address), at), sender=sender)
            message = await append(store, located, wrapped, content)
            self.contents[message] = content
            self.delivered += 1
            ids.append(message)
        return ids

    async def opened(self, site: Site) -> dict[MessageId, bytes]:
        """The messages that lie in a region and can be opened there."""
        prefix = f"mail/{self.account}/"
        opener = Opener(site.store, self.account)
        found = {}
        async for listed in site.store.mail.list(prefix):
            message = MessageId.parse(listed.key.removeprefix(prefix))
            found[message] = (await opener.message(message))[1]
        return found

    async def left(self, site: Site) -> list[str]:
        """Every version and marker that lies in a region under the account's name."""
        return [
            version.key
            for folder in EVERYWHERE
            async for version in site.register.versions.list(f"{folder}/{self.account}")
        ]


@asynccontextmanager
async def border(
    settle: Settle,
    kind: EngineKind = EngineKind.MOTO,
    regions: Sequence[Region] = (IRELAND, GERMANY),
    *,
    deadline: float = 10.0,
) -> AsyncIterator[Border]:
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(world(settle, regions, kind, deadline=deadline))
        made: list[Border] = []
        ledgers = {region.code: Ledger() for region in regions}
        sites = stack.enter_context(sites_of(there.ground, lambda: made[0].now, ledgers))
        account = await there.directory.create(AOIFE, IRELAND.code, display_name="Aoife")
        made.append(Border(there, sites, ledgers, account.id))
        yield made[0]
