"""A hold is in force for every deletion path the moment its placing returns.

Each round: a mailbox with mail in it; an owner deletes, a sweeper sweeps, an eraser erases, a mover
moves it abroad, each with the objects that a process of its own has: its stores, its directory with its
memory, its registers with theirs, which share nothing but the buckets. At some moment a custodian places a
hold, on all of the mailbox, or on a timespan, or on what one sender sent. The moment it returns, what is
there is written down. When all the others have ended, all of it that is in scope must still be there, where
the hold is. On SeaweedFS: its lock alone loses mail in this race (see `storage.versions`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import pytest

from policy.address import Address
from policy.geography import RegionCode
from policy.hold import DomainScope, Hold, HoldScope, MailboxScope, MatterScope
from policy.hold_query import TrafficQuery
from policy.order import Timespan
from policy.retention import Reach, RetentionRule, with_rule
from storage.directory import Directory
from storage.erasure import Erasure
from storage.errors import StorageError
from storage.holds import Elsewhere, HoldRegister, Terms
from storage.identity import MessageId
from storage.keyring import Keyholder
from storage.located import Located
from storage.mailbox import message_key
from storage.owners_delete import delete_for_owner
from storage.placing import place_on_address, scoped
from storage.region import Ground
from storage.relocation import Relocation, Site
from storage.retention import Sweeper, change_rules
from tests.audit.logs import SIGNER
from tests.engines import DEPLOYMENT, GERMANY, IRELAND, EngineKind, Settle
from tests.holds.movers import REASON, Border, border
from tests.holds.people import DE, IE, LITIGATION, NORA, cleared
from tests.holds.ward import sites_of
from tests.storage.grounds import DIRECTORY_KEY, REGISTRAR

ROUNDS: Final = 200
MESSAGES: Final = 6
MOVED_FIRST: Final = 20
SENDERS: Final = ("brian@example.ie", "cara@court.example")
CUSTODIANS: Final = {IE: NORA, DE: cleared("greta", region=DE)}


@dataclass(frozen=True)
class Process:
    """What one process has of the deployment."""

    directory: Directory
    sites: dict[RegionCode, Site]

    @property
    def ireland(self) -> Site:
        return self.sites[IE]

    async def site(self, code: RegionCode) -> Site:
        return self.sites[code]

    async def register(self, code: RegionCode) -> HoldRegister:
        return self.sites[code].register


@asynccontextmanager
async def process(it: Border) -> AsyncIterator[Process]:
    behind = [place.settings for place in it.world.places.values()]
    async with await Ground.open(behind, DEPLOYMENT) as ground:
        with sites_of(ground, lambda: it.now, it.ledgers) as sites:
            yield Process(Directory(ground, DIRECTORY_KEY, REGISTRAR, REGISTRAR), sites)


Deleter = Callable[[Process, Border, list[MessageId], random.Random], Coroutine[None, None, object]]


async def owner(own: Process, it: Border, ids: list[MessageId], chance: random.Random) -> None:
    """One message at a time, in any order."""
    for message in chance.sample(ids, len(ids)):
        await delete_for_owner(own.ireland.store, own.ireland.register, it.account, [message])


async def sweeper(own: Process, it: Border, ids: list[MessageId], chance: random.Random) -> None:
    """All of it is older than the region keeps mail."""
    await Sweeper(own.ireland.store, own.ireland.register).sweep(it.account, every=timedelta(0))


async def eraser(own: Process, it: Border, ids: list[MessageId], chance: random.Random) -> None:
    """The keys first, then all that is there."""
    erasure = Erasure(own.ireland.store, own.ireland.register, SIGNER, own.register, settle=0)
    await erasure.erase(it.account, "ada")


async def mover(own: Process, it: Border, ids: list[MessageId], chance: random.Random) -> None:
    async def no_disclosure(_: Located) -> bool:
        return False

    relocation = Relocation(own.directory, list(own.sites), own.site, no_disclosure, settle=0)
    await relocation.move(it.address, DE, REASON, "ada")


DELETERS: Final[tuple[Deleter, ...]] = (owner, sweeper, eraser, mover)


def terms_of(it: Border, ids: list[MessageId], chance: random.Random) -> tuple[Terms, set[MessageId]]:
    """What is to be held, and which messages that means."""
    terms = Terms(MailboxScope("", it.address), LITIGATION)
    match chance.choice(["all", "all", "timespan", "query"]):
        case "timespan":
            span = Timespan(ids[1].received_at, ids[-2].received_at)
            return replace(terms, timespan=span), set(ids[1:-2])
        case "query":
            query = TrafficQuery(parties=frozenset({Address.parse(SENDERS[1])}))
            return replace(terms, query=query), set(ids[1 :: len(SENDERS)])
        case _:
            return terms, set(ids)


async def place(own: Process, it: Border, terms: Terms, chance: random.Random) -> Hold:
    """On the address, wherever it is; or on the domain or a matter, in Ireland."""
    match chance.choice(["address", "address", "domain", "matter"]):
        case "address":
            registers = {code: site.register for code, site in own.sites.items()}
            return await place_on_address(
                own.directory, it.address, scoped(terms), registers.__getitem__, CUSTODIANS.__getitem__
            )
        case "domain":
            scope: HoldScope = DomainScope(it.address.domain)
        case _:
            scope = MatterScope("m", frozenset({str(it.account)}))
    return await own.ireland.register.place(replace(terms, scope=scope), NORA)


async def kept(it: Border, site: Site) -> set[str]:
    """Every version of the messages and of the keys."""
    keys = Keyholder(site.store.region.code, it.account).key
    found = {version.key async for version in site.register.versions.list(f"mail/{it.account}/")}
    return found | {version.key for version in await site.register.versions.of(keys)}


async def one_round(
    it: Border, custodian: Process, processes: dict[Deleter, Process], number: int
) -> tuple[int, str]:
    """Returns how much in scope was there when the hold was in force, and where."""
    chance = random.Random(number)
    ids = await it.deliver(MESSAGES, SENDERS)
    terms, meant = terms_of(it, ids, chance)
    if number % MOVED_FIRST == MOVED_FIRST // 2:  # somebody has come a part of the way, however slow we are
        await owner(processes[owner], it, ids[:2], chance)
    # Who erases is sure that nobody moves: the account has been closed.
    # By chance alone a mover is first only where the machine is quick: in some rounds it is anyhow.
    moved_first = number % MOVED_FIRST == 0
    chosen = [mover] if moved_first else chance.sample(DELETERS, chance.randint(1, 3))
    tasks = [asyncio.create_task(deleter(processes[deleter], it, ids, chance)) for deleter in chosen]
    if moved_first:
        await asyncio.wait(tasks)
    else:
        await asyncio.sleep(chance.uniform(0, 0.5 if mover in chosen else 0.2))
    try:
        hold = await place(custodian, it, terms, chance)
    except Elsewhere:
        # No hold came into force, and the custodian is told. That is right where a matter's mailbox has moved
        # away, and where the eraser was first: its keys go before all else.
        await asyncio.gather(*tasks, return_exceptions=True)
        home = it.sites[(await it.world.directory.home_now(it.address)).home.code]
        if home is it.germany:
            assert mover in chosen
            return 0, "moved"
        assert eraser in chosen
        assert Keyholder(home.store.region.code, it.account).key not in await kept(it, home)
        return 0, "erased"
    home = it.sites[(await it.world.directory.home_now(it.address)).home.code]
    in_scope = home.store.region.code == hold.region
    keys = Keyholder(home.store.region.code, it.account).key
    scope = {message_key(it.account, message) for message in meant} | {keys}
    there = scope & await kept(it, home)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        # Refused, or in one another's way: all of that is an answer. Anything else is a fault.
        if isinstance(outcome, BaseException) and not isinstance(outcome, StorageError):
            raise outcome
    if in_scope:
        names = ", ".join(deleter.__name__ for deleter in chosen)
        assert (await it.home()) is home, f"round {number}: {names} moved what was held"
        lost = there - await kept(it, home)
        assert not lost, f"round {number}: {names} took what was held"
        if keys in there:
            for message, content in (await it.opened(home)).items():
                assert content == it.contents[message]
    return len(there), str(home.store.region.code) if in_scope else "out of scope"


# Two hundred rounds on two SeaweedFS regions: minutes on a machine that has other work.
@pytest.mark.timeout(1200)
async def test_no_deletion_overtakes_a_hold(settle: Settle) -> None:
    saved: Counter[int] = Counter()
    where: Counter[str] = Counter()
    async with border(settle, EngineKind.SEAWEEDFS) as world, AsyncExitStack() as stack:
        custodian = await stack.enter_async_context(process(world))
        processes = {deleter: await stack.enter_async_context(process(world)) for deleter in DELETERS}
        month = RetentionRule(Reach.REGION, "", timedelta(days=30))
        await change_rules(world.ireland.register, lambda before: with_rule(before, month))
        for number in range(ROUNDS):
            it = await world.with_another(Address.parse(f"r{number}@d{number}.example"))
            there, place_ = await one_round(it, custodian, processes, number)
            saved[there] += 1
            where[place_] += 1
    # A race that always ends the same way has tested nothing.
    assert saved[0] > 0
    assert saved[MESSAGES + 1] > 0
    assert len(saved) > 3, "timespans and queries, and deleters that had come further or less far"
    assert where[str(IRELAND.code)] > 20
    assert where[str(GERMANY.code)] > 0
