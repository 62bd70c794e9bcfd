"""What has outlived its time goes, what is held stays, and a doubt stops the sweeper."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from policy.address import Address
from policy.hold import DELAY_HOLD, Mailbox
from policy.order import Timespan
from policy.retention import (
    Due,
    Reach,
    Retention,
    RetentionError,
    RetentionRule,
    parse_label,
    with_rule,
    without_rule,
)
from policy.rules import AtExpiry
from storage.errors import Corrupt
from storage.holds import Terms
from storage.labels import put_label
from storage.mailbox import message_key
from storage.region import RegionStore
from storage.retention import RULES, Sweeper, SweepReport, change_rules, read_rules
from storage.tombstones import hide
from tests.holds.people import AOIFE, EPOC_PR, LIAM, NORA, NOW, on
from tests.holds.ward import Ward, ward

DAY = timedelta(days=1)
MAILBOX = Mailbox("a" * 32, frozenset({AOIFE, Address.parse("a@example.com")}))
WORK = parse_label("work")
EVERY_TIME = timedelta(0)


def rule(reach: Reach, name: str, after: int | None, keep: int | None = None) -> RetentionRule:
    def days(count: int | None) -> timedelta | None:
        return timedelta(days=count) if count is not None else None

    return RetentionRule(reach, name, days(after), days(keep))


@pytest.mark.parametrize(
    ("rules", "label", "age", "deleted", "due"),
    [
        ([], None, 9999, False, None),
        ([], None, 0, True, Due.OWNER),
        ([rule(Reach.REGION, "", 30)], None, 30, False, Due.AGE),
        ([rule(Reach.REGION, "", 30)], None, 29, False, None),
        # The closest rule decides alone.
        ([rule(Reach.REGION, "", 30), rule(Reach.DOMAIN, "example.ie", 60)], None, 45, False, None),
        ([rule(Reach.DOMAIN, "example.ie", 60), rule(Reach.ACCOUNT, "a" * 32, 10)], None, 45, False, Due.AGE),
        ([rule(Reach.ACCOUNT, "a" * 32, 10), rule(Reach.LABEL, "work", 90)], WORK, 45, False, None),
        ([rule(Reach.LABEL, "work", 90)], None, 999, False, None),
        ([rule(Reach.ACCOUNT, "b" * 32, 10)], None, 45, False, None),
        # Of two domains' rules the one that keeps longer.
        (
            [rule(Reach.DOMAIN, "example.ie", 10), rule(Reach.DOMAIN, "example.com", 60)],
            None,
            45,
            False,
            None,
        ),
        # A duty to keep is stronger than the owner.
        ([rule(Reach.LABEL, "work", None, 365)], WORK, 364, True, None),
        ([rule(Reach.LABEL, "work", None, 365)], WORK, 365, True, Due.OWNER),
        ([rule(Reach.LABEL, "work", 400, 365)], WORK, 400, False, Due.AGE),
    ],
)
def test_what_is_due(
    rules: list[RetentionRule], label: None, age: int, deleted: bool, due: Due | None
) -> None:
    found = Retention(tuple(rules)).due(
        MAILBOX, NOW - timedelta(days=age), label, NOW, deleted_by_owner=deleted
    )
    assert found is due


@pytest.mark.parametrize(
    ("reach", "name", "after", "keep", "field"),
    [
        (Reach.REGION, "eu", 1, None, "name"),
        (Reach.ACCOUNT, "", 1, None, "name"),
        (Reach.LABEL, "Not A Label", 1, None, "label"),
        (Reach.REGION, "", 0, None, "delete_after"),
        (Reach.REGION, "", None, 99_999, "keep_at_least"),
        (Reach.REGION, "", 30, 31, "delete_after"),
    ],
)
def test_rules_that_cannot_be(
    reach: Reach, name: str, after: int | None, keep: int | None, field: str
) -> None:
    with pytest.raises(RetentionError, match=field):
        rule(reach, name, after, keep)


async def keep(it: Ward, *rules: RetentionRule) -> None:
    for one in rules:
        await change_rules(it.register, partial(with_rule, rule=one))


async def sweep(it: Ward) -> SweepReport:
    return await Sweeper(it.store, it.register).sweep(every=EVERY_TIME)


async def everything(it: Ward) -> list[str]:
    folders = ("mail", "deleted", "labels", "flags", "deleting")
    return [one.key for folder in folders async for one in it.versions.list(f"{folder}/{it.account}/")]


async def test_the_sweeper_removes_what_is_due_and_leaves_no_version(region: RegionStore) -> None:
    async with ward(region) as it:
        old = await it.deliver(3, at=NOW - 40 * DAY)
        young = await it.deliver(2, at=NOW - DAY)
        await put_label(it.vault, it.account, old[0], WORK)
        await put_label(it.vault, it.account, old[1], WORK)
        await hide(it.store.mail, it.account, young[0])
        await it.store.mail.delete(message_key(it.account, old[2]))  # some tool's deletion
        await keep(it, rule(Reach.REGION, "", 30), rule(Reach.LABEL, "work", 90))
        report = await sweep(it)
        assert report.to_json() == {
            "accounts": 1,
            "looked_at": 5,
            "deleted": {str(Due.OWNER): 2, str(Due.AGE): 0},
            "held": 0,
            "locked": 0,
            "holds": [],
        }
        await keep(it, rule(Reach.LABEL, "work", 35))
        assert (await sweep(it)).deleted[Due.AGE] == 2
        assert await everything(it) == [message_key(it.account, young[1])]


async def test_hold_over_label_over_policy(region: RegionStore) -> None:
    async with ward(region) as it:
        ids = await it.deliver(4, at=NOW - 40 * DAY)
        await put_label(it.vault, it.account, ids[0], WORK)
        await keep(it, rule(Reach.REGION, "", 30), rule(Reach.LABEL, "work", 35))
        span = Timespan(ids[0].received_at, ids[2].received_at)
        held = await it.register.place(replace(on(it.account), timespan=span), NORA)
        report = await sweep(it)
        assert (report.deleted[Due.AGE], report.held, report.holds) == (2, 2, {held.id})
        assert await it.present() == {ids[0], ids[1]}
        await it.register.propose_end(held.id, NORA, "settled")
        await it.register.confirm_end(held.id, LIAM)
        assert (await sweep(it)).held == 2, "never at once"
        it.now += DELAY_HOLD
        assert (await sweep(it)).deleted[Due.AGE] == 2


async def test_what_only_a_preservation_kept_is_destroyed_when_it_expires(region: RegionStore) -> None:
    """Criminal Code (Canada) s. 487.0194: what would not be kept in the ordinary course of business."""
    async with ward(region) as it:
        gone, stays = await it.deliver(2)
        demand = Terms(on(it.account).scope, EPOC_PR, until=it.now + 21 * DAY, at_expiry=AtExpiry.DESTROY)
        await it.register.place(demand, NORA)
        await hide(it.store.mail, it.account, gone)
        it.now += 21 * DAY - timedelta(seconds=1)
        assert (await sweep(it)).held == 1
        it.now += timedelta(seconds=1)
        assert (await sweep(it)).deleted[Due.OWNER] == 1
        assert await it.kept() == {stays}


@pytest.mark.parametrize("what", [RULES, "holds/wide/" + "7" * 32 + ".json", "labels"])
async def test_a_doubt_stops_the_sweeper(region: RegionStore, what: str) -> None:
    async with ward(region) as it:
        ids = await it.deliver(3, at=NOW - 40 * DAY)
        await keep(it, rule(Reach.REGION, "", 30))
        key = f"labels/{it.account}/{ids[0]}" if what == "labels" else what
        await it.store.mail.put(key, b"SITD nobody can read this")
        with pytest.raises(Corrupt, match=key):
            await sweep(it)
        assert await it.present() == set(ids)


async def test_processes_share_a_sweep_and_resume_one_anothers(
    region: RegionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.retention._SAVE_EVERY", 2)
    async with ward(region) as it, ward(region) as other:
        await it.deliver(5, at=NOW - 40 * DAY)
        await other.deliver(3, at=NOW - 40 * DAY)
        await keep(it, rule(Reach.REGION, "", 30))
        sweepers = [Sweeper(it.store, it.another_register()) for _ in range(3)]
        reports = await asyncio.gather(*(one.sweep(every=DAY) for one in sweepers))
        assert sum(report.deleted[Due.AGE] for report in reports) == 8
        assert sum(report.accounts for report in reports) == 2, "each account by one of them"
        assert (await Sweeper(it.store, it.register).sweep(every=DAY)).accounts == 0, "swept today"

        # A sweeper that dies half way: its claim runs out, and the next one goes on from its note.
        ids = await it.deliver(5, at=NOW - 50 * DAY)
        await hide(it.store.mail, it.account, ids[0])
        it.now += 2 * DAY
        looked: Counter[str] = Counter()

        def die(report: SweepReport) -> None:
            looked["first"] += 1
            if report.looked_at >= 4:
                raise asyncio.CancelledError

        dying = asyncio.create_task(Sweeper(it.store, it.register).sweep(every=DAY, progress=die))
        await asyncio.wait([dying])
        assert dying.cancelled()
        assert (await Sweeper(it.store, it.register).sweep(every=DAY)).looked_at < 5, "claimed for now"
        it.now += timedelta(minutes=6)
        await Sweeper(it.store, it.register).sweep(every=DAY)
        assert await it.kept() == set()


async def test_rules_are_replaced_by_name_and_survive_racing_writers(region: RegionStore) -> None:
    async with ward(region) as it:
        rules = [rule(Reach.LABEL, f"l{n}", 10 + n) for n in range(6)]
        await asyncio.gather(*(keep(it, one) for one in rules))
        await keep(it, rule(Reach.LABEL, "l0", 99))
        found, _ = await read_rules(it.register)
        assert set(found.rules) == {rule(Reach.LABEL, "l0", 99), *rules[1:]}
        await change_rules(it.register, lambda before: without_rule(before, Reach.LABEL, "l0"))
        assert len((await read_rules(it.register))[0].rules) == 5
