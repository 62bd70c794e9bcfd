"""What time does to disclosures while nobody asks: resume, expire, preserve, sweep, warn.

One round looks at every disclosure of the regions served, most of them from memory (`Docket.all`).
Any number of processes may keep house at once: each step ends in a compare-and-swap, so that what
two of them began one of them ends; the log may then tell of both.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from functools import partial
from typing import Final, final

import structlog
from aiohttp import web

from gateway.disclosure.desk import Desk
from gateway.disclosure.docket import Docket, Filed
from gateway.disclosure.lifecycle import (
    AwaitingApproval,
    AwaitingDisclosure,
    AwaitingPreservation,
    Cancelled,
    Case,
    Disclosed,
    DisclosureId,
    DisclosureNotAvailable,
    Expired,
    PreservationNotAvailable,
)
from gateway.disclosure.metrics import Metrics
from gateway.disclosure.office import Chamber
from gateway.disclosure.preservation import NOT_HELD, hold_terms, preserve
from gateway.disclosure.release import Releases
from gateway.disclosure.validating import Owing, is_missed
from policy.assessment import FindingCode
from policy.clearance import NotCleared, Role, clear
from policy.decision import Circumstances, Preserve, decide
from policy.verification import Unverified, read_order, verify_order
from storage.audit.entry import Entry, Event, Result
from storage.bookkeeping import discard_packages
from storage.errors import Conflict, NotFound, StorageError, UnknownAddress

_log: Final = structlog.get_logger("situs.disclosure")
_EVERY: Final = 30.0  # seconds
_OPEN = (AwaitingApproval, AwaitingDisclosure, AwaitingPreservation)


@final
class Housekeeping:
    """Runs rounds until it is cancelled; `hurry` begins the next one now."""

    def __init__(self, desk: Desk, releases: Releases, metrics: Metrics) -> None:
        self._desk: Final = desk
        self._releases: Final = releases
        self._metrics: Final = metrics
        self._hurry: Final = asyncio.Event()
        self._swept: Final[set[DisclosureId]] = set()
        self._warned: Final[set[tuple[DisclosureId, str]]] = set()

    def hurry(self) -> None:
        self._hurry.set()

    async def run(self) -> None:
        while True:
            self._hurry.clear()
            for chamber in self._desk.office.chambers.values():
                try:
                    await self.round(chamber)
                except StorageError as error:
                    # The region is down, or its log: everything here can wait for the next round.
                    _log.warning("housekeeping put off", region=str(chamber.region.code), reason=str(error))
                except Exception:
                    # A fault of ours in one region must not end the rounds of all.
                    _log.exception("housekeeping failed", region=str(chamber.region.code))
            try:
                async with asyncio.timeout(_EVERY):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def round(self, chamber: Chamber) -> None:
        """One look at everything in one region. Raises StorageError."""
        docket, now = self._desk.dockets[chamber.region.code], self._desk.office.clock()
        counts: Counter[str] = Counter()
        clocks: Counter[str] = Counter()
        ended: set[DisclosureId] = set()
        async for filed in docket.all():
            state = filed.disclosure
            counts[state.status] += 1
            if isinstance(state, Owing) and await is_missed(chamber.vault, state.case, now):
                await self._withdraw(chamber, docket, filed, state)
                continue
            match state:
                case AwaitingApproval() if now >= state.case.lapses:
                    await self._expire(chamber, docket, filed, state)
                case AwaitingDisclosure():
                    await self._releases.resume(chamber, docket, filed, state)
                case AwaitingPreservation():
                    await self._preserve(chamber, docket, filed, state)
                case Disclosed() | DisclosureNotAvailable() if now >= state.package_expires:
                    ended.add(state.case.id)
                case Disclosed() | DisclosureNotAvailable():
                    await self._releases.look_after(chamber, state)
                case Cancelled():
                    ended.add(state.case.id)  # what was prepared before it was called off
                case _:
                    pass
            if isinstance(state, _OPEN) and (clock := self._clock(state.case, now)):
                clocks[clock] += 1
        self._metrics.disclosures(chamber.region.code, counts, clocks)
        await self._sweep(chamber, ended)

    def _clock(self, case: Case, now: datetime) -> str | None:
        """Whether the deadline is near or past; said in the log once each."""
        if case.due is None or case.due - now > self._desk.office.terms.nearly_due:
            return None
        word = "overdue" if now >= case.due else "nearly due"
        if (case.id, word) not in self._warned:
            self._warned.add((case.id, word))
            _log.warning(word, disclosure=str(case.id), region=str(case.region), due=case.due.isoformat())
        return word

    async def _withdraw(self, chamber: Chamber, docket: Docket, filed: Filed, state: Owing) -> None:
        """Reg. (EU) 2023/1543 Art. 4(5): not validated in time. The package goes with the sweep that
        follows the state; the hold was placed until now, and lapses by itself."""
        now = self._desk.office.clock()
        await self._record(chamber, state.case, Event.DISCLOSURE_CANCELLED, now, FindingCode.VALIDATION.value)
        await _settled(docket, filed, state.withdraw("the emergency's validation did not come in time", now))
        self.hurry()

    async def _expire(self, chamber: Chamber, docket: Docket, filed: Filed, state: AwaitingApproval) -> None:
        now = self._desk.office.clock()
        await self._record(chamber, state.case, Event.DISCLOSURE_EXPIRED, now)
        await _settled(docket, filed, state.expire(now))

    async def _record(self, chamber: Chamber, case: Case, event: Event, now: datetime, *failed: str) -> None:
        entry = Entry(
            time=now,
            event=event,
            region=chamber.region.code,
            outcome=Result.REFUSE if failed else None,
            instrument=case.instrument,
            issuer=case.issuer,
            findings=failed,
            account=chamber.pseudonyms.account(case.account),
            disclosure=str(case.id),
        )
        await chamber.log.append(entry)
        self._metrics.committed(entry)

    async def _preserve(
        self, chamber: Chamber, docket: Docket, filed: Filed, state: AwaitingPreservation
    ) -> None:
        """Place the hold that an earlier process did not come to place, if the order still says so."""
        office, case, now = self._desk.office, state.case, self._desk.office.clock()
        give_up = partial(self._record, chamber, case, Event.DISCLOSURE_CANCELLED, now, *NOT_HELD)
        try:
            verified = verify_order(read_order(case.order), office.trust(), now)
            located = await office.directory.find(verified.order.target)
            record = await self._desk.operators[chamber.region.code].get(case.asked.token)
            by = clear(record.operator(chamber.region.code), Role.INTAKE, chamber.region.code)
        except (Unverified, UnknownAddress, NotFound, NotCleared) as error:
            await give_up()
            await _settled(docket, filed, state.fail(str(error), now))
            return
        decision = decide(
            verified,
            frozenset(case.requested),
            office.setting(chamber.region),
            office.lawbook,
            now,
            Circumstances(received_at=case.asked.at),
        )
        if located.home != chamber.region or not isinstance(decision, Preserve):
            await give_up()
            await _settled(docket, filed, state.fail("the order does not preserve any more", now))
            return
        register = self._desk.holds(chamber.region.code)
        await preserve(register, docket, filed, hold_terms(decision, located.account), by, now, give_up)

    async def _sweep(self, chamber: Chamber, ended: set[DisclosureId]) -> None:
        """Remove the files of packages that have expired, for good: the bucket keeps no version of them.

        What is listed is what there still is; what this process has found gone it does not ask for again.
        """
        # What is still being made here goes when that has ended.
        if fresh := {each for each in ended - self._swept if not self._releases.making(each)}:
            versions = self._desk.holds(chamber.region.code).versions
            await discard_packages(versions, frozenset(map(str, fresh)))
            self._swept.update(fresh)


HOUSE: Final = web.AppKey("housekeeping", Housekeeping)


async def _settled(docket: Docket, filed: Filed, to: Cancelled | Expired | PreservationNotAvailable) -> None:
    try:
        await docket.move(filed, to)
    except Conflict:
        _log.info("another process was faster", disclosure=str(to.case.id))
