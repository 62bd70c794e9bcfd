"""The decision: may this order, by the law of the place where the mailbox is stored, open it?

`assess` answers from words alone and opens nothing. `decide` answers for a verified order and
gives a `Permit`, `Preserve`, `Await` or `Refusal`; a `Permit` can be had nowhere else, and it
is what everything that reads for disclosure asks for. The steps, as numbered in the code:

 1. The order is in force, signed by an authority of its state, by the office that it claims.
 2. The law of the storage state carries it, by one of four ways (`policy.ways`).
 3. Each requested category is carried by itself, or is not (`policy.carriage`).
 4. The enforcing authority has no objection, and its time is over where it has one.
 5. What is owed next, and, for what is refused, what would open the mailbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar, Final, final

from policy.address import Address
from policy.assessment import (
    Assessment,
    Circumstances,
    Conflict,
    Finding,
    Obligation,
    ObligationCode,
    Outcome,
    Setting,
    unconfirmed,
)
from policy.carriage import Carriage, carry, producible
from policy.case import Case, formal_findings, open_case
from policy.geography import Region
from policy.lawbook import Lawbook
from policy.obligations import Notification, incomplete, notify, obligations, remarks
from policy.order import DataCategory, Order, Timespan
from policy.remedies import conflict, remedies
from policy.rules import Deed, Instrument
from policy.signatory import Signatory
from policy.verification import VerifiedOrder
from policy.ways import open_ways

__all__ = [
    "Assessment",
    "Await",
    "Circumstances",
    "Finding",
    "Outcome",
    "Permit",
    "Preserve",
    "Refusal",
    "Setting",
    "Signatory",
    "assess",
    "decide",
]

_UNKNOWN_TO_THE_CASE: Final = Circumstances()


def assess(
    order: Order,
    signatories: Sequence[Signatory],
    requested: frozenset[DataCategory],
    setting: Setting,
    lawbook: Lawbook,
    now: datetime,
    circumstances: Circumstances = _UNKNOWN_TO_THE_CASE,
) -> Assessment:
    """Answer from words alone. Pure: the same arguments give the same assessment.

    `now` is aware UTC. Raises ValueError for circumstances that cannot be (`received_at` after `now`).
    """
    case = open_case(order, signatories, requested, setting, lawbook, now, circumstances)
    findings = formal_findings(case)  # 1
    genuine = all(finding.ok for finding in findings)
    ways, looked_for = open_ways(case)  # 2
    findings += looked_for
    instrument = case.instrument
    if instrument is None or not ways:
        return _refused(case, findings, (), conflict(case) if genuine else None)
    carriage = carry(case, instrument, ways)  # 3
    findings += carriage.findings
    notification = notify(case, instrument, carriage)  # 4
    if notification is not None:
        findings.append(notification.finding)
        carriage.categories -= notification.objected
    if not genuine:
        return _refused(case, findings, (), None)
    return _answered(case, instrument, carriage, notification, findings)  # 5


def _answered(
    case: Case,
    instrument: Instrument,
    carriage: Carriage,
    notification: Notification | None,
    findings: list[Finding],
) -> Assessment:
    """A genuine order that the law of the place knows: what of it is carried, and what is owed."""
    carried = frozenset(carriage.categories)
    missing = case.requested - carried
    reply = incomplete(case, instrument) if missing else None
    if not carried:
        return _refused(case, findings, (reply,) if reply else (), None)
    owed = obligations(case, instrument, carriage, notification)
    findings += remarks(instrument, carriage)
    findings += _unconfirmed(case, instrument, carriage)
    waits = notification is not None and notification.waits_until is not None
    outcome = Outcome.PERMIT
    if instrument.deed is Deed.PRESERVE:
        outcome = Outcome.PRESERVE
    elif waits:
        outcome = Outcome.AWAIT
    return Assessment(
        outcome=outcome,
        categories=carried,
        findings=tuple(findings),
        obligations=(*owed, reply) if reply else tuple(owed),
        conflict=None,
        remedies=remedies(case, missing) if missing else (),
        due=_due(outcome, owed, notification),
        lawbook=case.lawbook.digest,
    )


def _refused(
    case: Case, findings: list[Finding], owed: tuple[Obligation, ...], against: Conflict | None
) -> Assessment:
    return Assessment(
        outcome=Outcome.REFUSE,
        categories=frozenset(),
        findings=tuple(findings),
        obligations=owed,
        conflict=against,
        remedies=remedies(case, case.requested),
        due=None,
        lawbook=case.lawbook.digest,
    )


def _due(outcome: Outcome, owed: list[Obligation], notification: Notification | None) -> datetime | None:
    """The one time to write on the cover: end of the wait, of the preservation, or to produce."""
    if outcome is Outcome.AWAIT and notification is not None:
        return notification.waits_until
    wanted = {ObligationCode.PRODUCTION, ObligationCode.PRESERVATION_ENDS, ObligationCode.DESTROY}
    return next((item.due for item in owed if item.code in wanted), None)


def _unconfirmed(case: Case, instrument: Instrument, carriage: Carriage) -> Iterator[Finding]:
    """One remark for each rule that this decision rests on and that no source confirms."""
    yield from case.lawbook.doubts(instrument)
    for citation in carriage.citations:
        if not citation.confirmed and citation != instrument.citation:
            yield unconfirmed(citation, f"{instrument.id}: a rule by which it is carried here")


_MINT: Final = object()


class _Decided:
    """What every decision carries. Made by `decide` alone."""

    __slots__ = ("assessment", "region", "verified")
    outcome: ClassVar[Outcome]

    def __init__(
        self, assessment: Assessment, verified: VerifiedOrder, region: Region, *, mint: object
    ) -> None:
        if mint is not _MINT:
            raise TypeError(f"a {type(self).__name__} is made by policy.decision.decide")
        self.assessment: Final = assessment
        self.verified: Final = verified
        self.region: Final = region

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(f"a {type(self).__name__} does not change")
        super().__setattr__(name, value)

    @property
    def address(self) -> Address:
        """The mailbox that the order names."""
        return self.verified.order.target

    @property
    def categories(self) -> frozenset[DataCategory]:
        """What is carried; empty for a refusal."""
        return self.assessment.categories


@final
class Permit(_Decided):
    """These categories of this mailbox, within this timespan, may be handed over."""

    __slots__ = ("timespan",)
    outcome = Outcome.PERMIT

    def __init__(
        self,
        assessment: Assessment,
        verified: VerifiedOrder,
        region: Region,
        timespan: Timespan,
        *,
        mint: object,
    ) -> None:
        super().__init__(assessment, verified, region, mint=mint)
        self.timespan: Final = timespan


@final
class Preserve(_Decided):
    """These categories of this mailbox are to be kept. Nothing may be handed over."""

    __slots__ = ()
    outcome = Outcome.PRESERVE

    @property
    def timespan(self) -> Timespan | None:
        """As the order says it: what is kept too widely can still be narrowed, what is lost cannot."""
        return self.verified.order.timespan


@final
class Await(_Decided):
    """Valid, but release waits until `assessment.due`; the data is to be kept meanwhile."""

    __slots__ = ()
    outcome = Outcome.AWAIT


@final
class Refusal(_Decided):
    """Nothing may be opened; the assessment says why, and what would open it."""

    __slots__ = ()
    outcome = Outcome.REFUSE


def decide(
    verified: VerifiedOrder,
    requested: frozenset[DataCategory],
    setting: Setting,
    lawbook: Lawbook,
    now: datetime,
    circumstances: Circumstances = _UNKNOWN_TO_THE_CASE,
) -> Permit | Preserve | Await | Refusal:
    """Decide on a verified order, at `now` (aware UTC) and under this lawbook.

    Raises TypeError for anything but a `VerifiedOrder`, and what `assess` raises.
    """
    if type(verified) is not VerifiedOrder:
        raise TypeError("decide needs a VerifiedOrder, which policy.verification alone makes")
    order, signatories, region = verified.order, verified.signatories, setting.region
    assessment = assess(order, signatories, requested, setting, lawbook, now, circumstances)
    if assessment.outcome is Outcome.PERMIT:
        span = producible(order.timespan, circumstances.received_at or now)
        return Permit(assessment, verified, region, span, mint=_MINT)
    if assessment.outcome is Outcome.PRESERVE:
        return Preserve(assessment, verified, region, mint=_MINT)
    if assessment.outcome is Outcome.AWAIT:
        return Await(assessment, verified, region, mint=_MINT)
    return Refusal(assessment, verified, region, mint=_MINT)
