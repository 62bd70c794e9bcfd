"""What a refusal teaches: what would open this mailbox, and whether a foreign law pulls the other way."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache

from policy.assessment import Conflict, Remedy
from policy.case import Case
from policy.geography import Jurisdiction
from policy.lawbook import Lawbook
from policy.order import DataCategory, IssuerRole
from policy.rules import Deed, Instrument, Law, Opens, Reach


def remedies(case: Case, missing: frozenset[DataCategory]) -> tuple[Remedy, ...]:
    """The instruments that would carry at least one of `missing` here, and who may issue them.

    For a preservation only what preserves, and mutual assistance; for a production what produces.
    """
    wanted = Deed.PRODUCE if case.instrument is None else case.instrument.deed
    return _remedies(case.lawbook, case.country, case.addressee, wanted, missing, case.at.date())


@lru_cache(maxsize=1024)  # a rule's dates are whole days, so what holds on a day holds all day
def _remedies(
    lawbook: Lawbook,
    country: Jurisdiction,
    addressee: Jurisdiction,
    wanted: Deed,
    missing: frozenset[DataCategory],
    day: date,
) -> tuple[Remedy, ...]:
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    found: list[Remedy] = []
    for instrument in lawbook.instruments_at(country, at):
        if instrument.deed is not wanted and instrument.opens is not Opens.RECOGNITION:
            continue
        roles = _issuers(instrument, missing)
        if roles:
            found.append(Remedy(instrument.id, roles, _route(lawbook, country, addressee, instrument, at)))
    return tuple(found)


def conflict(case: Case) -> Conflict | None:
    """A foreign law that claims the data from the provider all the same (18 U.S.C. 2713 and the like).

    Asked only where no way is open for an order that is genuine and in force: an order that
    binds nobody at home cannot bind the provider here.
    """
    instrument = case.instrument
    if instrument is None or instrument.home is None:
        return None
    law = case.lawbook.law(instrument.home)
    if law is None or not _pulls(case, law, instrument):
        return None
    for reach in law.reaches:
        if instrument.id in reach.instruments and case.in_force(reach.dates):
            due = _objection_due(case, law, reach)
            detail = reach.objection_law if due is not None else reach.otherwise
            return Conflict("foreign-reach", reach.law, due, detail)
    return None


def _issuers(instrument: Instrument, missing: frozenset[DataCategory]) -> tuple[IssuerRole, ...]:
    roles: set[IssuerRole] = set()
    for grant in instrument.grants:
        if not grant.categories.isdisjoint(missing):
            roles |= grant.issuers or grant.validated_issuers
    return tuple(role for role in IssuerRole if role in roles)


def _route(
    lawbook: Lawbook, country: Jurisdiction, addressee: Jurisdiction, instrument: Instrument, at: datetime
) -> str:
    if instrument.opens is Opens.RECOGNITION:
        rules = [rule for rule in lawbook.recognitions(country, instrument) if rule.dates.cover(at, at)]
        taken_up = "; ".join(f"{' or '.join(sorted(rule.recognisers))} under {rule.name}" for rule in rules)
        route = f"taken up in {country} (signed as `recognise`) by a {taken_up}"
    elif instrument.opens is Opens.AGREEMENT:
        routes = [rule.route for rule in lawbook.agreements(country, instrument) if rule.dates.cover(at, at)]
        route = f"from {instrument.home}: {'; '.join(routes)}"
    elif membership := lawbook.membership(instrument):
        route = f"from a state bound by {membership.name} other than {addressee}"
    else:
        route = f"from an authority of {country} ({instrument.statute})"
    return route if instrument.citation.confirmed else f"{route}; no source confirms this rule"


def _pulls(case: Case, law: Law, instrument: Instrument) -> bool:
    """Whether the law behind the order has hold of the provider, and none of its own at the place of storage.

    Within a union its own act says who is to ask whom: an EPOC that went to the wrong state is
    misdirected, and conflicts with nothing.
    """
    membership = case.lawbook.membership(instrument)
    if membership is not None:
        bound = [entity for entity in case.provider_entities if case.binds(membership, entity)]
        return bool(bound) and not case.binds(membership, case.country)
    return law.code in case.provider_entities and law.code != case.country


def _objection_due(case: Case, law: Law, reach: Reach) -> datetime | None:
    """The end of the statutory time to object, or None: there is no clock where the law sets none."""
    if reach.objection is None or case.country in reach.objection_not_for:
        return None
    if reach.objection_needs_agreement:
        # 18 U.S.C. 2703(h)(2)(A): a customer who is no US person, and a qualifying government.
        qualifying = any(
            agreement.partner == case.country and case.in_force(agreement.dates)
            for agreement in law.agreements
        )
        if not qualifying or case.circumstances.target_state == law.code:
            return None
    return case.received_at + reach.objection
