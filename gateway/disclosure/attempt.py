"""One attempt at the gateway: whichever way it ends, it ends in the log before it is answered.

A call is recorded in the seat's log until its caller is cleared for the mailbox's region, and in
that region's log from then on: a log says nothing about a region to people not cleared for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, final

import structlog
from aiohttp import ETag

from gateway.disclosure.authentication import Asker, Authentication, Presented, Unauthenticated
from gateway.disclosure.lifecycle import Deed
from gateway.disclosure.lifecycle import Entry as Place
from gateway.disclosure.metrics import Metrics
from gateway.disclosure.office import Chamber, Office
from gateway.disclosure.problems import AuditReference, Kind, Problem
from policy.address import Address
from policy.geography import Region, RegionCode
from policy.order import DataCategory, Order
from storage.audit.entry import Entry, Event, Result
from storage.audit.log import LogUnavailable
from storage.errors import StorageError
from storage.operators import person

_log: Final = structlog.get_logger("situs.disclosure")

_EVENTS: Final[dict[Kind, Event]] = {
    Kind.UNAUTHENTICATED: Event.ATTEMPT_UNAUTHENTICATED,
    Kind.MALFORMED_REQUEST: Event.ATTEMPT_MALFORMED,
    Kind.INVALID_REQUEST: Event.ATTEMPT_MALFORMED,
    Kind.MALFORMED_ORDER: Event.ATTEMPT_MALFORMED,
    Kind.MEDIA_TYPE: Event.ATTEMPT_MALFORMED,
    Kind.TOO_LARGE: Event.ATTEMPT_MALFORMED,
    Kind.TIMEOUT: Event.ATTEMPT_MALFORMED,
    Kind.IDEMPOTENCY: Event.ATTEMPT_MALFORMED,
    Kind.CLEARANCE: Event.ATTEMPT_NOT_CLEARED,
    Kind.ROLE: Event.ATTEMPT_NOT_CLEARED,
    Kind.CROSS_SITE: Event.ATTEMPT_NOT_CLEARED,
    Kind.SAME_PERSON: Event.ATTEMPT_NOT_CLEARED,
    Kind.OTHER_REGION: Event.ATTEMPT_NOT_CLEARED,
    Kind.REFUSED: Event.ATTEMPT_UNVERIFIED,
    Kind.REPLAY: Event.ATTEMPT_REPLAYED,
}

# What cannot be recorded, and what must not be: a flood of requests is no flood of entries.
_UNRECORDED: Final = frozenset({Kind.AUDIT_UNAVAILABLE, Kind.RATE_LIMITED})


@final
class Attempt:
    """What is known of a call so far. It grows as the call is understood."""

    def __init__(self, office: Office, metrics: Metrics) -> None:
        self.office: Final = office
        self._metrics: Final = metrics
        self._now = office.clock()
        self._chamber = office.chambers[office.seat]
        self._asker: Asker | None = None
        self._facts: dict[str, Any] = {}
        self.expects: tuple[ETag, ...] | None = None  # a change's If-Match

    @property
    def now(self) -> datetime:
        """The moment that decides. UTC."""
        return self._now

    def is_whole(self) -> None:
        """All of the request has come in: this moment decides, and not the one at which it began.

        A body may drip for as long as one is given; an order that lapses meanwhile has lapsed.
        """
        self._now = self.office.clock()

    @property
    def asker(self) -> Asker:
        """Whoever was authenticated. There is none before `authenticate`."""
        if self._asker is None:
            raise RuntimeError("nobody has been authenticated")
        return self._asker

    async def authenticate(
        self, authentication: Authentication, presented: Presented, stranger: Callable[[], None]
    ) -> Asker:
        """Raises Problem 401; the reason is for our own log alone. `stranger` as in `Authentication`."""
        try:
            self._asker = await authentication.authenticate(presented, stranger)
        except Unauthenticated as error:
            _log.info("unauthenticated", reason=error.reason)
            # RFC 6750 3.1; the realm says nothing that the address did not.
            challenge = {"WWW-Authenticate": 'Bearer realm="situs"'}
            raise Problem(Kind.UNAUTHENTICATED, headers=challenge) from None
        return self._asker

    def claims(self, order: Order, requested: frozenset[DataCategory]) -> None:
        """What the order says of itself. Nobody has verified it: the issuer's name is left out."""
        self.learn(
            instrument=order.instrument,
            claimed_jurisdiction=order.issuing_state,
            requested=requested,
            emergency=order.emergency,
        )
        self.concerns(order.target)

    def concerns(self, address: Address) -> None:
        """The mailbox that is asked for, whether or not there is one: by pseudonym."""
        self.learn(account=self._chamber.pseudonyms.address(address))

    def learn(self, **facts: Any) -> None:
        """More of the entry's fields (`storage.audit.entry.Entry`)."""
        self._facts.update(facts)

    def enter(self, chamber: Chamber, account: object | None) -> None:
        """The caller is cleared for this chamber's region: the call belongs into its log."""
        self._chamber = chamber
        self.learn(account=None if account is None else chamber.pseudonyms.account(account))

    def entry(self, event: Event, **facts: Any) -> Entry:
        """The entry that `commit` would append."""
        known = self._facts | facts
        if self._asker is not None:
            known["operator"] = self._chamber.pseudonyms.operator(person(self._asker.name))
        return Entry(time=self._now, event=event, region=self._chamber.region.code, **known)

    async def commit(self, event: Event, **facts: Any) -> Place:
        """Append to the log; returns once the entry is committed. Raises Problem 503 otherwise."""
        try:
            entry = self.entry(event, **facts)
            committed = await self._chamber.log.append(entry)
        except LogUnavailable as error:
            raise self._unlogged(error) from error
        self._metrics.committed(entry)
        return Place(committed.region, committed.index)

    async def looks(self, event: Event, regions: Iterable[RegionCode]) -> None:
        """Commit a look at a list of those regions, in the log of each: it tells nothing of the others."""
        for region in regions:
            self.enter(self.office.chambers[region], None)
            await self.commit(event)

    def deed(self, place: Place) -> Deed:
        """What the asker has just done, as a disclosure keeps it."""
        return Deed(self.asker.name, self.asker.token, self._now, place)

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Whatever problem leaves the block is committed to the log first, and then names its entry."""
        try:
            yield
        except Problem as problem:
            if problem.audit is not None or problem.kind in _UNRECORDED:
                raise
            raise await self._closed(problem) from problem
        except LogUnavailable as error:
            raise self._unlogged(error) from error
        except StorageError as error:
            _log.error("storage failed", error=type(error).__name__, reason=str(error))
            raise await self._closed(Problem(Kind.UNAVAILABLE, headers={"Retry-After": "5"})) from error
        except Exception as error:
            # A fault of ours was an attempt too. The caller learns nothing of it, the operator all.
            _log.exception("fault while answering an attempt")
            raise await self._closed(Problem(Kind.INTERNAL)) from error

    def _unlogged(self, error: LogUnavailable) -> Problem:
        _log.error("audit log unavailable", region=str(self._chamber.region.code), reason=str(error))
        return Problem(Kind.AUDIT_UNAVAILABLE, headers={"Retry-After": "5"})

    async def _closed(self, problem: Problem) -> Problem:
        event = _EVENTS.get(problem.kind, Event.ATTEMPT_FAILED)
        code = problem.members.get("code", problem.kind.code)
        place = await self.commit(event, outcome=Result.REFUSE, findings=(str(code),))
        return problem.audited(reference(place))


def reference(place: Place) -> AuditReference:
    return AuditReference(str(place.region), place.index)


def elsewhere(office: Office, region: Region) -> Problem:
    """The problem that sends a cleared operator to the gateway of the region where the mailbox lies."""
    members: dict[str, Any] = {"region": str(region.code)}
    if gateway := office.gateways.get(region.code):
        members["gateway"] = gateway
    return Problem(Kind.OTHER_REGION, f"{region} is served by its own gateway", members=members)
