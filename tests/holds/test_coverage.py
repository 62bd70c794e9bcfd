"""The bucket's own lock: on everything in scope, resumed after a crash, proven by asking the bucket."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from policy.hold import DomainScope
from policy.hold_query import TrafficQuery
from policy.order import Timespan
from storage.coverage import Coverage, Coverer
from storage.directory_record import AccountRecord, DirectoryKey
from storage.errors import Unavailable
from storage.holds import Terms
from storage.mailbox import message_key
from storage.region import RegionStore
from storage.versions import Version, Versions
from tests.holds.people import AOIFE, LITIGATION, NORA, on
from tests.holds.ward import MAIL, Ward, ward

DAY = timedelta(days=1)


async def locked(it: Ward) -> list[str]:
    found = [version async for version in it.versions.list(f"mail/{it.account}/")]
    return [version.key for version in found if await it.versions.is_locked(version)]


async def test_every_version_in_scope_is_locked_and_the_bucket_says_so(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        ids = await it.deliver(5)
        await it.store.mail.delete(message_key(it.account, ids[1]))  # hidden is not gone
        span = Timespan(ids[1].received_at, ids[4].received_at)
        held = await it.register.place(replace(on(it.account), timespan=span), NORA)
        coverer = Coverer(it.store, it.register)
        assert (await coverer.stands(held.id)).status == "AwaitingPreservation"
        before = await coverer.prove(held.id)
        assert (before.locked, before.total) == (0, 5), "three messages, the keys, the subscriber record"
        seen: list[Coverage] = []
        done = await coverer.cover(held.id, seen.append)
        assert (done.covered, done.total, done.status) == (5, 5, "Preserved")
        assert [one.covered for one in seen] == [1, 2, 3, 4, 5, 5]
        assert {one.total for one in seen} == {4, 5}, "what somebody has hidden is counted when it is met"
        assert await locked(it) == [message_key(it.account, one) for one in ids[1:4]]
        assert (await coverer.prove(held.id)).missing == []
        assert await coverer.stands(held.id) == done


async def test_a_query_locks_what_matches_and_what_cannot_be_read(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        (other,) = await it.deliver(1, content=MAIL.replace(b"brian@example.ie", b"carol@example.com"))
        (meant,) = await it.deliver(1, content=MAIL.replace(b"brian@example.ie", b"dan@court.example"))
        (broken,) = await it.deliver(1)
        await it.store.mail.put(message_key(it.account, broken), b"SITM\x01 nobody can open this")
        query = TrafficQuery(domains=frozenset({"court.example"}))
        held = await it.register.place(replace(on(it.account), query=query), NORA)
        await Coverer(it.store, it.register).cover(held.id)
        found = await locked(it)
        assert message_key(it.account, meant) in found
        assert found.count(message_key(it.account, broken)) == 2, "both of its versions"
        assert message_key(it.account, other) not in found


async def test_a_domain_is_covered_by_every_account_in_it(region: RegionStore) -> None:
    async with ward(region) as it, ward(region) as other:
        await it.deliver(2)
        await other.deliver(1)
        held = await it.register.place(Terms(DomainScope("example.ie"), LITIGATION), NORA)
        done = await Coverer(it.store, it.register).cover(held.id)
        assert done.covered == 3 + 2 * 2
        elsewhere = await it.register.place(Terms(DomainScope("example.com"), LITIGATION), NORA)
        assert (await Coverer(it.store, it.register).cover(elsewhere.id)).total == 0


async def test_a_pass_resumes_where_it_stopped(
    shared_region: RegionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.coverage._SAVE_EVERY", 1)
    async with ward(shared_region) as it:
        ids = await it.deliver(8)
        held = await it.register.place(on(it.account), NORA)
        lock, tries = Versions.lock, []

        async def failing(self: Versions, version: Version) -> bool:
            tries.append(version.key)
            if len(tries) > 6:
                raise Unavailable("the engine went down")
            return await lock(self, version)

        with monkeypatch.context() as broken:
            broken.setattr(Versions, "lock", failing)
            broken.setattr(it.versions, "at_once", 1)
            with pytest.raises(Unavailable):
                await Coverer(it.store, it.register).cover(held.id)
        stopped = await Coverer(it.store, it.register).stands(held.id)
        assert 0 < stopped.covered < stopped.total == 10
        again: list[str] = []

        async def counting(self: Versions, version: Version) -> bool:
            again.append(version.key)
            return await lock(self, version)

        monkeypatch.setattr(Versions, "lock", counting)
        done = await Coverer(it.store, it.register).cover(held.id)
        assert done.complete is not None
        assert len(again) < 10, "what was locked and written down is not locked again"
        assert len(await locked(it)) == len(ids)
        assert (await Coverer(it.store, it.register).prove(held.id)).missing == []


async def test_new_mail_to_a_mailbox_under_hold_is_written_with_the_lock_on(
    shared_region: RegionStore,
) -> None:
    async with ward(shared_region) as it:
        await it.deliver(1)
        it.located = replace(it.located, legal_hold=True)
        (late,) = await it.deliver(1)
        assert await locked(it) == [message_key(it.account, late)]


async def test_the_mark_for_new_mail_reaches_every_process_and_tells_other_regions_nothing(
    region: RegionStore,
) -> None:
    key = DirectoryKey(bytes(32))
    name = key.of_address(AOIFE)
    bodies = []
    async with ward(region) as it:
        for held in (False, True):
            record = AccountRecord(
                serial=7,
                account=it.account,
                home=it.store.region.code,
                country=it.store.region.country,
                status=it.located.status,
                keys=it.located.keys,
                legal_hold=held,
            )
            bodies.append(key.write(name, record))
            found = key.read(name, bodies[-1])
            assert isinstance(found, AccountRecord)
            assert found.located().legal_hold is held
    veils = [json.loads(body)["record"]["legal_hold"] for body in bodies]
    assert all(re.fullmatch(r"[0-9a-f]{16}", veil) for veil in veils)
