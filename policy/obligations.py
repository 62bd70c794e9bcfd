"""What is owed next, and by when.

Every clock starts at `received_at`, except those that a statute starts when the order is made:
an emergency's validation, and a Canadian preservation.

Also the one rule under which a valid order waits: the notification of the enforcing authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, final

from policy.assessment import EnforcingAnswer, Finding, FindingCode, Obligation, ObligationCode, rfc3339
from policy.carriage import Carriage
from policy.case import Case
from policy.order import DataCategory
from policy.rules import AtExpiry, CountedFrom, Deed, EnforcingAuthority, Instrument

_CATEGORIES: Final = tuple(DataCategory)


@final
@dataclass(frozen=True, slots=True)
class Notification:
    """What the enforcing authority's part comes to for the categories that it is told of."""

    finding: Finding
    objected: frozenset[DataCategory] = frozenset()
    waits_until: datetime | None = None
    may_object_until: datetime | None = None


def notify(case: Case, instrument: Instrument, carriage: Carriage) -> Notification | None:
    """Reg. (EU) 2023/1543 Art. 8, 10 and 12; None where the law asks for no notification."""
    rule = instrument.enforcing_authority
    if rule is None:
        return None
    told = frozenset(carriage.categories & carriage.notifiable & rule.categories)
    if not told:
        return None
    offence, answer = case.order.offence, case.circumstances.enforcing_authority
    names = " and ".join(category for category in _CATEGORIES if category in told)
    if answer is EnforcingAnswer.OBJECTED:
        # Art. 12(3): the addressee stops, whether or not Art. 8 asked for the notification.
        return Notification(_finding(rule, False, f"it has raised a ground for refusing {names}"), told)
    if rule.domestic_exempts and offence is not None and offence.domestic:
        # Art. 8(2): offence and residence in the issuing state.
        return Notification(
            _finding(rule, True, "no notification: offence and person are in the issuing state")
        )
    if answer is EnforcingAnswer.CLEARED:
        return Notification(_finding(rule, True, f"it has cleared {names}"))
    emergency = case.order.emergency
    until = case.received_at + (rule.emergency_within if emergency else rule.within)
    if case.at >= until:
        return Notification(
            _finding(rule, True, f"it has been silent until {rfc3339(until)}, the end of its time")
        )
    if emergency and not rule.emergency_suspends:
        # Art. 10(4): in an emergency release is not suspended, and the authority may still object.
        detail = f"an emergency: release of {names} does not wait; it may object until {rfc3339(until)}"
        return Notification(_finding(rule, True, detail), may_object_until=until)
    detail = f"release of {names} waits until {rfc3339(until)}, unless it clears the order before"
    return Notification(_finding(rule, False, detail), waits_until=until, may_object_until=until)


def obligations(
    case: Case, instrument: Instrument, carriage: Carriage, notification: Notification | None
) -> list[Obligation]:
    """What an order that carries something puts on the provider, the earliest first."""
    owed: list[Obligation] = []
    if instrument.deed is Deed.PRESERVE:
        _preservation(case, instrument, owed)
    elif carriage.by_own_force:
        _production(case, instrument, owed)
    if carriage.validation_due is not None:
        detail = "without a validation by then the order is withdrawn, and what was handed over is deleted"
        owed.append(
            Obligation(ObligationCode.VALIDATION, carriage.validation_due, detail, carriage.validation_source)
        )
    rule = instrument.enforcing_authority
    if notification is not None and notification.may_object_until is not None and rule is not None:
        until, source = notification.may_object_until, rule.citation.source
        detail = "until then the enforcing authority may raise a ground for refusal"
        owed.append(Obligation(ObligationCode.ENFORCING_AUTHORITY, until, detail, source))
        if notification.waits_until is not None:
            # Art. 10(1): on receipt the data is preserved meanwhile.
            detail = "keep the data from the moment the order came until it is produced or refused"
            owed.append(Obligation(ObligationCode.PRESERVE, case.received_at, detail, source))
    if instrument.notice is not None and instrument.notice.delay is not None and carriage.by_own_force:
        due = case.received_at + instrument.notice.delay
        detail = "a delay of notice ends, unless it is renewed"
        owed.append(Obligation(ObligationCode.NOTICE_DELAY, due, detail, instrument.notice.citation.source))
    owed.sort(key=lambda item: (item.due, item.code))
    return owed


def incomplete(case: Case, instrument: Instrument) -> Obligation | None:
    """The answer to an order that cannot be carried out as it stands (Art. 10(6): Form 3)."""
    rule = instrument.incomplete
    if rule is None:
        return None
    detail = f"answer what is not carried with {rule.form}, without undue delay; the authority reacts by then"
    return Obligation(ObligationCode.FORM_3, case.received_at + rule.within, detail, rule.citation.source)


def remarks(instrument: Instrument, carriage: Carriage) -> list[Finding]:
    """What counsel should read beside the clocks: notice, and a deadline that the process sets."""
    found: list[Finding] = []
    deadline, notice, taken_up = instrument.deadline, instrument.notice, carriage.taken_up_by
    if taken_up is not None and not carriage.by_own_force:
        if instrument.deed is Deed.PRODUCE:
            detail = "the deadline, and any notice, is set by the authority that took the request up"
            found.append(Finding(FindingCode.DEADLINE, True, detail, taken_up.source))
        return found
    if deadline is not None and deadline.within is None:
        detail = "the deadline is set in the order itself"
        found.append(Finding(FindingCode.DEADLINE, True, detail, deadline.citation.source))
    if notice is not None:
        found.append(Finding(FindingCode.NOTICE, True, notice.rule, notice.citation.source))
    return found


def _production(case: Case, instrument: Instrument, owed: list[Obligation]) -> None:
    deadline = instrument.deadline
    if deadline is None:
        return
    within = deadline.within
    if case.order.emergency and deadline.emergency_within is not None:
        within = deadline.emergency_within
    if within is not None:
        due = case.received_at + within
        owed.append(Obligation(ObligationCode.PRODUCTION, due, "produce by then", deadline.citation.source))


def _preservation(case: Case, instrument: Instrument, owed: list[Obligation]) -> None:
    rule = instrument.preservation
    if rule is None:
        return
    start = case.received_at if rule.counted_from is CountedFrom.RECEIPT else case.order.issued_at
    due, source = start + rule.lasts, rule.citation.source
    owed.append(Obligation(ObligationCode.PRESERVE, case.received_at, "preserve without delay", source))
    if rule.at_expiry is AtExpiry.DESTROY:
        detail = "destroy the preserved copy then, unless another order keeps it"
        owed.append(Obligation(ObligationCode.DESTROY, due, detail, source))
        return
    detail = "the preservation lapses and retention resumes"
    if rule.extension is not None:
        times = "" if rule.extensions is None else f", {rule.extensions} time(s)"
        detail += f"; it may be prolonged by {rule.extension.days} days{times}"
    owed.append(Obligation(ObligationCode.PRESERVATION_ENDS, due, detail, source))


def _finding(rule: EnforcingAuthority, ok: bool, detail: str) -> Finding:
    return Finding(FindingCode.ENFORCING_AUTHORITY, ok, detail, rule.citation.source)
