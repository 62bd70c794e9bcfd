"""The hold register: in force when placing returns, never deletes on a doubt, two people to let go."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from policy.address import Address
from policy.clearance import NotCleared, Role, SamePerson
from policy.hold import DomainScope, HoldId, HoldState, MatterScope, Phase
from policy.hold_query import TrafficQuery
from policy.order import Timespan
from storage.accounts import account_key
from storage.audit.entry import Event
from storage.audit.log import LogUnavailable
from storage.errors import AlreadyExists, Corrupt, NotFound
from storage.hold_documents import describe_hold, read_hold, write_hold
from storage.holds import Elsewhere, Terms
from storage.identity import AccountId
from storage.region import RegionStore
from tests.holds.people import AOIFE, DE, EPOC_PR, LIAM, LITIGATION, NORA, NOW, cleared, on
from tests.holds.ward import PSEUDONYMS, ward
from tests.policy.lawcases import shipped_lawbook

DAY = timedelta(days=1)
REFERENCE = HoldId("5" * 32)
LAWBOOK = shipped_lawbook()


async def test_what_is_confirmed_is_what_was_seen(shared_region: RegionStore) -> None:
    """The first person takes their proposal back and makes another, while the second is about to confirm."""
    async with ward(shared_region) as it:
        held = await it.register.place(on(it.account), NORA)
        seen = (await it.register.propose_end(held.id, NORA, "shorter", until=it.now + 9 * DAY)).proposal
        await it.register.reject_end(held.id, NORA)
        standing = await it.register.propose_end(held.id, NORA, "released")
        with pytest.raises(HoldState, match="another end is proposed by now"):
            await it.register.confirm_end(held.id, LIAM, seen)
        assert await it.register.get(held.id) == standing
        released = await it.register.confirm_end(held.id, LIAM, standing.proposal)
        assert released.phase(it.now) is Phase.GRACE


async def test_a_hold_lives_and_ends_on_the_record(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        held = await it.register.place(on(it.account), NORA)
        assert await it.another_register().on(it.account) == (held,)
        await it.register.propose_end(held.id, NORA, "settled")
        with pytest.raises(SamePerson):
            await it.register.confirm_end(held.id, NORA)
        released = await it.register.confirm_end(held.id, LIAM)
        assert released.phase(it.now) is Phase.GRACE
        assert await it.register.on(it.account) == (released,)
        with pytest.raises(HoldState):
            await it.register.prolong(held.id, NORA, None)
        assert it.ledger.events() == [Event.HOLD_PLACED, Event.HOLD_CHANGED, Event.HOLD_RELEASED]
        entry = it.ledger.entries[0]
        assert (entry.hold, entry.account) == (str(held.id), PSEUDONYMS.account(it.account))
        assert b"aoife" not in entry.encode()


async def test_of_two_prolongations_at_once_the_law_allows_one(shared_region: RegionStore) -> None:
    """Form 6, once (Reg. (EU) 2023/1543 Art. 11(1)): who loses the race meets what stands then."""
    async with ward(shared_region) as it:
        until = NOW + timedelta(days=60)
        held = await it.register.place(replace(on(it.account), basis=EPOC_PR, until=until), NORA)
        custodians = (it.register, NORA), (it.another_register(), LIAM)
        outcomes = await asyncio.gather(
            *(
                own.prolong(held.id, by, until + n * DAY, LAWBOOK)
                for n, (own, by) in enumerate(custodians, 10)
            ),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Hold", "HoldState"]
        (standing,) = await it.register.on(it.account)
        assert standing in outcomes


async def test_holds_are_listed_by_time_of_placing(region: RegionStore) -> None:
    async with ward(region) as it:
        first = await it.register.place(on(it.account), NORA)
        it.now += DAY
        second = await it.register.place(Terms(DomainScope("example.ie"), LITIGATION), NORA)
        it.now += DAY
        third = await it.register.place(Terms(MatterScope("m", frozenset()), LITIGATION), NORA)
        assert [one async for one in it.register.list()] == [first, second, third]
        assert [one.id async for one in it.register.list(after=second.id)] == [third.id]
        assert set(await it.register.on(it.account)) == {first, second, third}
        assert set(await it.register.on(AccountId.new())) == {second, third}


async def test_placing_again_under_the_same_reference_completes_what_was_begun(region: RegionStore) -> None:
    async with ward(region) as it:
        it.ledger.refuse = LogUnavailable("no answer")
        with pytest.raises(LogUnavailable):
            await it.register.place(on(it.account), NORA, reference=REFERENCE)
        assert len(await it.register.on(it.account)) == 1, "what was written before the log failed keeps"
        it.ledger.refuse = None
        it.now += DAY
        held = await it.register.place(on(it.account), NORA, reference=REFERENCE)
        assert held.placed_at == NOW
        assert it.ledger.events() == [Event.HOLD_PLACED]
        with pytest.raises(AlreadyExists):
            await it.register.place(replace(on(it.account), basis=EPOC_PR), NORA, reference=REFERENCE)
        with pytest.raises(Elsewhere):
            await it.register.place(on(AccountId.new()), NORA)
        assert len([one async for one in it.register.list()]) == 1


async def test_a_release_that_the_log_does_not_take_does_not_happen(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        held = await it.register.place(on(it.account), NORA)
        await it.register.propose_end(held.id, NORA, "settled")
        it.ledger.refuse = LogUnavailable("no answer")
        with pytest.raises(LogUnavailable):
            await it.register.confirm_end(held.id, LIAM)
        assert (await it.register.get(held.id)).release is None


async def test_nobody_places_or_ends_without_a_clearance(region: RegionStore) -> None:
    async with ward(region) as it:
        with pytest.raises(NotCleared):
            await it.register.place(on(it.account), cleared("clerk", Role.INTAKE))
        assert [one async for one in it.register.list()] == []
        held = await it.register.place(on(it.account), NORA)
        with pytest.raises(NotCleared):
            await it.register.propose_end(held.id, cleared("uwe", region=DE), "please")
        assert it.ledger.events() == [Event.HOLD_PLACED]


async def test_a_register_that_cannot_be_read_says_so(region: RegionStore) -> None:
    async with ward(region) as it:
        with pytest.raises(NotFound):
            await it.register.get(REFERENCE)
        await it.store.mail.put(f"holds/{it.account}/{REFERENCE}.json", b"SITD garbage")
        with pytest.raises(Corrupt, match=str(REFERENCE)):
            await it.register.on(it.account)


async def test_a_document_that_says_more_than_we_know_is_corrupt(shared_region: RegionStore) -> None:
    async with ward(shared_region) as it:
        held = await it.register.place(on(it.account), NORA)
        body = write_hold(held)
        assert read_hold("k", body) == held
        for more in (b'"legal_privilege": true, "id"', b'"version": 2, "id"'):
            with pytest.raises(Corrupt):
                read_hold("k", body.replace(b'"id"', more, 1))


async def test_every_kind_of_hold_survives_its_document(region: RegionStore) -> None:
    async with ward(region) as it:
        query = TrafficQuery(
            frozenset({AOIFE, Address.parse("bücher@bücher.example")}), frozenset({"a.ie", "b.ie"})
        )
        span = Timespan(NOW - DAY, NOW)
        for terms in (
            replace(on(it.account), timespan=span, query=query, matter="2026/1", until=NOW + DAY),
            Terms(MatterScope("m", frozenset({str(it.account)})), EPOC_PR, until=NOW + 60 * DAY),
            Terms(DomainScope("example.ie"), LITIGATION),
        ):
            held = await it.register.place(terms, NORA)
            assert await it.another_register().get(held.id) == held
            assert describe_hold(held, NOW)["phase"] == "in force"


async def test_a_matters_hold_is_not_partial_in_silence(
    region: RegionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ward(region) as it:
        absent = AccountId.new()
        both = Terms(MatterScope("m", frozenset({str(it.account), str(absent)})), LITIGATION)
        with pytest.raises(Elsewhere):
            await it.register.place(both, NORA)
        assert [one async for one in it.register.list()] == [], "nothing was written"

        alone = Terms(MatterScope("m", frozenset({str(it.account)})), LITIGATION)
        held = await it.register.place(alone, NORA)
        with pytest.raises(Elsewhere):
            await it.register.enrol(held.id, NORA, absent)
        assert (await it.register.get(held.id)).scope == alone.scope

        async def leaves(_: object) -> None:
            await it.store.mail.delete(account_key(it.account))

        monkeypatch.setattr(it.register, "_settle", leaves)
        with pytest.raises(Elsewhere, match="in force, but 1 of its 1 mailboxes left"):
            await it.register.place(alone, NORA)
        assert it.ledger.events() == [Event.HOLD_PLACED] * 2, "in force, and in the log"
