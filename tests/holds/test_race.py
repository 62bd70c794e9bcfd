"""A hold is in force for every deletion path the moment its placing returns.

Each round: messages lie in a mailbox; an owner deletes, a sweeper sweeps, an eraser erases, each
in a process of its own as far as S3 can tell (registers that share nothing but the bucket); at
some moment a custodian places a hold. The moment it returns, what is there is written down. When
all deleters have ended, all of it must still be there. On SeaweedFS: its lock alone loses mail in
this race (see `storage.versions`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence

import pytest

from policy.hold import DomainScope, MatterScope
from storage.deletion import Candidate, Deletions
from storage.holds import Terms
from storage.identity import MessageId
from storage.region import RegionStore
from tests.engines import IRELAND, EngineKind, Settle, provisioned
from tests.holds.people import LITIGATION, NORA, on
from tests.holds.ward import Ward, ward

ROUNDS = 200
MESSAGES = 6
Deleter = Callable[[Ward, Sequence[MessageId], random.Random], Coroutine[None, None, None]]


@pytest.fixture
async def seaweed(settle: Settle) -> RegionStore:
    return await provisioned(settle(EngineKind.SEAWEEDFS, IRELAND))


async def owner(it: Ward, ids: Sequence[MessageId], chance: random.Random) -> None:
    """One message at a time, in any order."""
    deletions = Deletions(it.another_register())
    for message in chance.sample(list(ids), len(ids)):
        async with deletions.on(it.mailbox) as eraser:
            await eraser.destroy(await it.candidates([message]))


async def sweeper(it: Ward, ids: Sequence[MessageId], chance: random.Random) -> None:
    """In key order, two at a time, in one run."""
    async with Deletions(it.another_register()).on(it.mailbox) as eraser:
        for start in range(0, len(ids), 2):
            await eraser.destroy(await it.candidates(ids[start : start + 2]))


async def eraser(it: Ward, ids: Sequence[MessageId], chance: random.Random) -> None:
    """The keys first, then all that is there."""
    async with Deletions(it.another_register()).on(it.mailbox) as run:
        await run.destroy([Candidate(await it.versions.of(f"accounts/{it.account}/keys.json"))])
        await run.destroy(await it.candidates(ids))


DELETERS: tuple[Deleter, ...] = (owner, sweeper, eraser)


async def one_round(it: Ward, number: int) -> tuple[int, int]:
    """Returns how many messages were there when the hold was, and how many are now."""
    chance = random.Random(number)
    ids = await it.deliver(MESSAGES)
    chosen = chance.sample(DELETERS, chance.randint(1, len(DELETERS)))
    deleting = [asyncio.create_task(deleter(it, ids, chance)) for deleter in chosen]
    await asyncio.sleep(chance.uniform(0, 0.12))
    terms = chance.choice(
        [
            on(it.account),
            Terms(DomainScope("example.ie"), LITIGATION),
            Terms(MatterScope("m", frozenset({str(it.account)})), LITIGATION),
        ]
    )
    await it.another_register().place(terms, NORA)
    there = await it.kept()
    keys = await it.versions.of(f"accounts/{it.account}/keys.json")
    await asyncio.gather(*deleting)
    assert await it.kept() >= there, f"round {number}: {chosen} took what was held"
    assert await it.versions.of(f"accounts/{it.account}/keys.json") == keys, f"round {number}: the keys"
    for message in there:
        assert (await it.store.mail.get(f"mail/{it.account}/{message}")).body, "and its octets"
    return len(there), len(await it.kept())


async def test_no_deletion_overtakes_a_hold(seaweed: RegionStore) -> None:
    saved = []
    for number in range(ROUNDS):
        async with ward(seaweed) as it:
            there, _ = await one_round(it, number)
            saved.append(there)
        # The next round's deleters must not be kept back by this round's wide holds.
        await _retire_wide_holds(seaweed)
    # A race that always ends the same way has tested nothing.
    assert min(saved) == 0
    assert max(saved) == MESSAGES
    assert len(set(saved)) > 3


async def _retire_wide_holds(store: RegionStore) -> None:
    async for listed in store.mail.list("holds/wide/"):
        await store.mail.delete(listed.key)
