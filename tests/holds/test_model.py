"""Nothing held is lost, nothing else is kept too long: the store against a model, whatever happens.

A Hypothesis state machine lets owners, custodians, sweepers, erasers, movers and courts act on two
regions in any order, and lets any of them die at any write. After each step the store and the model
(`tests.holds.model`) agree on what exists where, in all versions; on what each owner sees; on what is
held, and by which holds.

SITUS_HOLDS_EXAMPLES=200 runs it for long; without, it runs the same few examples everywhere.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from policy.address import Address
from policy.clearance import SamePerson
from policy.geography import Region, RegionCode
from policy.hold import DomainScope, HoldId, HoldState, Item, MailboxScope, MatterScope, forbidding
from policy.hold_query import TrafficQuery
from policy.order import Timespan
from policy.rules import AtExpiry
from storage.erasure import is_being_erased
from storage.errors import AccountClosed, AccountSuspended, NotFound, StorageError, UnknownAddress
from storage.holds import Elsewhere, Held, Terms
from storage.identity import AccountId, MessageId
from storage.keyring import Keyholder
from storage.layout import ACCOUNT_FOLDERS
from storage.mailboxes import mailbox_of
from storage.opening import Opener
from storage.region import RegionSettings
from storage.relocation import BeingErased, DisclosureOpen, MoveRefused
from storage.tombstones import TOMBSTONES
from tests.engines import GERMANY, IRELAND, EngineKind, Engines, Settle, settings_on
from tests.faults import Moment
from tests.holds.actors import LONGER_THAN_ANY_CLAIM, Actors, custodian
from tests.holds.dying import Death
from tests.holds.model import Box, Custody, Letter, Model, Rule
from tests.holds.movers import Border, border
from tests.holds.people import AOIFE, EPOC_PR, LITIGATION

EXAMPLES: Final = int(os.environ.get("SITUS_HOLDS_EXAMPLES", "0"))
STEPS: Final = 25
DAY: Final = timedelta(days=1)
CODES: Final = (IRELAND.code, GERMANY.code)
SENDERS: Final = ("brian@example.ie", "cara@court.example")
ADDRESSES: Final = (AOIFE, Address.parse("boris@firm.example"), Address.parse("carol@firm.example"))
ALIAS: Final = Address.parse("carol@example.ie")

regions = st.sampled_from(CODES)
whose = st.integers(0, len(ADDRESSES) - 1)
some = st.integers(0, 50)  # which of those that there are
# Where somebody dies: at his nth write in a region, before the engine has seen it, or after.
Fate = tuple[RegionCode, int, Moment]
deaths = st.tuples(regions, st.integers(1, 14), st.sampled_from(Moment))


class Holds(RuleBasedStateMachine):
    """One example, on regions of its own."""

    settle: ClassVar[Settle]

    def __init__(self) -> None:
        super().__init__()
        self.runner: Final = asyncio.Runner()
        self.stack: Final = AsyncExitStack()
        self.it: Border
        self.model: Model
        self.actors: Actors
        # Mailboxes in which somebody died, who may have left a tombstone of what is gone.
        self.torn: Final[set[Box]] = set()

    @initialize()
    def begin(self) -> None:
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        self.it = await self.stack.enter_async_context(border(type(self).settle))
        self.model = Model(self.it.now)
        self.actors = Actors(self.it, self.model, self.it.world.seen_from(IRELAND))
        self.model.boxes.append(Box(AOIFE, self.it.account, IRELAND.code))
        for address, home in zip(ADDRESSES[1:], reversed(CODES), strict=True):
            made = await self.it.world.directory.create(address, home)
            self.model.boxes.append(Box(address, made.id, home))
        carol = self.model.boxes[-1]
        await self.it.world.directory.add_alias(ALIAS, carol.address)
        carol.alias = ALIAS
        for box in self.model.boxes:
            for age in (0, 45):
                letter = await self.actors.deliver(box, age * DAY, SENDERS[0], None)
                box.letters[letter.id] = letter

    # Owners, and their correspondents.

    @rule(
        whose=whose, age=st.sampled_from([0, 20, 45, 100]), sender=st.sampled_from(SENDERS), tax=st.booleans()
    )
    def deliver(self, whose: int, age: int, sender: str, tax: bool) -> None:
        box = self.model.boxes[whose]
        self.runner.run(self._deliver(box, age, sender, tax))

    async def _deliver(self, box: Box, age: int, sender: str, tax: bool) -> None:
        try:
            letter = await self.actors.deliver(box, age * DAY, sender, "tax" if tax else None)
        except AccountClosed:
            assert box.closed
        else:
            assert not box.closed
            box.letters[letter.id] = letter

    @rule(whose=whose, picks=st.sets(some, min_size=1, max_size=3), death=st.none() | deaths)
    def owner_deletes(self, whose: int, picks: set[int], death: Fate | None) -> None:
        box = self.model.boxes[whose]
        if box.letters and not box.shredded:
            self.runner.run(self._owner_deletes(box, _picked(box, picks), death))

    async def _owner_deletes(self, box: Box, letters: list[Letter], death: Fate | None) -> None:
        ids = [letter.id for letter in letters]
        for letter in letters:
            letter.hidden = True
        may_go = {one.id for one in letters if self._may_go(box, one)}
        if await self._dies(self.actors.owner_deletes(box, ids), death):
            await self._find_out(box, may_go, set(ids))
            ids = [one for one in ids if one in box.letters]
            for one in ids:
                box.letters[one].hidden = True
        await self.actors.owner_deletes(box, ids)
        self.model.clear(box, [box.letters[one] for one in ids])

    @rule()
    def alias_is_given_up(self) -> None:
        """What came to it lies there still, and whatever is held stays so."""
        box = next(box for box in self.model.boxes if box.alias)
        if not box.erased and not box.shredded:
            with suppress(UnknownAddress):  # it has been given up
                self.runner.run(self.actors.directory().remove_alias(ALIAS))

    # Sweepers, and those who say how long mail is kept.

    @rule(
        region=regions,
        reach=st.sampled_from(["label", "account", "domain", "region"]),
        whose=whose,
        delete_after=st.none() | st.sampled_from([30, 90]),
        keep_at_least=st.none() | st.sampled_from([10, 30]),
    )
    def retention(
        self, region: RegionCode, reach: str, whose: int, delete_after: int | None, keep_at_least: int | None
    ) -> None:
        box = self.model.boxes[whose]
        name = {"label": "tax", "account": str(box.account), "domain": box.address.domain, "region": ""}
        wanted = Rule(reach, name[reach], delete_after, keep_at_least)
        self.runner.run(self.actors.set_rule(region, wanted))
        others = [
            one for one in self.model.rules.get(region, []) if (one.reach, one.name) != (reach, wanted.name)
        ]
        self.model.rules[region] = [*others, wanted]

    @rule(region=regions, death=st.none() | deaths)
    def sweep(self, region: RegionCode, death: Fate | None) -> None:
        self.runner.run(self._sweep(region, death))

    async def _sweep(self, region: RegionCode, death: Fate | None) -> None:
        boxes = [box for box in self.model.at_home(region) if not box.shredded]
        if death is not None and await self._dies(self.actors.sweep(region), (region, *death[1:])):
            for box in boxes:
                may_go = {one.id for one in box.letters.values() if self._may_go(box, one)}
                await self._find_out(box, may_go, set())
        exact = self.torn.isdisjoint(boxes) and death is None
        report = await self.actors.sweep(region)
        counts = [self.model.clear(box, list(box.letters.values())) for box in boxes]
        self.torn.difference_update(boxes)
        assert report.locked == 0
        if exact:
            assert sum(report.deleted.values()) == sum(gone for gone, _ in counts)
            assert report.held == sum(held for _, held in counts)

    @rule(days=st.sampled_from([1, 12, 31, 61]))
    def time_passes(self, days: int) -> None:
        self.actors.passes(days * DAY)

    # Custodians, and courts.

    @rule(
        kind=st.sampled_from(["mailbox", "mailbox", "domain", "matter"]),
        whose=whose,
        sender=st.none() | st.sampled_from(SENDERS),
        span=st.none() | st.sampled_from([(120, 30), (50, 40), (30, -300)]),
        until=st.none() | st.sampled_from([10, 60]),
        court=st.booleans(),
        death=st.none() | deaths,
    )
    def place(
        self,
        kind: str,
        whose: int,
        sender: str | None,
        span: tuple[int, int] | None,
        until: int | None,
        court: bool,
        death: Fate | None,
    ) -> None:
        self.runner.run(self._place(kind, self.model.boxes[whose], sender, span, until, court, death))

    async def _place(
        self,
        kind: str,
        box: Box,
        sender: str | None,
        span: tuple[int, int] | None,
        until: int | None,
        court: bool,
        death: Fate | None,
    ) -> None:
        now = self.model.now
        on: AccountId | str | set[AccountId] = box.account
        if kind != "mailbox":
            on = box.address.domain if kind == "domain" else {box.account}
        hold = Custody(
            HoldId(secrets.token_hex(16)),
            box.home,
            on,
            court,
            (now - span[0] * DAY, now - span[1] * DAY) if span else None,
            sender,
            now + until * DAY if until else None,
            destroys=court and until is not None,
        )
        if await self._dies(self._placing(hold, box), death):
            self.actors.passes(LONGER_THAN_ANY_CLAIM)
            if await self._stands(hold):
                # Nobody was told so, and it keeps all the same.
                self.model.holds.append(hold)
                await self._agree()
        try:
            await self._placing(hold, box)
        except Elsewhere:
            assert box.erased
        else:
            assert not box.erased or kind == "domain"
            if hold not in self.model.holds:
                self.model.holds.append(hold)

    async def _placing(self, hold: Custody, box: Box) -> None:
        scope = MailboxScope("", box.address)
        terms = Terms(
            scope,
            EPOC_PR if hold.ordered else LITIGATION,
            Timespan(*hold.span) if hold.span else None,
            TrafficQuery(parties=frozenset({Address.parse(hold.sender)})) if hold.sender else None,
            None,
            hold.until,
            AtExpiry.DESTROY if hold.destroys else AtExpiry.LAPSE,
        )
        if hold.on == box.account:
            placed = await self.actors.place_on(box.address, terms, hold.id)
            assert placed.region == box.home
            return
        wide = (
            DomainScope(hold.on)
            if isinstance(hold.on, str)
            else MatterScope("m", frozenset({str(box.account)}))
        )
        await self.actors.place(hold.region, replace(terms, scope=wide), hold.id)

    async def _stands(self, hold: Custody) -> bool:
        try:
            await self.actors.site(hold.region).register.get(hold.id)
        except NotFound:
            return False
        return True

    @rule(which=some, by=st.sampled_from(["nora", "liam"]), shorten=st.booleans())
    def propose(self, which: int, by: str, shorten: bool) -> None:
        if (hold := self._open_hold(which)) is None:
            return
        soon = self.model.now + 2 * DAY
        until = soon if shorten and (hold.until is None or soon < hold.until) else None
        register = self.actors.site(hold.region).register
        self.runner.run(register.propose_end(hold.id, custodian(by, hold.region), "settled", until=until))
        hold.proposed_by, hold.shorter = by, until

    @rule(which=some, by=st.sampled_from(["nora", "liam"]), death=st.none() | deaths)
    def confirm(self, which: int, by: str, death: Fate | None) -> None:
        if (hold := self._open_hold(which)) is not None:
            self.runner.run(self._confirm(hold, by, death))

    async def _confirm(self, hold: Custody, by: str, death: Fate | None) -> None:
        register = self.actors.site(hold.region).register
        now = self.model.now
        by_ = custodian(by, hold.region)
        if hold.proposed_by in (None, by):
            with pytest.raises((HoldState, SamePerson)):
                await register.confirm_end(hold.id, by_)
            return
        await self._dies(register.confirm_end(hold.id, by_), death)
        if (await register.get(hold.id)).proposal is not None:
            await register.confirm_end(hold.id, by_)
        if hold.shorter is not None and hold.shorter > now:
            hold.until = hold.shorter
        else:
            hold.released = now
        hold.proposed_by = hold.shorter = None

    @rule(which=some)
    def reject(self, which: int) -> None:
        if (hold := self._open_hold(which)) is not None and hold.proposed_by:
            register = self.actors.site(hold.region).register
            self.runner.run(register.reject_end(hold.id, custodian("liam", hold.region)))
            hold.proposed_by = hold.shorter = None

    @rule(which=some, days=st.none() | st.sampled_from([90]))
    def prolong(self, which: int, days: int | None) -> None:
        hold = self._open_hold(which)
        if hold is None or hold.until is None or hold.destroys:
            return
        until = self.model.now + days * DAY if days else None
        if until is None or until > hold.until:
            register = self.actors.site(hold.region).register
            self.runner.run(register.prolong(hold.id, custodian("liam", hold.region), until))
            hold.until, hold.proposed_by, hold.shorter = until, None, None

    @rule(which=some, whose=whose)
    def enrol(self, which: int, whose: int) -> None:
        hold, box = self._open_hold(which), self.model.boxes[whose]
        if hold is not None and isinstance(hold.on, set) and box.home == hold.region and not box.erased:
            self.runner.run(self.actors.enrol(hold.region, hold.id, box.account))
            hold.on.add(box.account)

    @rule(region=regions, death=st.none() | deaths)
    def keep(self, region: RegionCode, death: Fate | None) -> None:
        self.runner.run(self._keep(region, death))

    async def _keep(self, region: RegionCode, death: Fate | None) -> None:
        await self._dies(self.actors.keep(region), death)
        await self.actors.keep(region)
        for hold in self.model.holds:
            if hold.region == region and hold.keeps(self.model.now):
                proof = await self.actors.prove(region, hold.id)
                assert proof.missing == [], f"{hold} is not covered"

    # Those who end accounts, and those who move them.

    @rule(whose=whose, opens=st.booleans())
    def disclosure(self, whose: int, opens: bool) -> None:
        self.model.boxes[whose].disclosure_open = opens

    @rule(whose=whose, death=st.none() | deaths, hold_meanwhile=st.booleans())
    def erase(self, whose: int, death: Fate | None, hold_meanwhile: bool) -> None:
        box = self.model.boxes[whose]
        if not box.erased:
            self.runner.run(self._erase(box, death, hold_meanwhile))

    async def _erase(self, box: Box, death: Fate | None, hold_meanwhile: bool) -> None:
        if not box.closed:
            try:
                await self.actors.close(box)
            except Held as refused:
                assert set(refused.holds) == self.model.forbidding(box, None)
                return
            assert not self.model.forbidding(box, None)
            box.closed = True
        if death is not None and await self._dies(self.actors.erase(box), (box.home, *death[1:])):
            may_go = {one.id for one in box.letters.values() if not self.model.forbidding(box, one)}
            await self._find_out(box, may_go, set())
            self.actors.passes(LONGER_THAN_ANY_CLAIM)
            if hold_meanwhile:
                await self._hold_what_is_left(box)
        before = dict(box.letters)
        try:
            await self.actors.erase(box)
        except Held as refused:
            assert set(refused.holds) <= self.model.forbidding(box, None)
            may_go = {one.id for one in before.values() if not self.model.forbidding(box, one)}
            await self._find_out(box, may_go, set())
        else:
            assert not self.model.forbidding(box, None)
            box.letters.clear()
            box.erased = True

    async def _hold_what_is_left(self, box: Box) -> None:
        """Too late for some of it, perhaps, and not for the rest."""
        hold = Custody(HoldId(secrets.token_hex(16)), box.home, box.account, ordered=False)
        try:
            await self._placing(hold, box)
        except Elsewhere:
            assert await self._record_is_gone(box), "the eraser had come to the end"
        else:
            self.model.holds.append(hold)

    async def _record_is_gone(self, box: Box) -> bool:
        versions = self.it.sites[box.home].register.versions
        return not [one async for one in versions.list(f"accounts/{box.account}/account.json")]

    @rule(
        whose=whose,
        death=st.none() | deaths,
        meanwhile=st.sampled_from(["nothing", "hold", "mail", "owner", "sweep"]),
    )
    def move(self, whose: int, death: Fate | None, meanwhile: str) -> None:
        box = self.model.boxes[whose]
        if not box.erased and not box.shredded:
            self.runner.run(self._move(box, death, meanwhile))

    async def _move(self, box: Box, death: Fate | None, meanwhile: str) -> None:
        (to,) = set(CODES) - {box.home}
        if await self._dies(self._moving(box, to), death):
            await self._see_where_it_is(box, to)
            await self._interfere(box, meanwhile)
            self.actors.passes(LONGER_THAN_ANY_CLAIM)
            await self._see_where_it_is(box, to)
        leaves = box.home
        try:
            await self._moving(box, to)
        except Held as refused:
            assert set(refused.holds) == self.model.forbidding(box, None)
            assert leaves != to
        except DisclosureOpen:
            assert box.disclosure_open
            assert leaves != to
        except BeingErased:
            assert box.closed
            assert await is_being_erased(self.it.sites[leaves].register.vault, box.account)
            assert leaves != to
        else:
            if leaves != to:
                assert not self.model.forbidding(box, None)
                assert not box.disclosure_open
                self.model.move(box, to)

    async def _moving(self, box: Box, to: RegionCode) -> None:
        try:
            await self.actors.move(box, to)
        except MoveRefused as refused:
            if isinstance(refused, DisclosureOpen | BeingErased):
                raise
            assert (await self.actors.directory().home_now(box.address)).home.code == to

    async def _interfere(self, box: Box, how: str) -> None:
        """While nobody goes on with a move: whatever is answered, nothing held may go."""
        match how:
            case "hold":
                hold = Custody(HoldId(secrets.token_hex(16)), box.home, box.account, ordered=False)
                await self._placing(hold, box)
                self.model.holds.append(hold)
            case "mail":
                with suppress(AccountSuspended):  # come again, says the freeze
                    await self._deliver(box, 0, SENDERS[0], False)
            case "owner":
                picked = _picked(box, {0})
                may_go = {one.id for one in picked if self._may_go(box, replace(one, hidden=True))}
                with suppress(StorageError):
                    await self.actors.owner_deletes(box, [one.id for one in picked])
                await self._find_out(box, may_go, {one.id for one in picked})
            case "sweep":
                may_go = {one.id for one in box.letters.values() if self._may_go(box, one)}
                others = [one for one in self.model.at_home(box.home) if one is not box and not one.shredded]
                await self.actors.sweep(box.home)
                for other in others:
                    self.model.clear(other, list(other.letters.values()))
                await self._find_out(box, may_go, set())

    async def _see_where_it_is(self, box: Box, to: RegionCode) -> None:
        """A mover that died may have come past the flip, or not."""
        home = (await self.actors.directory().home_now(box.address)).home.code
        if home != box.home:
            assert home == to
            self.model.move(box, to)

    # What must hold.

    @invariant()
    def store_and_model_agree(self) -> None:
        if hasattr(self, "actors"):
            self.runner.run(self._agree())

    async def _agree(self) -> None:
        for code in CODES:
            await self._agree_on_what_is_there(code)
        for box in self.model.boxes:
            if not box.erased and not box.shredded:
                assert (await self.actors.directory().home_now(box.address)).home.code == box.home
                expected = {one.id: one.content for one in box.letters.values() if not one.hidden}
                assert await self.actors.sees(box) == expected
                await self._agree_on_what_is_held(box)

    async def _agree_on_what_is_there(self, code: RegionCode) -> None:
        there: dict[str, dict[str, list[str]]] = {}
        kept: list[str] = []  # of where accounts have lived
        async for version in self.it.sites[code].register.versions.list(""):
            folder, _, rest = version.key.partition("/")
            if folder in ACCOUNT_FOLDERS:
                account, _, name = rest.partition("/")
                there.setdefault(account, {}).setdefault(folder, []).append(name)
            elif folder in ("recordkeys", "lived"):
                kept.append(rest.removesuffix(".json"))
        for box in self.model.boxes:
            assert not (box.erased and str(box.account) in kept)
            found = there.pop(str(box.account), {})
            found.pop("deleting", None)  # the word of deleters that died
            if box.home != code or box.erased:
                assert found == {}, f"{box.address} is at home in {box.home}, erased: {box.erased}"
                continue
            # A list: each of them in one version.
            assert found.get("mail", []) == sorted(map(str, box.letters))
            hidden = sorted(str(one.id) for one in box.letters.values() if one.hidden)
            tombstones = found.get(TOMBSTONES.rstrip("/"), [])
            assert tombstones == hidden or (box in self.torn and set(hidden) <= set(tombstones))
        assert there == {}

    async def _agree_on_what_is_held(self, box: Box) -> None:
        site = self.actors.site(box.home)
        holds = await site.register.on(box.account)
        mailbox = await mailbox_of(site.store, box.account)
        opener = Opener(site.store, box.account)
        for letter in (None, *box.letters.values()):
            traffic = await opener.traffic(letter.id) if letter else None
            item = Item(letter.received if letter else None, traffic)
            by = {hold.id for hold in forbidding(holds, mailbox, item, self.model.now)}
            assert by == self.model.forbidding(box, letter)

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()

    # How.

    async def _dies(self, work: Coroutine[None, None, object], death: Fate | None) -> bool:
        """Whether whoever does this dies at it. It is done again by somebody else, come what may."""
        if death is None:
            work.close()
            return False
        with suppress(StorageError):  # refused: so will the next one be, where it is looked at
            return isinstance(await self.actors.dying(work, *death), Death)
        return False

    def _may_go(self, box: Box, letter: Letter) -> bool:
        return self.model.is_due(box, letter) and not self.model.forbidding(box, letter)

    async def _find_out(self, box: Box, may_go: set[MessageId], may_hide: set[MessageId]) -> None:
        """After a death: of what was to be done, some has been done, and nothing else has."""
        self.torn.add(box)
        versions = self.it.sites[box.home].register.versions
        mail = [one.key.rpartition("/")[2] async for one in versions.list(f"mail/{box.account}/")]
        there = set(map(MessageId.parse, mail))
        assert set(box.letters) - may_go <= there <= set(box.letters)
        stones = [one.key.rpartition("/")[2] async for one in versions.list(f"{TOMBSTONES}{box.account}/")]
        hidden = set(map(MessageId.parse, stones)) & there
        for gone in set(box.letters) - there:
            del box.letters[gone]
        for letter in box.letters.values():
            assert letter.id in may_hide or letter.hidden == (letter.id in hidden)
            letter.hidden = letter.id in hidden
        box.shredded = not await versions.of(Keyholder(box.home, box.account).key)

    def _open_hold(self, which: int) -> Custody | None:
        holds = [hold for hold in self.model.holds if hold.is_open(self.model.now)]
        return holds[which % len(holds)] if holds else None


def _picked(box: Box, picks: set[int]) -> list[Letter]:
    letters = sorted(box.letters.values(), key=lambda letter: letter.id)
    return [letters[one] for one in sorted({pick % len(letters) for pick in picks})] if letters else []


@pytest.mark.timeout(900 if EXAMPLES == 0 else 100_000)
def test_the_store_does_what_the_model_says(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = tmp_path_factory.mktemp("keys")

    def settle(kind: EngineKind, region: Region) -> RegionSettings:
        return settings_on(engines.of(kind, region), region, keys)

    run_state_machine_as_test(
        type("HoldsHere", (Holds,), {"settle": staticmethod(settle)}),
        settings=settings(
            max_examples=EXAMPLES or 4,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=EXAMPLES == 0,
            database=None,
            # No shrinking: it would run a failure, which takes seconds, hundreds of times.
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
