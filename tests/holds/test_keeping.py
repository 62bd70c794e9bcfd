"""Behind a hold: the lock on what is there and on what comes in, for as long as the hold lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from policy.address import Address
from policy.hold import DELAY_HOLD, DomainScope, Hold, MatterScope
from policy.hold_query import TrafficQuery
from storage.contents import stored_messages
from storage.coverage import Coverage
from storage.deletion import Deletions
from storage.erasure import SETTLE
from storage.errors import Unavailable
from storage.holds import Held, Terms
from storage.keeping import HoldKeeper
from storage.mailbox import append
from storage.mailboxes import mailbox_of
from storage.opening import Opener
from storage.owners_delete import delete_for_owner
from storage.traffic import Envelope
from storage.versions import Version, Versions
from tests.engines import GERMANY, IRELAND, Settle
from tests.holds.movers import Border, border
from tests.holds.people import LIAM, LITIGATION, NORA, cleared, on
from tests.holds.ward import MAIL

SETTLED = timedelta(seconds=SETTLE + 1)


@pytest.fixture
async def it(settle: Settle) -> AsyncIterator[Border]:
    async with border(settle) as made:
        yield made


async def keep(it: Border) -> list[tuple[Hold, Coverage]]:
    seen: list[tuple[Hold, Coverage]] = []
    site = it.ireland
    await HoldKeeper(site.store, site.register, it.world.directory).keep(
        lambda hold, coverage: seen.append((hold, coverage))
    )
    return seen


async def marked(it: Border) -> bool:
    it.world.directory.forget()
    return (await it.world.directory.locate(it.address)).legal_hold


async def locks(it: Border) -> list[bool | None]:
    versions = it.ireland.register.versions
    return [await versions.is_locked(one) async for one in versions.list(f"mail/{it.account}/")]


async def test_present_mail_then_future_mail_and_what_came_in_between(it: Border) -> None:
    await it.deliver(2)
    held = await it.ireland.register.place(on(it.account), NORA)
    await it.deliver(1)  # by an ingress process that has not noticed yet
    assert (await keep(it))[-1][1].status == "Preserved"
    assert await marked(it)
    await it.deliver(1)
    assert await locks(it) == [True] * 4
    await it.ireland.register.versions.unlock(await first(it))
    assert await keep(it) == [], "nothing to do before ingress can have settled"
    it.now += SETTLED
    assert await keep(it) != []
    assert await locks(it) == [True] * 4
    assert await keep(it) == [], "and nothing after"

    await it.ireland.register.propose_end(held.id, NORA, "settled")
    await it.ireland.register.confirm_end(held.id, LIAM)
    await keep(it)
    assert await marked(it), "the grace period is part of it"
    it.now += DELAY_HOLD
    await keep(it)
    assert not await marked(it)
    await it.deliver(1)
    assert (await locks(it))[-1] is False


async def test_mail_that_came_in_unlocked_is_kept_by_the_register_until_the_lock_is_on(it: Border) -> None:
    """An ingress process that has not noticed the hold yet writes without the lock, for 30 s at most."""
    ingress = it.world.seen_from(IRELAND)
    await ingress.locate(it.address)
    held = await it.ireland.register.place(on(it.account), NORA)
    await keep(it)
    located = await ingress.locate(it.address)  # out of its memory
    assert not located.legal_hold
    envelope = Envelope("b@x.example", str(it.address), "192.0.2.1", "mx", it.now, "ESMTP")
    message = await append(it.ireland.store, located, envelope, MAIL)
    assert await locks(it) == [False]

    outcome = await delete_for_owner(it.ireland.store, it.ireland.register, it.account, [message])
    assert (outcome.destroyed, outcome.holds) == ([], (held.id,))
    it.now += SETTLED
    await keep(it)
    assert await locks(it) == [True]


async def first(it: Border) -> Version:
    return await anext(it.ireland.register.versions.list(f"mail/{it.account}/"))


async def test_the_end_of_one_hold_is_not_the_end_of_another(it: Border) -> None:
    first_, _ = [await it.ireland.register.place(on(it.account), NORA) for _ in range(2)]
    await keep(it)
    await it.ireland.register.propose_end(first_.id, NORA, "settled")
    await it.ireland.register.confirm_end(first_.id, LIAM)
    it.now += DELAY_HOLD
    await keep(it)
    assert await marked(it)


async def test_a_hold_that_ends_before_it_was_kept_in_the_new_home_leaves_no_mark(it: Border) -> None:
    """The move told the directory of it, and the next pass finds it ended."""
    hold = await it.germany.register.place(
        Terms(DomainScope(it.address.domain), LITIGATION), cleared("nora", region=GERMANY.code)
    )
    await it.deliver(1)
    await it.move()
    assert await marked(it)
    await it.germany.register.propose_end(hold.id, cleared("nora", region=GERMANY.code), "settled")
    await it.germany.register.confirm_end(hold.id, cleared("liam", region=GERMANY.code))
    it.now += DELAY_HOLD
    await HoldKeeper(it.germany.store, it.germany.register, it.world.directory).keep()
    assert not await marked(it)


async def test_an_account_that_joins_a_matter_or_a_domain_is_covered_too(it: Border) -> None:
    other = await it.with_another(Address.parse("brian@example.ie"))
    await it.deliver(1)
    await other.deliver(1)
    matter = await it.ireland.register.place(
        Terms(MatterScope("m", frozenset({str(it.account)})), LITIGATION), NORA
    )
    await keep(it)
    assert (await locks(it), await locks(other)) == ([True], [False])
    await it.ireland.register.enrol(matter.id, NORA, other.account)
    await keep(it)
    assert (await locks(other), await marked(other)) == ([True], True)

    await it.ireland.register.place(Terms(DomainScope("example.ie"), LITIGATION), NORA)
    await keep(it)
    late = await it.with_another(Address.parse("late@example.ie"))
    await late.deliver(1)
    it.now += timedelta(hours=2)
    await keep(it)
    assert (await locks(late), await marked(late)) == ([True], True)


async def test_a_mailbox_does_not_leave_a_domains_hold_by_giving_up_its_alias(it: Border) -> None:
    """What came to the alias lies there still."""
    alias = Address.parse("aoife@court.example")
    await it.world.directory.add_alias(alias, it.address)
    (message,) = await it.deliver(1)
    held = await it.ireland.register.place(Terms(DomainScope("court.example"), LITIGATION), NORA)
    await it.world.directory.remove_alias(alias)
    outcome = await delete_for_owner(it.ireland.store, it.ireland.register, it.account, [message])
    assert (outcome.destroyed, outcome.holds) == ([], (held.id,))
    await keep(it)
    assert await locks(it) == [True]
    with pytest.raises(Held):
        await it.move()
    assert str(alias) not in str((await it.world.directory.show(it.address)).to_json())


async def test_a_hold_that_cannot_be_covered_keeps_no_other_from_it(
    it: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await it.with_another(Address.parse("brian@example.ie"))
    await it.deliver(1)
    await other.deliver(1)
    await it.ireland.register.place(on(it.account), NORA)
    await it.ireland.register.place(on(other.account, other.address), NORA)
    lock = Versions.lock

    async def failing(self: Versions, version: Version) -> bool:
        if str(it.account) in version.key:
            raise Unavailable("not now")
        return await lock(self, version)

    monkeypatch.setattr(Versions, "lock", failing)
    await keep(it)
    assert await locks(other) == [True]


async def test_mail_that_a_query_does_not_mean_can_be_deleted_though_it_came_in_locked(it: Border) -> None:
    query = TrafficQuery(domains=frozenset({"court.example"}))
    await it.ireland.register.place(replace(on(it.account), query=query), NORA)
    await keep(it)
    it.world.directory.forget()
    (message,) = await it.deliver(1)
    assert await locks(it) == [True]
    mailbox = await mailbox_of(it.ireland.store, it.account)
    read = Opener(it.ireland.store, it.account).traffic_if_known
    stored = [one async for one in stored_messages(it.ireland.register.versions, it.account)]
    async with Deletions(it.ireland.register).on(mailbox, read) as eraser:
        outcome = await eraser.destroy([one.candidate for one in stored])
    assert [one.message for one in outcome.destroyed] == [message]
    assert await locks(it) == []
