"""The story of a release: from an approved permit to a package that lies ready.

    1. The release is committed to the log: only now does a RecordedPermit exist, and only with it
       does anything read the mailbox.
    2. The parts are read, encrypted and put; the manifest is kept; the completion is logged.
    3. The disclosure moves to Disclosed, or to DisclosureNotAvailable where nothing matched.

If we crash before 1, nothing was read; after it, parts may lie in the bucket that no manifest names,
and nobody can ask for them. Either way the disclosure is AwaitingDisclosure, and `resume` begins
anew: the order verified and decided again, the approver's clearance as it is by then. What was
Disclosed is never made again, since the state that could make it is gone.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, final

import structlog
from aiohttp import web

from gateway.disclosure.approval import NotPermitted, Ready, permitted
from gateway.disclosure.desk import Desk
from gateway.disclosure.docket import Docket, Filed
from gateway.disclosure.filing import decision_digest
from gateway.disclosure.lifecycle import AwaitingDisclosure, DisclosureId
from gateway.disclosure.lifecycle import Entry as Place
from gateway.disclosure.office import Chamber
from gateway.disclosure.package import Built, Commission, build, folder
from policy.clearance import NotCleared, Role, clear
from policy.order import DataCategory
from storage.audit.entry import Entry, Event, Result
from storage.audit.recorded import record_release
from storage.disclosure_reader import DisclosureReader
from storage.errors import Conflict, NotFound
from storage.operators import person

_log: Final = structlog.get_logger("situs.disclosure")


@final
class Releases:
    """The packages being made in this process, one task each. `close` waits for none and leaves none."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._tasks: Final[dict[DisclosureId, asyncio.Task[Filed]]] = {}

    def start(self, chamber: Chamber, waiting: Filed, ready: Ready) -> asyncio.Task[Filed]:
        """Make the package of a disclosure that has just been approved, unless that is under way."""
        disclosure = waiting.disclosure.case.id
        running = self._tasks.get(disclosure)
        if running is None:
            running = asyncio.create_task(self._make(chamber, waiting, ready), name=f"release {disclosure}")
            running.add_done_callback(lambda task: self._ended(disclosure, task))
            self._tasks[disclosure] = running
        return running

    async def result(self, task: asyncio.Task[Filed], waiting: Filed, wait: timedelta) -> Filed:
        """How the disclosure stands once its package is made, or after `wait` at the latest.

        A failure is not the approver's: the approval stands, and `resume` will try again.
        """
        done, _ = await asyncio.wait({task}, timeout=wait.total_seconds())
        return task.result() if done and not task.cancelled() and task.exception() is None else waiting

    async def follow(self, chamber: Chamber, waiting: Filed, ready: Ready | None, wait: timedelta) -> Filed:
        """How the disclosure stands after its approval: still waiting, where the law says so."""
        if ready is None:
            return waiting
        return await self.result(self.start(chamber, waiting, ready), waiting, wait)

    async def resume(self, chamber: Chamber, docket: Docket, filed: Filed, state: AwaitingDisclosure) -> None:
        """Go on with an approved disclosure, unless its package is being made here. Raises StorageError.

        Nothing is taken from the approval but that there was one: order, law and clearance are
        asked again. What they make wait goes on waiting.
        """
        if state.case.id in self._tasks:
            return
        now = self._desk.office.clock()
        try:
            record = await self._desk.operators[chamber.region.code].get(state.approved.token)
            if not record.in_force(now):
                raise NotCleared("the approver's token is not in force any more")
            approver = clear(record.operator(chamber.region.code), Role.APPROVER, chamber.region.code)
            ready = await permitted(self._desk.office, chamber, state, approver, now)
        except (NotFound, NotCleared) as error:
            await self._cancel(chamber, docket, filed, state, str(error), ("clearance",))
        except NotPermitted as error:
            if error.waits is None:
                await self._cancel(chamber, docket, filed, state, error.reason, error.findings)
        else:
            self.start(chamber, filed, ready)

    def making(self, disclosure: DisclosureId) -> bool:
        """Whether its package is being made in this process."""
        return disclosure in self._tasks

    async def close(self) -> None:
        """Stop what is under way; the next process resumes it."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, disclosure: DisclosureId, task: asyncio.Task[Filed]) -> None:
        del self._tasks[disclosure]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("release failed, will be resumed", disclosure=str(disclosure), error=repr(error))

    async def _cancel(
        self,
        chamber: Chamber,
        docket: Docket,
        filed: Filed,
        state: AwaitingDisclosure,
        reason: str,
        findings: tuple[str, ...],
    ) -> None:
        entry = self._entry(chamber, state, Event.DISCLOSURE_CANCELLED, Result.REFUSE, findings=findings)
        await chamber.log.append(entry)
        self._desk.metrics.committed(entry)
        try:
            await docket.move(filed, state.cancel(reason, self._desk.office.clock()))
        except Conflict:
            _log.info("already decided by another process", disclosure=str(state.case.id))

    async def _make(self, chamber: Chamber, waiting: Filed, ready: Ready) -> Filed:
        state = waiting.disclosure
        if not isinstance(state, AwaitingDisclosure):
            raise TypeError(f"{state.status} is nothing to release")
        permit = ready.approved.permit
        entry = self._entry(chamber, state, Event.DISCLOSURE_RELEASED, Result.PERMIT, permit.categories)
        recorded = await record_release(chamber.log, ready.approved, entry)
        self._desk.metrics.committed(entry)
        release = Place(recorded.committed.region, recorded.committed.index)
        reader = await DisclosureReader.open(self._desk.office.directory, recorded)
        commission = self._commission(state, ready, release)
        built = await build(commission, reader, chamber.store.mail, chamber.log)
        return await self._complete(chamber, waiting, state, built, commission, release)

    def _commission(self, state: AwaitingDisclosure, ready: Ready, release: Place) -> Commission:
        permit, office = ready.approved.permit, self._desk.office
        now, told = office.clock(), permit.assessment.to_json()
        return Commission(
            case=state.case,
            approved=state.approved,
            decision=told,
            decision_digest=decision_digest(told),
            categories=permit.categories,
            timespan=permit.timespan,
            recipient=ready.recipient,
            release=release.index,
            now=now,
            expires=now + office.terms.package_lifetime,
            part_size=office.terms.part_size,
        )

    async def _complete(
        self,
        chamber: Chamber,
        waiting: Filed,
        state: AwaitingDisclosure,
        built: Built,
        commission: Commission,
        release: Place,
    ) -> Filed:
        """Keep the manifest, log the completion, move on. The move decides between two processes."""
        place = folder(state.case.id, release.index)
        await chamber.vault.put_if_absent(f"{place}/manifest.json", built.manifest)
        outcome = Result.NO_DATA if not built.found else Result.FULL if built.complete else Result.PART
        entry = self._entry(
            chamber, state, Event.DISCLOSURE_COMPLETED, outcome, commission.categories, subject=built.digest
        )
        await chamber.log.append(entry)
        self._desk.metrics.committed(entry)
        end = state.disclose if built.found else state.find_nothing
        ended = end(release, built.digest, commission.now, commission.expires)
        docket = self._desk.dockets[chamber.region.code]
        try:
            return await docket.move(waiting, ended)
        except Conflict:  # another process was faster: its package is the one that can be fetched
            return await docket.get(state.case.id)

    def _entry(
        self,
        chamber: Chamber,
        state: AwaitingDisclosure,
        event: Event,
        outcome: Result,
        categories: frozenset[DataCategory] = frozenset(),
        findings: tuple[str, ...] = (),
        subject: str | None = None,
    ) -> Entry:
        case = state.case
        return Entry(
            time=self._desk.office.clock(),
            event=event,
            region=chamber.region.code,
            outcome=outcome,
            instrument=case.instrument,
            issuer=case.issuer,
            categories=categories,
            findings=findings,
            lawbook=self._desk.office.lawbook.digest,
            operator=chamber.pseudonyms.operator(person(state.approved.by)),
            account=chamber.pseudonyms.account(case.account),
            disclosure=str(case.id),
            subject=subject,
        )


RELEASES: Final = web.AppKey("releases", Releases)
