"""A hold is in force for every deletion path the moment its placing returns.

Each round: a mailbox with mail in it; an owner deletes, a sweeper sweeps, an eraser erases, a mover
moves it abroad, each in a process of its own as far as S3 can tell (registers that share nothing
but the buckets); at some moment a custodian places a hold. The moment it returns, what is there is
written down. When all the others have ended, all of it must still be there, where the hold is. On
SeaweedFS: its lock alone loses mail in this race (see `storage.versions`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Final

import pytest

from policy.address import Address
from policy.hold import DomainScope, Hold, MailboxScope, MatterScope
from policy.retention import Reach, RetentionRule, with_rule
from storage.erasure import Erasure
from storage.errors import StorageError
from storage.holds import Elsewhere, HoldRegister, Terms
from storage.identity import MessageId
from storage.keyring import Keyholder
from storage.owners_delete import delete_for_owner
from storage.placing import place_on_address, scoped
from storage.relocation import Relocation, Site
from storage.retention import Sweeper, change_rules
from storage.vault import Vault
from tests.audit.logs import SIGNER
from tests.engines import GERMANY, IRELAND, EngineKind, Settle
from tests.holds.movers import REASON, Border, border
from tests.holds.people import DE, IE, LITIGATION, NORA, cleared
from tests.holds.ward import PSEUDONYMS

ROUNDS: Final = 200
MESSAGES: Final = 6
MOVED_FIRST: Final = 20
CUSTODIANS: Final = {IE: NORA, DE: cleared("greta", region=DE)}

Deleter = Callable[[Border, list[MessageId], random.Random], Coroutine[None, None, object]]


def own(site: Site, it: Border) -> Site:
    """The same region as another process has it: with a register and a memory of its own."""
    ledger = it.ledgers[site.store.region.code]
    register = HoldRegister(Vault(site.store), site.register.versions, ledger, PSEUDONYMS, lambda: it.now)
    return Site(site.store, register)


async def owner(it: Border, ids: list[MessageId], chance: random.Random) -> None:
    """One message at a time, in any order."""
    site = own(it.ireland, it)
    for message in chance.sample(ids, len(ids)):
        await delete_for_owner(site.store, site.register, it.account, [message])


async def sweeper(it: Border, ids: list[MessageId], chance: random.Random) -> None:
    """All of it is older than the region keeps mail."""
    site = own(it.ireland, it)
    await Sweeper(site.store, site.register).sweep(it.account, every=timedelta(0))


async def eraser(it: Border, ids: list[MessageId], chance: random.Random) -> None:
    """The keys first, then all that is there."""
    site = own(it.ireland, it)
    await Erasure(site.store, site.register, SIGNER, settle=0).erase(it.account, "ada")


async def mover(it: Border, ids: list[MessageId], chance: random.Random) -> None:
    sites = {code: own(site, it) for code, site in it.sites.items()}

    async def site(code: object) -> Site:
        return sites[code]  # type: ignore[index]

    async def no_disclosure(_: object) -> bool:
        return False

    relocation = Relocation(it.world.directory, list(sites), site, no_disclosure, settle=0)
    await relocation.move(it.address, DE, REASON, "ada")


DELETERS: Final[tuple[Deleter, ...]] = (owner, sweeper, eraser, mover)


async def place(it: Border, chance: random.Random) -> Hold:
    """On the address, wherever it is; or on the domain or a matter, in Ireland."""
    match chance.choice(["address", "address", "domain", "matter"]):
        case "address":
            registers = {code: own(site, it).register for code, site in it.sites.items()}
            terms = scoped(Terms(MailboxScope("", it.address), LITIGATION))
            return await place_on_address(
                it.world.directory, it.address, terms, registers.__getitem__, CUSTODIANS.__getitem__
            )
        case "domain":
            terms_ = Terms(DomainScope(it.address.domain), LITIGATION)
        case _:
            terms_ = Terms(MatterScope("m", frozenset({str(it.account)})), LITIGATION)
    return await own(it.ireland, it).register.place(terms_, NORA)


async def kept(it: Border, site: Site) -> set[str]:
    """Every version of the messages and of the keys."""
    keys = Keyholder(site.store.region.code, it.account).key
    found = {version.key async for version in site.register.versions.list(f"mail/{it.account}/")}
    return found | {version.key for version in await site.register.versions.of(keys)}


async def one_round(it: Border, number: int) -> tuple[int, str]:
    """Returns how much was there when the hold was in force, and where."""
    chance = random.Random(number)
    ids = await it.deliver(MESSAGES)
    # Who erases is sure that nobody moves: the account has been closed.
    # By chance alone a mover is first only where the machine is quick: in some rounds it is anyhow.
    moved_first = number % MOVED_FIRST == 0
    chosen = [mover] if moved_first else chance.sample(DELETERS, chance.randint(1, 3))
    tasks = [asyncio.create_task(deleter(it, ids, chance)) for deleter in chosen]
    if moved_first:
        await asyncio.wait(tasks)
    else:
        await asyncio.sleep(chance.uniform(0, 0.5 if mover in chosen else 0.2))
    try:
        hold = await place(it, chance)
    except Elsewhere:
        # No hold came into force. That is right only where the eraser was first: its keys go before all else.
        await asyncio.gather(*tasks, return_exceptions=True)
        home = it.sites[(await it.world.directory.home_now(it.address)).home.code]
        assert eraser in chosen
        assert Keyholder(home.store.region.code, it.account).key not in await kept(it, home)
        return 0, "erased"
    home = it.sites[(await it.world.directory.home_now(it.address)).home.code]
    in_scope = home.store.region.code == hold.region
    there = await kept(it, home)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        # Refused, or in one another's way: all of that is an answer. Anything else is a fault.
        if isinstance(outcome, BaseException) and not isinstance(outcome, StorageError):
            raise outcome
    if in_scope:
        names = ", ".join(deleter.__name__ for deleter in chosen)
        assert (await it.home()) is home, f"round {number}: {names} moved what was held"
        lost = there - await kept(it, home)
        assert not lost, f"round {number}: {names} took what was held"
        if Keyholder(home.store.region.code, it.account).key in there:
            for message, content in (await it.opened(home)).items():
                assert content == it.contents[message]
    return len(there), str(home.store.region.code) if in_scope else "out of scope"


# Two hundred rounds on two SeaweedFS regions: minutes on a machine that has other work.
@pytest.mark.timeout(1200)
async def test_no_deletion_overtakes_a_hold(settle: Settle) -> None:
    saved: Counter[int] = Counter()
    where: Counter[str] = Counter()
    async with border(settle, EngineKind.SEAWEEDFS) as world:
        month = RetentionRule(Reach.REGION, "", timedelta(days=30))
        await change_rules(world.ireland.register, lambda before: with_rule(before, month))
        for number in range(ROUNDS):
            it = await world.with_another(Address.parse(f"r{number}@d{number}.example"))
            there, place_ = await one_round(it, number)
            saved[there] += 1
            where[place_] += 1
    # A race that always ends the same way has tested nothing.
    assert saved[0] > 0
    assert saved[MESSAGES + 1] > 0
    assert len(saved) > 3
    assert where[str(IRELAND.code)] > 20
    assert where[str(GERMANY.code)] > 0
