"""Everybody who does something to a mailbox, each as a process of its own, started just now.

Registers, directories and memories are fresh for every deed, so that two deeds have nothing in common
but the buckets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from policy.address import Address
from policy.clearance import Clearance, Role
from policy.geography import RegionCode
from policy.hold import Hold, HoldId
from policy.retention import Reach, Retention, RetentionRule, parse_label, with_rule
from storage.coverage import Coverer, Proof
from storage.deletion import Outcome
from storage.directory import Directory
from storage.erasure import SETTLE, Erasure
from storage.exporting import Exported, owners_mail
from storage.holds import HoldRegister, Terms
from storage.identity import AccountId, MessageId
from storage.intents import LEASE
from storage.keeping import HoldKeeper
from storage.labels import put_label
from storage.located import Located
from storage.mailbox import append
from storage.mailboxes import mailbox_of
from storage.owners_delete import delete_for_owner
from storage.placing import place_on_address, scoped
from storage.relocation import Relocation, Site
from storage.retention import Sweeper, SweepReport, change_rules
from storage.traffic import Envelope
from storage.unheld import refuse_if_held
from storage.vault import Vault
from tests.audit.logs import SIGNER
from tests.faults import Moment
from tests.holds.dying import Death, dying
from tests.holds.model import Box, Letter, Model, Rule
from tests.holds.movers import REASON, Border
from tests.holds.people import cleared
from tests.holds.ward import PSEUDONYMS
from tests.storage.grounds import DIRECTORY_KEY, REGISTRAR

_T = TypeVar("_T")

LONGER_THAN_ANY_CLAIM: Final = timedelta(minutes=3)
_WAITED_LONG: Final = 0.4  # seconds: from then on somebody waits for time to pass


def custodian(name: str, region: RegionCode) -> Clearance:
    return cleared(name, Role.CUSTODIAN, region)


@dataclass
class Actors:
    """The deeds. `model` is where the time is."""

    it: Border
    model: Model
    ingress: Directory
    """An ingress process, which remembers for a while what it was told."""

    def directory(self) -> Directory:
        return Directory(self.it.world.ground, DIRECTORY_KEY, REGISTRAR, REGISTRAR)

    def site(self, code: RegionCode) -> Site:
        site = self.it.sites[code]
        register = HoldRegister(
            Vault(site.store), site.register.versions, self.it.ledgers[code], PSEUDONYMS, lambda: self.it.now
        )
        return Site(site.store, register)

    def passes(self, time: timedelta) -> None:
        """Time passes, for everybody."""
        self.model.now += time
        self.it.now = self.model.now
        self.ingress.forget()

    async def deliver(self, box: Box, age: timedelta, sender: str, label: str | None) -> Letter:
        """Through the directory, as the post does; the label is put on by the owner's program."""
        located = await self.ingress.locate(box.address)
        store = self.it.world.ground.home(located)
        self.it.delivered += 1
        at = self.model.now - age - timedelta(hours=12, seconds=self.it.delivered)
        content = f"From: {sender}\r\nTo: {box.address}\r\n\r\n{self.it.delivered}\r\n".encode()
        wrapped = Envelope(sender, str(box.address), "192.0.2.1", "mx", at, "ESMTP")
        message = await append(store, located, wrapped, content)
        if label is not None:
            await put_label(Vault(store), box.account, message, parse_label(label))
        return Letter(message, message.received_at, sender, content, label)

    async def owner_deletes(self, box: Box, letters: list[MessageId]) -> Outcome:
        site = self.site(box.home)
        return await delete_for_owner(site.store, site.register, box.account, letters)

    async def set_rule(self, region: RegionCode, rule: Rule) -> None:
        def days(count: int | None) -> timedelta | None:
            return None if count is None else timedelta(days=count)

        wanted = RetentionRule(
            Reach(rule.reach), rule.name, days(rule.delete_after), days(rule.keep_at_least)
        )

        def with_it(before: Retention) -> Retention:
            return with_rule(before, wanted)

        await change_rules(self.site(region).register, with_it)

    async def sweep(self, region: RegionCode) -> SweepReport:
        site = self.site(region)
        return await Sweeper(site.store, site.register).sweep(every=timedelta(0))

    async def close(self, box: Box) -> None:
        site = self.site(box.home)
        mailbox = await mailbox_of(site.store, box.account)
        proof = await refuse_if_held(site.register, mailbox, "closure", "ada")
        await self.directory().close(box.address, proof)
        self.ingress.forget()

    async def erase(self, box: Box) -> None:
        site = self.site(box.home)

        async def register_of(code: RegionCode) -> HoldRegister:
            return self.site(code).register

        await Erasure(site.store, site.register, SIGNER, register_of, settle=0).erase(box.account, "ada")

    async def move(self, box: Box, to: RegionCode) -> None:
        sites = {code: self.site(code) for code in self.it.sites}

        async def site(code: RegionCode) -> Site:
            return sites[code]

        async def is_open(_: Located) -> bool:
            return box.disclosure_open

        relocation = Relocation(self.directory(), list(sites), site, is_open, settle=0)
        try:
            await relocation.move(box.address, to, REASON, "ada")
        finally:
            self.ingress.forget()  # what `settle` waits for

    async def place(self, region: RegionCode, terms: Terms, reference: HoldId) -> Hold:
        """On a domain or a matter."""
        register = self.site(region).register
        return await self._while_time_passes(
            register.place(terms, custodian("nora", region), reference=reference)
        )

    async def place_on(self, address: Address, terms: Terms, reference: HoldId) -> Hold:
        registers = {code: self.site(code).register for code in self.it.sites}
        return await self._while_time_passes(
            place_on_address(
                self.directory(),
                address,
                scoped(terms),
                registers.__getitem__,
                lambda code: custodian("nora", code),
                reference=reference,
            )
        )

    async def enrol(self, region: RegionCode, hold: HoldId, account: AccountId) -> Hold:
        register = self.site(region).register
        return await self._while_time_passes(register.enrol(hold, custodian("nora", region), account))

    async def keep(self, region: RegionCode) -> None:
        """Twice, since an ingress process may not have noticed at the first time."""
        for _ in range(2):
            site = self.site(region)
            await HoldKeeper(site.store, site.register, self.directory()).keep()
            self.passes(timedelta(seconds=SETTLE + 1))

    async def prove(self, region: RegionCode, hold: HoldId) -> Proof:
        site = self.site(region)
        return await Coverer(site.store, site.register).prove(hold)

    async def sees(self, box: Box) -> dict[MessageId, bytes]:
        """What its owner sees of a mailbox."""
        located = await self.directory().home_now(box.address)
        found = {}
        async for one in owners_mail(self.it.sites[located.home.code].store, located):
            assert isinstance(one, Exported), one
            found[one.message] = one.content
        return found

    async def dying(
        self, work: Coroutine[Any, Any, _T], region: RegionCode, nth: int, moment: Moment
    ) -> _T | Death:
        """The process dies at its nth write in a region, if it gets so far."""
        try:
            return await dying(work, self.it.sites[region].store.mail.name, nth, moment)
        finally:
            self.ingress.forget()

    async def _while_time_passes(self, work: Coroutine[Any, Any, _T]) -> _T:
        """A hold waits for deleters that died until their word has lapsed."""
        task = asyncio.create_task(work)
        while not (await asyncio.wait({task}, timeout=_WAITED_LONG))[0]:
            self.passes(LEASE)
        return task.result()
