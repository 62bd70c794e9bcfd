"""The case as it lies on the desk: the order, who has signed it, where the mailbox is, what is known.

And the questions that do not depend on any state's law: is the order in force, is it signed
by an authority of the state that it names, does that authority hold the office that it claims.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, final

from policy.assessment import Circumstances, Finding, FindingCode, Setting, rfc3339
from policy.geography import Jurisdiction
from policy.lawbook import Lawbook
from policy.order import DataCategory, IssuerRole, Order, SignatureRole
from policy.rules import Dates, Instrument, Membership
from policy.signatory import Signatory
from policy.verification import ISSUED_AHEAD


@final
class Case(NamedTuple):
    """Everything that a decision looks at. `held` are the offices of those who issued.

    `validated_by` counts signatures of the issuing state alone, `recognised_by` those of the
    storage state alone: no state validates or recognises for another.
    """

    order: Order
    requested: frozenset[DataCategory]
    country: Jurisdiction
    addressee: Jurisdiction
    provider_entities: frozenset[Jurisdiction]
    lawbook: Lawbook
    instrument: Instrument | None
    received_at: datetime
    at: datetime
    circumstances: Circumstances
    signed: bool
    held: frozenset[IssuerRole]
    validated_by: frozenset[IssuerRole]
    recognised_by: frozenset[IssuerRole]

    def in_force(self, dates: Dates) -> bool:
        """True where the order came under this rule and the rule still stands."""
        return dates.cover(self.received_at, self.at)

    def binds(self, membership: Membership, state: Jurisdiction) -> bool:
        """True where a union's act bound `state` when the order came, and still does."""
        return membership.binds(state, self.received_at, self.at)


def open_case(
    order: Order,
    signatories: Sequence[Signatory],
    requested: frozenset[DataCategory],
    setting: Setting,
    lawbook: Lawbook,
    now: datetime,
    circumstances: Circumstances,
) -> Case:
    """Lay the case out. Raises ValueError where the order is said to have come after `now`."""
    received_at = circumstances.received_at or now
    if received_at > now:
        raise ValueError("received_at must not be after now")
    state, country = order.issuing_state, setting.region.country
    signed = False
    held: frozenset[IssuerRole] = frozenset()
    validated_by: frozenset[IssuerRole] = frozenset()
    recognised_by: frozenset[IssuerRole] = frozenset()
    for signatory in signatories:
        if signatory.role is SignatureRole.RECOGNISE:
            if signatory.jurisdiction == country:
                recognised_by |= signatory.issuer_roles
        elif signatory.jurisdiction == state:
            if signatory.role is SignatureRole.VALIDATE:
                validated_by |= signatory.issuer_roles
            else:
                signed, held = True, held | signatory.issuer_roles
    return Case(
        order=order,
        requested=requested,
        country=country,
        addressee=setting.addressee or country,
        provider_entities=setting.provider_entities,
        lawbook=lawbook,
        instrument=lawbook.instrument(order.instrument),
        received_at=received_at,
        at=now,
        circumstances=circumstances,
        signed=signed,
        held=held,
        validated_by=validated_by,
        recognised_by=recognised_by,
    )


def formal_findings(case: Case) -> list[Finding]:
    """In force, signed, and by whom: what any order must be before a state's law is asked."""
    return [_in_force(case), _signature(case), _issuer_role(case)]


def _in_force(case: Case) -> Finding:
    order, now = case.order, case.at
    source = "RFC 7519 4.1.4-4.1.6"
    # A stated nbf is the issuer's will; an iat a little ahead is only its clock (verification, step 9).
    ahead = order.issued_at - ISSUED_AHEAD
    if now < ahead or now < order.not_before != order.issued_at:
        start = rfc3339(max(order.not_before, order.issued_at))
        return Finding(FindingCode.IN_FORCE, False, f"the order is not in force before {start}", source)
    if now >= order.expires_at:
        return Finding(
            FindingCode.IN_FORCE, False, f"the order expired at {rfc3339(order.expires_at)}", source
        )
    instrument = case.instrument
    if instrument is not None and instrument.void_unless_served_within_months is not None:
        void_from = _months_later(order.issued_at, instrument.void_unless_served_within_months)
        if case.received_at >= void_from:
            detail = f"the order came after {rfc3339(void_from)}: not served in time, it is void"
            return Finding(FindingCode.IN_FORCE, False, detail, instrument.citation.source)
    return Finding(FindingCode.IN_FORCE, True, "the order is in force", source)


def _months_later(moment: datetime, months: int) -> datetime:
    """The first moment after "the period of `months` months beginning with the day" of `moment`."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    last = monthrange(year, month + 1)[1]
    day = datetime(year, month + 1, min(moment.day, last), tzinfo=UTC)
    return day if moment.day <= last else day + timedelta(days=1)


def _signature(case: Case) -> Finding:
    detail = "signed by an authority of" if case.signed else "not signed as `issue` by any authority of"
    return Finding(
        FindingCode.SIGNATURE, case.signed, f"{detail} {case.order.issuing_state}", "trust list; RFC 7515"
    )


def _issuer_role(case: Case) -> Finding:
    """The office claimed must be one that the signing authority holds, and one that may ask at all."""
    order, instrument = case.order, case.instrument
    role, state = order.issuer_role, order.issuing_state
    if role not in case.held:
        detail = f"no authority of {state} that signed as `issue` holds the office of {role}"
        return Finding(FindingCode.ISSUER_ROLE, False, detail, "trust list")
    if instrument is None:
        return Finding(FindingCode.ISSUER_ROLE, True, f"the signing authority is a {role}", "trust list")
    source = instrument.citation.source
    if not _may_issue(case, instrument, state):
        detail = f"an authority of {state} cannot issue {instrument.id}"
        return Finding(FindingCode.ISSUER_ROLE, False, detail, source)
    if not any(role in grant.issuers or role in grant.validated_issuers for grant in instrument.grants):
        detail = f"a {role} may not issue {instrument.id}"
        return Finding(FindingCode.ISSUER_ROLE, False, detail, instrument.grants[0].citation.source)
    return Finding(FindingCode.ISSUER_ROLE, True, f"a {role} of {state} may issue {instrument.id}", source)


def _may_issue(case: Case, instrument: Instrument, state: Jurisdiction) -> bool:
    membership = case.lawbook.membership(instrument)
    if membership is not None:
        return case.binds(membership, state)
    return instrument.home is None or instrument.home == state
