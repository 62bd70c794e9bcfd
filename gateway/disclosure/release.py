"""The story of a release: from an approved permit to a package that lies ready.

    1. Somebody takes up the making of the package (`making`), and he alone is at it.
    2. The release is committed to the log: only now does a RecordedPermit exist, and only with it
       does anything read the mailbox. One release is one entry, whoever goes on with it.
    3. The parts are read, encrypted and put, step by step; the manifest is kept; the completion is logged.
    4. The disclosure moves to Disclosed, or to DisclosureNotAvailable where nothing matched, and what
       the manifest does not name is removed.

If we crash between two of them, or half way in one, the disclosure is AwaitingDisclosure. `resume` looks at
it in each round, and once its maker is taken for dead goes on behind the last step that stands: under the
same entry of the log, which tells of the resumption too; after the order was verified and decided again,
and the approver's clearance asked for as it is by then. If we crash in 4, the next round removes what nothing
names. What was Disclosed is never made again, since the state that could make it is gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from typing import Any, Final, final

import structlog
from aiohttp import web

from gateway.disclosure.approval import NotPermitted, Ready, permitted
from gateway.disclosure.desk import Desk
from gateway.disclosure.docket import Docket, Filed
from gateway.disclosure.filing import decision_digest
from gateway.disclosure.lifecycle import AwaitingDisclosure, Disclosed, DisclosureId, DisclosureNotAvailable
from gateway.disclosure.lifecycle import Entry as Place
from gateway.disclosure.making import Making, Overtaken, is_left, manifest_key, part_key
from gateway.disclosure.models import Manifest
from gateway.disclosure.office import Chamber
from gateway.disclosure.package import Built, Commission, build, terms_digest
from policy.clearance import NotCleared, Role, clear
from policy.order import DataCategory
from storage.audit.entry import Entry, Event, Result
from storage.audit.log import AuditLog
from storage.audit.recorded import RecordedPermit, record_release, recorded_release
from storage.bookkeeping import discard_from_package
from storage.disclosure_reader import DisclosureReader
from storage.errors import AlreadyExists, Conflict, NotFound, StorageError
from storage.operators import person

Packaged = Disclosed | DisclosureNotAvailable
_ENTRIES_AT_ONCE: Final = 256
_log: Final = structlog.get_logger("situs.disclosure")


@final
class Releases:
    """The packages being made in this process, one task each. `close` waits for none and leaves none."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._tasks: Final[dict[DisclosureId, asyncio.Task[Filed]]] = {}
        self._tidying: Final[set[asyncio.Task[None]]] = set()
        self._tidied: Final[set[DisclosureId]] = set()

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

    async def idle(self) -> None:
        """Until nothing is being made here any more, and all of it tidied up; whatever came of it."""
        while pending := (*self._tasks.values(), *self._tidying):
            await asyncio.wait(pending)

    async def close(self) -> None:
        """Stop what is under way; the next process resumes it."""
        tasks: tuple[asyncio.Task[Any], ...] = (*self._tasks.values(), *self._tidying)
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
        await self._commit(chamber, entry)
        try:
            await docket.move(filed, state.cancel(reason, self._desk.office.clock()))
        except Conflict:
            _log.info("already decided by another process", disclosure=str(state.case.id))

    async def _make(self, chamber: Chamber, waiting: Filed, ready: Ready) -> Filed:
        state = waiting.disclosure
        if not isinstance(state, AwaitingDisclosure):
            raise TypeError(f"{state.status} is nothing to release")
        making = await Making.take_up(
            chamber.vault,
            state.case.id,
            self._terms(ready),
            state.approved.entry.index,
            self._desk.office.clock,
        )
        if making is None:
            return waiting  # another process is at it
        try:
            async with making.alive():
                recorded = await self._recorded(chamber, making, state, ready)
                reader = await DisclosureReader.open(self._desk.office.directory, recorded)
                commission = self._commission(state, ready, recorded.committed.index, making)
                built = await build(commission, making, reader, chamber.store.mail, chamber.log)
                filed = await self._complete(chamber, waiting, state, built, commission)
        except Overtaken:
            _log.info("another process makes the package now", disclosure=str(state.case.id))
            return await self._desk.dockets[chamber.region.code].get(state.case.id)
        if isinstance(filed.disclosure, Packaged):
            self._tidy_up(chamber, filed.disclosure)
        return filed

    async def _recorded(
        self, chamber: Chamber, making: Making, state: AwaitingDisclosure, ready: Ready
    ) -> RecordedPermit:
        """The release in the log: committed now, or found where an earlier maker has committed it."""
        entry = self._entry(
            chamber, state, Event.DISCLOSURE_RELEASED, Result.PERMIT, ready.approved.permit.categories
        )
        standing = making.release
        if not making.is_fresh:
            # Committed before the log is searched, it stands behind whatever this process had left to commit.
            await self._commit(chamber, self._entry(chamber, state, Event.DISCLOSURE_RESUMED, Result.PERMIT))
            if standing is None:
                # Its maker may have died between the commit and saying where it stands.
                standing = await _find(chamber.log, making.since, Event.DISCLOSURE_RELEASED, state.case.id)
        if standing is None:
            recorded = await record_release(chamber.log, ready.approved, entry)
            self._desk.metrics.committed(entry)
        else:
            recorded = await recorded_release(chamber.log, ready.approved, entry, standing)
        if making.release is None:
            await making.entrust(recorded.committed.index)
        return recorded

    def _terms(self, ready: Ready) -> str:
        permit = ready.approved.permit
        return terms_digest(
            permit.verified.digest,
            decision_digest(permit.assessment.to_json()),
            permit.categories,
            permit.timespan,
            ready.recipient,
            self._desk.office.terms.part_size,
        )

    def _commission(
        self, state: AwaitingDisclosure, ready: Ready, release: int, making: Making
    ) -> Commission:
        permit, office = ready.approved.permit, self._desk.office
        told = permit.assessment.to_json()
        return Commission(
            case=state.case,
            approved=state.approved,
            order=permit.verified.raw.decode(),
            order_digest=permit.verified.digest,
            decision=told,
            decision_digest=decision_digest(told),
            categories=permit.categories,
            timespan=permit.timespan,
            recipient=ready.recipient,
            release=release,
            began=making.began,
            expires=office.clock() + office.terms.package_lifetime,
            part_size=office.terms.part_size,
        )

    async def _complete(
        self,
        chamber: Chamber,
        waiting: Filed,
        state: AwaitingDisclosure,
        built: Built,
        commission: Commission,
    ) -> Filed:
        """Keep the manifest, log the completion, move on. The move decides between two processes."""
        key = manifest_key(state.case.id, commission.release)
        manifest, expires, told = built.manifest, commission.expires, False
        try:
            await chamber.vault.put_if_absent(key, manifest)
        except AlreadyExists:  # an earlier maker came as far as this
            manifest = (await chamber.vault.get(key)).body
            expires = Manifest.model_validate_json(manifest).expires
            told = (
                await _find(chamber.log, commission.release, Event.DISCLOSURE_COMPLETED, state.case.id)
                is not None
            )
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        if not told:
            outcome = Result.NO_DATA if not built.found else Result.FULL if built.complete else Result.PART
            entry = self._entry(
                chamber, state, Event.DISCLOSURE_COMPLETED, outcome, commission.categories, subject=digest
            )
            await self._commit(chamber, entry)
        end = state.disclose if built.found else state.find_nothing
        release = Place(chamber.region.code, commission.release)
        ended = end(release, digest, self._desk.office.clock(), expires)
        docket = self._desk.dockets[chamber.region.code]
        try:
            return await docket.move(waiting, ended)
        except Conflict:  # called off meanwhile, or answered for; what is still to be done, a round does
            return await docket.get(state.case.id)

    async def look_after(self, chamber: Chamber, packaged: Packaged) -> None:
        """Tidy up a package whose maker died before that. Asks once for each package. Raises StorageError."""
        disclosure = packaged.case.id
        if disclosure not in self._tasks and disclosure not in self._tidied:
            if await is_left(chamber.vault, disclosure):
                self._tidy_up(chamber, packaged)
            self._tidied.add(disclosure)

    def _tidy_up(self, chamber: Chamber, packaged: Packaged) -> None:
        """Remove what the making left and the manifest does not name. The approver does not wait for it."""
        self._tidied.add(packaged.case.id)
        task = asyncio.create_task(self._tidy(chamber, packaged))
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)

    async def _tidy(self, chamber: Chamber, packaged: Packaged) -> None:
        disclosure, release = packaged.case.id, packaged.release.index
        manifest = manifest_key(disclosure, release)
        try:
            parts = json.loads((await chamber.vault.get(manifest)).body)["parts"]
            named = {part_key(disclosure, release, part["encrypted_sha256"]) for part in parts}
            versions = self._desk.holds(chamber.region.code).versions
            await discard_from_package(versions, str(disclosure), named | {manifest})
        except StorageError as error:  # what is left goes with the package when it expires
            _log.warning("package not tidied up", disclosure=str(disclosure), reason=str(error))

    async def _commit(self, chamber: Chamber, entry: Entry) -> None:
        await chamber.log.append(entry)
        self._desk.metrics.committed(entry)

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


async def _find(log: AuditLog, since: int, event: Event, disclosure: DisclosureId) -> int | None:
    """The index of the disclosure's first entry of that kind from `since` on. Raises StorageError."""
    while found := await log.entries(since, _ENTRIES_AT_ONCE):
        for index, entry in enumerate(found, since):
            if entry.event is event and entry.disclosure == str(disclosure):
                return index
        since += len(found)
    return None


RELEASES: Final = web.AppKey("releases", Releases)
