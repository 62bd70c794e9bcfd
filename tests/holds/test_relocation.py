"""Moving home: everything arrives, checked; nothing is left; a crash anywhere loses and doubles nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from policy.address import Address
from policy.geography import RegionCode
from policy.hold import DELAY_HOLD, DomainScope, MailboxScope, MatterScope
from policy.order import Timespan
from policy.retention import parse_label
from storage.audit.entry import Event
from storage.coverage import Coverer
from storage.erasure import SETTLE
from storage.errors import (
    AccountSuspended,
    Conflict,
    Corrupt,
    StorageError,
)
from storage.flags import Flags, put_flags
from storage.holds import Held, Terms
from storage.keeping import HoldKeeper
from storage.labels import label_key, put_label, read_label
from storage.located import AccountStatus
from storage.mailbox import message_key
from storage.mailboxes import mailbox_of
from storage.moving import CLAIM, MovedAway, Moving, Phase, prove_moved_away
from storage.owners_delete import delete_for_owner
from storage.placing import place_on_address, scoped
from storage.relocation import DisclosureOpen, MoveRefused, Report
from storage.tombstones import hidden, hide
from storage.unheld import Unheld, refuse_if_held
from tests.engines import GERMANY, IRELAND, EngineKind, Settle
from tests.faults import Moment
from tests.holds.dying import Death, living
from tests.holds.movers import REASON, Border, border
from tests.holds.people import AOIFE, DE, EPOC_PR, IE, LIAM, LITIGATION, NORA, cleared, on
from tests.holds.ward import PSEUDONYMS

LONGER_THAN_ANY_CLAIM = CLAIM + timedelta(seconds=1)
BOTH = {IRELAND.code: NORA, GERMANY.code: cleared("greta", region=DE)}


@pytest.fixture
async def it(settle: Settle) -> AsyncIterator[Border]:
    async with border(settle) as made:
        yield made


async def test_everything_arrives_and_nothing_is_left(settle: Settle, engine_kind: EngineKind) -> None:
    async with border(settle, engine_kind) as it:
        ids = await it.deliver(7)
        located = await it.world.directory.find(AOIFE)
        await hide(it.ireland.store.mail, it.account, ids[0])
        await put_label(it.ireland.register.vault, it.account, ids[1], parse_label("work"))
        flags = Flags("Archive", frozenset({"\\Seen"}))
        await put_flags(it.ireland.store, located.keys, it.account, ids[2], flags)
        ended = await it.ireland.register.place(on(it.account), NORA)
        await it.ireland.register.versions.lock(
            (await it.ireland.register.versions.of(message_key(it.account, ids[3])))[0]
        )
        await it.ireland.register.propose_end(ended.id, NORA, "settled")
        await it.ireland.register.confirm_end(ended.id, LIAM)
        it.now += DELAY_HOLD
        before = await it.world.directory.show(AOIFE)

        await it.move()

        assert await it.opened(it.germany) == it.contents
        assert await it.left(it.ireland) == []
        assert [one async for one in hidden(it.germany.store.mail, it.account)] == [ids[0]]
        label = await read_label(it.germany.register.vault, label_key(it.account, ids[1]))
        assert label == "work"
        after = await it.world.directory.show(AOIFE)
        assert (after.home, after.status) == (GERMANY, AccountStatus.ACTIVE)
        assert replace(after, home=before.home) == before, "who the account belongs to has not changed"
        assert [one.id for one in await it.germany.register.on(it.account)] == [ended.id]
        assert [one async for one in it.ireland.register.list()] == []
        await it.deliver(1)
        assert await it.opened(it.germany) == it.contents


async def test_both_logs_know(it: Border) -> None:
    await it.move()
    for site in (it.ireland, it.germany):
        entries = it.ledgers[site.store.region.code].entries
        (entry,) = (one for one in entries if one.event is Event.ACCOUNT_MOVED)
        assert entry.account == PSEUDONYMS.account(it.account)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001, "a\nb"])
async def test_a_move_needs_a_reason(it: Border, reason: str) -> None:
    with pytest.raises(MoveRefused, match="reason"):
        await it.relocation().move(AOIFE, DE, reason, "ada")


async def test_a_move_to_where_it_is_or_to_two_places_at_once_is_refused(it: Border) -> None:
    with pytest.raises(MoveRefused, match="already"):
        await it.move(IE)
    it.world.place(GERMANY).goes_down()
    with pytest.raises(StorageError):
        await it.move()
    it.world.place(GERMANY).comes_back()


async def test_refused_under_hold_with_its_reference(it: Border) -> None:
    ids = await it.deliver(2)
    span = Timespan(ids[0].received_at, ids[1].received_at)
    held = await it.ireland.register.place(replace(on(it.account), timespan=span), NORA)
    with pytest.raises(Held) as refused:
        await it.move()
    assert refused.value.holds == (held.id,)
    assert await it.left(it.germany) == []
    assert it.ledgers[IE].events() == [Event.HOLD_PLACED, Event.DELETION_REFUSED]
    await it.deliver(1)


async def test_refused_while_a_disclosure_is_open(it: Border) -> None:
    it.disclosure_open = True
    with pytest.raises(DisclosureOpen):
        await it.move()
    assert await it.left(it.germany) == []


@pytest.mark.parametrize("what", ["hold", "disclosure"])
async def test_what_comes_up_while_it_moves_takes_it_back(it: Border, what: str) -> None:
    ids = await it.deliver(4)

    class Nosy:
        done = False

    def interfere(report: Report) -> None:
        if report.phase is Phase.FROZEN and report.messages == len(ids):
            if what == "hold":
                Nosy.done = True
            else:
                it.disclosure_open = True

    async def move() -> None:
        await it.relocation().move(AOIFE, DE, REASON, "ada", interfere)

    moving = asyncio.create_task(move())
    if what == "hold":
        while not Nosy.done and not moving.done():
            await asyncio.sleep(0)
        # Written, as `place` writes it, before the move asks for the last time.
        hold = await it.ireland.register.place(on(it.account), NORA)
        try:
            await moving
        except Held as refused:
            assert refused.holds == (hold.id,)
        else:
            assert hold.id in {one.id for one in await it.germany.register.on(it.account)}
    else:
        with pytest.raises(DisclosureOpen):
            await moving
    home = await it.home()
    elsewhere = it.germany if home is it.ireland else it.ireland
    assert await it.opened(home) == it.contents
    assert await it.left(elsewhere) == []
    await it.deliver(1)
    assert await it.opened(home) == it.contents


async def test_from_one_instant_on_mail_goes_to_the_new_home(it: Border) -> None:
    """Before: to the old one. Meanwhile: 4xx, try again. After: to the new one. Never anywhere else."""
    await it.deliver(3)
    seen: list[tuple[Phase, str]] = []
    deliveries: list[asyncio.Task[object]] = []

    async def deliver(phase: Phase) -> None:
        try:
            it.world.directory.forget()
            await it.deliver(1)
            seen.append((phase, "taken"))
        except AccountSuspended:
            seen.append((phase, "later"))

    def tick(report: Report) -> None:
        deliveries.append(asyncio.ensure_future(deliver(report.phase)))

    await it.relocation().move(AOIFE, DE, REASON, "ada", tick)
    await asyncio.gather(*deliveries)
    assert (Phase.FROZEN, "later") in seen
    assert await it.opened(it.germany) == it.contents
    assert await it.left(it.ireland) == []


async def test_a_message_that_is_not_what_its_digest_says_stops_the_move(it: Border) -> None:
    ids = await it.deliver(2)
    await it.ireland.store.mail.put(message_key(it.account, ids[0]), b"SITM damaged")
    with pytest.raises(Corrupt, match=str(ids[0])):
        await it.move()
    assert (await it.world.directory.find(AOIFE)).home == IRELAND
    assert await it.opened(it.germany) == {ids[1]: it.contents[ids[1]]} or await it.opened(it.germany) == {}


async def test_two_processes_do_not_move_the_same_mailbox(it: Border) -> None:
    await it.deliver(5)
    first, second = await asyncio.gather(it.move(), it.move(), return_exceptions=True)
    assert [type(one) for one in (first, second) if one is not None] == [Moving]
    assert await it.opened(it.germany) == it.contents
    assert await it.left(it.ireland) == []


async def test_a_proof_of_having_moved_cannot_be_made_or_had_for_a_mailbox_at_home(it: Border) -> None:
    with pytest.raises(TypeError):
        MovedAway(it.account, IE, mint=object())
    with pytest.raises(StorageError):
        await prove_moved_away(it.world.directory, AOIFE, it.account, IE)
    assert (await prove_moved_away(it.world.directory, AOIFE, it.account, DE)).region == DE


async def test_no_account_is_closed_without_the_word_of_the_register_of_its_home(it: Border) -> None:
    with pytest.raises(TypeError):
        Unheld(it.account, IE, mint=object())
    other = await it.with_another(Address.parse("brian@example.ie"))
    mailbox = await mailbox_of(it.ireland.store, other.account)
    anothers = await refuse_if_held(it.ireland.register, mailbox, "closure", "ada")
    own = replace(mailbox, account=str(it.account))
    abroad = await refuse_if_held(it.germany.register, own, "closure", "ada")
    for proof in (anothers, abroad):
        with pytest.raises(Conflict):
            await it.world.directory.close(AOIFE, proof)
    assert (await it.world.directory.find(AOIFE)).status is AccountStatus.ACTIVE
    held = await it.ireland.register.place(on(it.account), NORA)
    with pytest.raises(Held) as refused:
        await it.world.close(AOIFE)
    assert refused.value.holds == (held.id,)


async def test_a_closed_account_moves_and_stays_closed(it: Border) -> None:
    await it.deliver(1)
    await it.world.close(AOIFE)
    await it.move()
    assert (await it.world.directory.show(AOIFE)).status is AccountStatus.CLOSED
    assert await it.opened(it.germany) == it.contents


async def test_a_hold_on_an_address_is_placed_where_the_mailbox_has_moved_to(it: Border) -> None:
    await it.deliver(1)
    await it.move()
    hold = await place_on_address(
        it.world.directory,
        AOIFE,
        scoped(on(it.account)),
        lambda code: it.sites[code].register,
        BOTH.__getitem__,
    )
    assert hold.region == DE
    assert isinstance(hold.scope, MailboxScope)
    with pytest.raises(Held):
        await it.move(IE)


async def test_the_mark_of_an_ended_hold_does_not_come_along(it: Border) -> None:
    """New mail would be locked for ever in a region where no hold accounts for it."""
    matter = MatterScope("m", frozenset({str(it.account)}))
    await it.ireland.register.place(
        replace(on(it.account), scope=matter, basis=EPOC_PR, until=it.now + timedelta(days=1)), NORA
    )
    await HoldKeeper(it.ireland.store, it.ireland.register, it.world.directory).keep()
    assert (await it.world.directory.find(AOIFE)).legal_hold
    it.now += timedelta(days=2)  # and no keeper has come by since
    await it.move()
    it.world.directory.forget()
    assert not (await it.world.directory.find(AOIFE)).legal_hold
    (message,) = await it.deliver(1)
    germany = it.germany
    gone = await delete_for_owner(germany.store, germany.register, it.account, [message])
    assert ([one.message for one in gone.destroyed], gone.locked) == ([message], [])


async def test_a_mailbox_that_moves_under_a_domains_hold_is_covered_there(it: Border) -> None:
    await it.deliver(2)
    keeper = HoldKeeper(it.germany.store, it.germany.register, it.world.directory)
    held = await it.germany.register.place(Terms(DomainScope(AOIFE.domain), LITIGATION), BOTH[DE])
    await keeper.keep()
    it.now += timedelta(seconds=SETTLE + 1)
    await keeper.keep()
    await it.move()
    it.world.directory.forget()
    await it.deliver(1)
    coverer = Coverer(it.germany.store, it.germany.register)
    assert (await coverer.stands(held.id)).status == "AwaitingPreservation"
    newest = [one async for one in it.germany.register.versions.list(f"mail/{it.account}/")][-1]
    assert await it.germany.register.versions.is_locked(newest), "new mail is locked as it is written"
    await keeper.keep()
    it.now += timedelta(seconds=SETTLE + 1)
    await keeper.keep()
    proof = await coverer.prove(held.id)
    assert (proof.missing, proof.locked) == ([], 5)
    with pytest.raises(Held):
        await it.move(IE)


async def test_there_and_back_again(it: Border) -> None:
    await it.deliver(3)
    await it.move(DE)
    await it.deliver(1)
    await it.move(IE)
    assert await it.opened(it.ireland) == it.contents
    assert await it.left(it.germany) == []


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("side", ["old", "new"])
async def test_a_crash_at_any_write_on_either_side_loses_and_doubles_nothing(
    settle: Settle, side: str, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at each write in turn, before or after the engine has done what it was asked.

    Each move begins where the one before it ended, so the two regions are old and new by turns. What is
    left behind goes in as many batches as there are messages, so that several are under way at the death.
    """
    monkeypatch.setattr("storage.leftovers._BATCH", 1)
    async with border(settle) as it:
        await it.deliver(2)
        deaths = 0
        while deaths < 200:
            leaves = await it.home()
            goes = it.germany if leaves is it.ireland else it.ireland
            watched = leaves if side == "old" else goes
            with living(watched.store.mail.name, deaths + 1, moment) as life:
                try:
                    await it.move(goes.store.region.code)
                except Death:
                    deaths += 1
            it.world.directory.forget()
            it.now += LONGER_THAN_ANY_CLAIM
            if not life.dead:
                break
            await resume(it, goes.store.region.code)
            assert await it.opened(goes) == it.contents
            assert await it.left(leaves) == [], f"after a death at write {deaths}"
        assert not life.dead
        assert deaths > 5, "a move writes more than that to either side"


async def resume(it: Border, to: RegionCode) -> None:
    """Run again what died, as the operator would."""
    try:
        await it.move(to)
    except MoveRefused as error:
        assert "already" in str(error)  # it had come to its end
