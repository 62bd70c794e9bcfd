"""The ways by which an order can have force where the mailbox is stored.

There are four: it is the storage state's own instrument; it is a union's instrument that is
law there; an agreement of the storage state lets it in; an authority of the storage state has
taken it up. An order by whatever name that comes none of these ways opens nothing, however
genuine its signature: that is the rule of the house (LAW.md, "The rule").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import final

from policy.assessment import Finding, FindingCode, rfc3339
from policy.case import Case
from policy.order import DataCategory
from policy.rules import Agreement, Citation, Instrument, OffenceTest, Opens, Recognition

_ALL: frozenset[DataCategory] = frozenset(DataCategory)


class WayKind(Enum):
    """Whose word gives the order its force at the place of storage."""

    OWN = auto()
    UNION = auto()
    AGREEMENT = auto()
    RECOGNITION = auto()


@final
@dataclass(frozen=True, slots=True)
class Way:
    """One open way: for which categories, under what further test, and by which rule."""

    detail: str
    categories: frozenset[DataCategory]
    offence: OffenceTest | None
    kind: WayKind
    citation: Citation


def open_ways(case: Case) -> tuple[list[Way], list[Finding]]:
    """Every open way, and the findings on those that were looked for.

    All open ways are kept, not the first alone: otherwise the end of one could open another.
    """
    instrument = case.instrument
    if instrument is None:
        detail = f"the lawbook has no instrument {case.order.instrument}"
        return [], [Finding(FindingCode.STORAGE_LAW, False, detail, "lawbook")]
    if not case.in_force(instrument.dates):
        detail = (
            f"{instrument.id} is {instrument.dates}; the order came at {rfc3339(case.received_at)} "
            f"and it is now {rfc3339(case.at)}"
        )
        return [], [Finding(FindingCode.STORAGE_LAW, False, detail, instrument.citation.source)]
    ways: list[Way] = []
    findings: list[Finding] = []
    closed = _direct(case, instrument, ways, findings)
    foreign = case.order.issuing_state != case.country
    if foreign and (case.recognised_by or not ways):
        _by_recognition(case, instrument, ways, findings)
    if ways:
        findings.insert(0, Finding(FindingCode.STORAGE_LAW, True, ways[0].detail, ways[0].citation.source))
        return ways, findings
    findings.insert(0, Finding(FindingCode.STORAGE_LAW, False, closed, instrument.citation.source))
    law = case.lawbook.law(case.country)
    if foreign and law is not None and law.blocking is not None:
        blocking = law.blocking
        findings.append(
            Finding(
                FindingCode.BLOCKING_STATUTE,
                False,
                f"{blocking.law}: {blocking.rule}",
                blocking.citation.source,
            )
        )
    return ways, findings


def _direct(case: Case, instrument: Instrument, ways: list[Way], findings: list[Finding]) -> str:
    """The ways that need no authority of the storage state. Returns why none is open, for the finding."""
    country, state = case.country, case.order.issuing_state
    if instrument.opens is Opens.RECOGNITION:
        if state == country:
            return (
                f"{instrument.id} asks another state; an authority of {country} has its own instruments here"
            )
        return f"{instrument.id} opens nothing in {country} until an authority of {country} has taken it up"
    if instrument.membership is not None:
        return _of_union(case, instrument, ways)
    if instrument.opens is Opens.ISSUE and instrument.home == country == state:
        detail = f"{instrument.id} is an instrument of {country}, where the mailbox is stored"
        ways.append(Way(detail, _ALL, None, WayKind.OWN, instrument.citation))
        return ""
    for agreement in case.lawbook.agreements(country, instrument):
        _by_agreement(case, agreement, ways, findings)
    if instrument.home == country:
        if state != country:
            return f"{instrument.id} is an instrument of {country}: an authority of {state} cannot issue it"
        return (
            f"{instrument.id} binds what is stored outside {country}, and this mailbox is stored in {country}"
        )
    return (
        f"{instrument.id} is an instrument of {instrument.home}; the mailbox is stored in {country}, "
        f"whose law does not carry it"
    )


def _of_union(case: Case, instrument: Instrument, ways: list[Way]) -> str:
    """A union's act is the law of each state that it binds."""
    membership = case.lawbook.membership(instrument)
    if membership is None:
        return f"{instrument.id} names no membership"
    country, state, addressee = case.country, case.order.issuing_state, case.addressee
    for place in (country, state, addressee):
        if not case.binds(membership, place):
            return f"{place} is not bound by {membership.name}, so {instrument.id} has no force there"
    if state == addressee:
        # Reg. (EU) 2023/1543 Art. 3(1): "... in another Member State bound by this Regulation".
        return (
            f"{instrument.id} goes to an addressee in another state than {state}: a domestic order does here"
        )
    detail = (
        f"{membership.name} is law in {country}, so {instrument.id} of {state} is an instrument of its law"
    )
    ways.append(Way(detail, _ALL, None, WayKind.UNION, instrument.citation))
    return ""


def _by_agreement(case: Case, agreement: Agreement, ways: list[Way], findings: list[Finding]) -> None:
    source = agreement.citation.source
    if not case.in_force(agreement.dates):
        detail = f"{agreement.name} is {agreement.dates}"
        findings.append(Finding(FindingCode.AGREEMENT, False, detail, source))
        return
    if case.order.issuing_state != agreement.partner:
        detail = f"{agreement.name} lets in orders of {agreement.partner}, not of {case.order.issuing_state}"
        findings.append(Finding(FindingCode.AGREEMENT, False, detail, source))
        return
    findings.append(Finding(FindingCode.AGREEMENT, True, f"{agreement.name} lets this order in", source))
    if agreement.excluded_targets:
        target = case.circumstances.target_state
        excluded = ", ".join(sorted(state.code for state in agreement.excluded_targets))
        if target is None:
            # Fail closed: nobody has answered for where the target is and belongs.
            detail = f"not known whether the target is of {excluded} or there: not carried until it is"
        elif target in agreement.excluded_targets:
            detail = f"the target is of {target} or there, whom the agreement carves out"
        else:
            detail = f"the target is of {target}, not of {excluded}"
        open_ = target is not None and target not in agreement.excluded_targets
        findings.append(Finding(FindingCode.TARGET, open_, detail, source))
        if not open_:
            return
    ways.append(
        Way(agreement.name, agreement.categories, agreement.offence, WayKind.AGREEMENT, agreement.citation)
    )


def _by_recognition(case: Case, instrument: Instrument, ways: list[Way], findings: list[Finding]) -> None:
    """An authority of the storage state has signed too: the request counts as that state's order."""
    country = case.country
    rules = [rule for rule in case.lawbook.recognitions(country, instrument) if case.in_force(rule.dates)]
    if not rules or not _takes_part(case, instrument):
        detail = f"the law of {country} has no rule by which its authorities take up {instrument.id}"
        findings.append(Finding(FindingCode.RECOGNITION, False, detail, instrument.citation.source))
        return
    for rule in rules:
        taken_up = not case.recognised_by.isdisjoint(rule.recognisers)
        findings.append(_recognition_finding(case, rule, taken_up))
        if taken_up:
            detail = f"an authority of {country} has taken up this request of {case.order.issuing_state}"
            ways.append(Way(detail, rule.categories, None, WayKind.RECOGNITION, rule.citation))


def _takes_part(case: Case, instrument: Instrument) -> bool:
    """A union's instrument travels between the states that its act binds, and no others."""
    membership = case.lawbook.membership(instrument)
    if membership is None:
        return True
    states = (case.country, case.order.issuing_state)
    return all(case.binds(membership, state) for state in states)


def _recognition_finding(case: Case, rule: Recognition, taken_up: bool) -> Finding:
    if taken_up:
        detail = f"taken up by an authority of {case.country} under {rule.name}"
    elif case.recognised_by:
        roles = ", ".join(sorted(rule.recognisers))
        detail = f"signed as `recognise` in {case.country}, but not by one of: {roles}"
    else:
        detail = f"no authority of {case.country} has taken the request up under {rule.name}"
    return Finding(FindingCode.RECOGNITION, taken_up, detail, rule.citation.source)
