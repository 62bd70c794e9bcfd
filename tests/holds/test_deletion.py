"""What may go goes for good, and what a hold covers stays: the one way by which anything is deleted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from policy.address import Address
from policy.hold import DELAY_HOLD, DomainScope, Mailbox
from policy.hold_query import Traffic, TrafficQuery
from policy.order import Timespan
from storage.deletion import Candidate, Deletable
from storage.errors import Corrupt, Unavailable
from storage.holds import Terms
from storage.identity import MessageId
from storage.intents import LEASE, PREFIX, Intent
from storage.mailbox import message_key
from storage.region import RegionStore
from storage.tombstones import hidden, hide
from storage.versions import Version, Versions
from tests.holds.people import LIAM, LITIGATION, NORA, NOW, on
from tests.holds.ward import Ward, ward

DAY = timedelta(days=1)


async def keys_under(it: Ward, prefix: str) -> list[str]:
    return [version.key async for version in it.versions.list(prefix)]


async def test_what_is_deleted_is_gone_with_its_versions_markers_and_tombstone(region: RegionStore) -> None:
    async with ward(region) as it:
        kept, doomed = await it.deliver(2)
        await hide(it.store.mail, it.account, doomed)
        await it.store.mail.delete(message_key(it.account, doomed))  # by whatever tool
        outcome = await it.destroy([doomed])
        assert len(outcome.destroyed) == 1
        assert await keys_under(it, f"mail/{it.account}/") == [message_key(it.account, kept)]
        assert await keys_under(it, "deleted/") == []
        assert await keys_under(it, PREFIX) == [], "nor is the intent left, in any version"


async def test_a_hold_keeps_what_is_in_scope_and_nothing_else(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        ids = await it.deliver(6)
        span = Timespan(ids[2].received_at, ids[4].received_at)
        held = await it.register.place(replace(on(it.account), timespan=span), NORA)
        outcome = await it.destroy(ids)
        assert await it.kept() == {ids[2], ids[3]}
        assert [(back.candidate.message, back.holds) for back in outcome.held] == [
            (ids[2], (held.id,)),
            (ids[3], (held.id,)),
        ]


async def test_a_part_of_the_account_is_kept_by_any_hold_on_it(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        keys = f"accounts/{it.account}/keys.json"
        await it.register.place(
            replace(on(it.account), timespan=Timespan(NOW - 9 * DAY, NOW - 8 * DAY)), NORA
        )
        async with it.deletions.on(it.mailbox) as eraser:
            outcome = await eraser.destroy([Candidate(await it.versions.of(keys))])
        assert outcome.holds
        assert await it.store.mail.get(keys)


async def test_a_domain_hold_keeps_by_every_address_of_the_mailbox(region: RegionStore) -> None:
    async with ward(region) as it:
        (message,) = await it.deliver(1)
        await it.register.place(Terms(DomainScope("alias.example"), LITIGATION), NORA)
        aliased = Mailbox(str(it.account), it.mailbox.addresses | {Address.parse("a@alias.example")})
        async with it.deletions.on(aliased) as eraser:
            assert (await eraser.destroy(await it.candidates([message]))).holds
        assert (await it.destroy([message])).destroyed, "without the alias the domain does not reach it"


async def test_a_query_is_answered_by_traffic_data_and_in_doubt_keeps(shared_region: RegionStore) -> None:
    class Mail:
        sender, recipient, from_, message_id, to = "x@y.ie", "aoife@example.ie", None, None, None
        cc: str | None = None
        cut: tuple[str, ...] = ()

    async def read(message: MessageId) -> Traffic | None:
        return None if message == unreadable else Mail()

    async with ward(shared_region) as it:
        unmatched, unreadable = await it.deliver(2)
        query = TrafficQuery(domains=frozenset({"elsewhere.example"}))
        await it.register.place(replace(on(it.account), query=query), NORA)
        async with it.deletions.on(it.mailbox) as eraser:
            assert len((await eraser.destroy(await it.candidates([unmatched]))).held) == 1
        async with it.deletions.on(it.mailbox, read) as eraser:
            await eraser.destroy(await it.candidates([unmatched, unreadable]))
        assert await it.kept() == {unreadable}


async def test_an_unreadable_register_stops_every_deletion(region: RegionStore) -> None:
    async with ward(region) as it:
        ids = await it.deliver(2)
        await it.store.mail.put(f"holds/wide/{'7' * 32}.json", b"not a hold")
        with pytest.raises(Corrupt):
            await it.destroy(ids)
        assert await it.kept() == set(ids)


async def test_a_deletable_is_minted_by_the_eraser_alone() -> None:
    with pytest.raises(TypeError):
        Deletable((), frozenset(), mint=object())


async def test_after_release_everything_is_kept_for_the_grace_period(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        ids = await it.deliver(1)
        held = await it.register.place(on(it.account), NORA)
        for version in await it.all_versions(ids[0]):
            assert await it.versions.lock(version)
        await it.register.propose_end(held.id, NORA, "settled")
        await it.register.confirm_end(held.id, LIAM)
        it.now += DELAY_HOLD - timedelta(seconds=1)
        assert (await it.destroy(ids)).holds == (held.id,)
        it.now += timedelta(seconds=1)
        outcome = await it.destroy(ids)
        assert len(outcome.destroyed) == 1, "the ended hold's lock comes off by itself"
        assert await it.kept() == set()


async def test_of_several_versions_only_the_locked_one_is_unlocked(
    region: RegionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a keyring has them that was rotated under a hold: the others are gone by then, and an engine may
    take a word about a version that it does not have for a fault of its own (moto answers 500)."""
    unlocked: list[Version] = []
    unlock = Versions.unlock

    async def noted(self: Versions, version: Version) -> bool:
        unlocked.append(version)
        return await unlock(self, version)

    monkeypatch.setattr(Versions, "unlock", noted)
    async with ward(region) as it:
        (message,) = await it.deliver(1)
        key = message_key(it.account, message)
        for body in (b"second", b"third"):
            await it.store.mail.put(key, body)
        hold = await it.register.place(on(it.account), NORA)
        locked = (await it.versions.of(key))[1]
        assert await it.versions.lock(locked)
        await it.register.propose_end(hold.id, NORA, "settled")
        await it.register.confirm_end(hold.id, LIAM)
        it.now += DELAY_HOLD
        outcome = await it.destroy([message])
        assert len(outcome.destroyed) == 1
        assert await keys_under(it, key) == []
    assert [one.id for one in unlocked] == [locked.id]


async def test_a_lock_that_no_hold_explains_stays(shared_region: RegionStore) -> None:
    """If somebody takes a hold's document away, the bucket still refuses, and so do we."""
    async with ward(shared_region) as it:
        ids = await it.deliver(2)
        for version in await it.all_versions(ids[0]):
            await it.versions.lock(version)
        outcome = await it.destroy(ids)
        assert [one.message for one in outcome.locked] == [ids[0]]
        assert await it.kept() == {ids[0]}


async def test_placing_waits_for_a_deletion_that_is_under_way(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        ids = await it.deliver(1)
        async with it.register.intents.declared(it.account) as declared:
            await declared.renew((await it.candidates(ids))[0].versions)
            placing = asyncio.create_task(it.register.place(on(it.account), NORA))
            while not await it.register.on(it.account):
                await asyncio.sleep(0)
            # In force for whoever asks from now on, but this batch has asked before.
            done, _ = await asyncio.wait([placing], timeout=0.3)
            assert not done
            await declared.renew()
            await asyncio.wait_for(placing, 5)


async def test_what_a_silent_deleter_named_gets_the_buckets_own_lock(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        ids = await it.deliver(2)
        (version,) = await it.all_versions(ids[0])
        dead = Intent(f"{PREFIX}{it.account}/{'d' * 32}", it.account, 1, it.now - LEASE, (version,))
        await it.vault.put_if_absent(dead.key, dead.to_bytes())
        await it.register.place(on(it.account), NORA)
        assert await it.versions.is_locked(version)
        (other,) = await it.all_versions(ids[1])
        assert await it.versions.is_locked(other) is False


async def test_a_request_without_an_answer_leaves_its_intent_standing(region: RegionStore) -> None:
    async with ward(region) as it:
        ids = await it.deliver(1)
        candidates = await it.candidates(ids)

        async def act_without_an_answer() -> None:
            async with it.register.intents.declared(it.account) as declared:
                await declared.renew(candidates[0].versions)
                with declared.acting():
                    raise Unavailable("no answer")

        with pytest.raises(Unavailable):
            await act_without_an_answer()
        standing = [one async for one in it.register.intents.standing(it.account)]
        assert [one.versions[0].key for one in standing] == [message_key(it.account, ids[0])]
        it.now += 2 * DAY
        assert await it.register.intents.sweep() == 1
        assert await keys_under(it, PREFIX) == []


async def test_the_owner_deletes_and_the_message_stays_to_be_found(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        ids = await it.deliver(3)
        await hide(it.store.mail, it.account, ids[1])
        await hide(it.store.mail, it.account, ids[1])
        assert [one async for one in hidden(it.store.mail, it.account)] == [ids[1]]
        assert await it.present() == set(ids)
