"""Which of the requested categories an order carries, each by itself.

Categories never help one another: each is judged as though it alone had been asked for, so
that adding one cannot widen what another gets. What is not carried is said, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, final

from policy.assessment import Finding, FindingCode, rfc3339
from policy.case import Case
from policy.order import DataCategory, IssuerRole, Offence, Timespan
from policy.rules import Citation, Deed, Grant, Instrument, OffenceTest
from policy.ways import Way, WayKind

_BOUND_IN_TIME: Final = frozenset({DataCategory.TRAFFIC, DataCategory.CONTENT})
_CATEGORIES: Final = tuple(DataCategory)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@final
@dataclass(slots=True)
class Carriage:
    """What is carried, by which rules, and until when a missing validation may follow.

    What is carried by being taken up alone (`by_own_force` is False) is the storage state's order:
    its clock is the one that the authority which took it up has set.
    """

    categories: set[DataCategory] = field(default_factory=set)
    notifiable: set[DataCategory] = field(default_factory=set)
    taken_up_by: Citation | None = None
    by_own_force: bool = False
    findings: list[Finding] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    validation_due: datetime | None = None
    validation_source: str = ""


@final
@dataclass(frozen=True, slots=True)
class _Tested:
    """The outcome of one grant on one way: the same for each category that it names."""

    ok: bool
    validation_due: datetime | None


def carry(case: Case, instrument: Instrument, ways: list[Way]) -> Carriage:
    """Judge each requested category, in the order of the law's own list."""
    carriage = Carriage()
    memo: dict[tuple[int, int], _Tested] = {}
    if not case.requested:
        carriage.findings.append(Finding(FindingCode.CATEGORY, False, "nothing is requested", "the request"))
    for category in _CATEGORIES:
        if category not in case.requested:
            continue
        if category not in case.order.categories:
            detail = f"{category} is requested, but the order does not ask for it"
            carriage.findings.append(Finding(FindingCode.CATEGORY, False, detail, "the order"))
            continue
        grant = _grant(case, instrument, category, carriage)
        if grant is None:
            continue
        for way in ways:
            if _carried(case, grant, way, category, carriage, memo):
                break
        else:
            detail = f"{category} is not carried by this order"
            carriage.findings.append(Finding(FindingCode.CATEGORY, False, detail, grant.citation.source))
    return carriage


def _carried(
    case: Case,
    grant: Grant,
    way: Way,
    category: DataCategory,
    carriage: Carriage,
    memo: dict[tuple[int, int], _Tested],
) -> bool:
    if category not in way.categories:
        detail = f"{way.detail}, but not for {category}"
        carriage.findings.append(Finding(FindingCode.CATEGORY, False, detail, way.citation.source))
        return False
    key = (id(grant), id(way))
    tested = memo.get(key)
    if tested is None:
        tested = memo[key] = _test(case, grant, way, carriage)
    if not tested.ok or not _in_time(case, grant, category, carriage):
        return False
    carriage.categories.add(category)
    if way.kind is WayKind.UNION:
        carriage.notifiable.add(category)
    if way.kind is WayKind.RECOGNITION:
        carriage.taken_up_by = way.citation
    else:
        carriage.by_own_force = True
    if tested.validation_due is not None:
        carriage.validation_due, carriage.validation_source = tested.validation_due, grant.citation.source
    for citation in (way.citation, grant.citation):
        if citation not in carriage.citations:
            carriage.citations.append(citation)
    detail = f"{category}: a {case.order.issuer_role} may ask for it with {case.order.instrument}"
    carriage.findings.append(Finding(FindingCode.CATEGORY, True, detail, grant.citation.source))
    return True


def _grant(case: Case, instrument: Instrument, category: DataCategory, carriage: Carriage) -> Grant | None:
    """The one grant in which this category and this office meet (the lawbook allows no second)."""
    role = case.order.issuer_role
    issuers: set[IssuerRole] = set()
    source = instrument.citation.source
    for grant in instrument.grants:
        if category in grant.categories:
            if role in grant.issuers or role in grant.validated_issuers:
                return grant
            issuers |= grant.issuers | grant.validated_issuers
            source = grant.citation.source
    if issuers:
        # Reg. (EU) 2023/1543 Art. 4(2): no prosecutor for traffic and content, validated or not.
        detail = (
            f"a {role} may not ask for {category} with {instrument.id}; may: {', '.join(sorted(issuers))}"
        )
        carriage.findings.append(Finding(FindingCode.ISSUER_ROLE, False, detail, source))
    detail = f"{instrument.id} does not carry {category}" + (f" from a {role}" if issuers else "")
    carriage.findings.append(Finding(FindingCode.CATEGORY, False, detail, source))
    return None


def _test(case: Case, grant: Grant, way: Way, carriage: Carriage) -> _Tested:
    validated, due = _validated(case, grant, carriage)
    grave = True
    for test, source in ((grant.offence, grant.citation.source), (way.offence, way.citation.source)):
        if test is not None:
            finding = _offence_finding(case.order.offence, test, source)
            carriage.findings.append(finding)
            grave = grave and finding.ok
    return _Tested(validated and grave, due)


def _validated(case: Case, grant: Grant, carriage: Carriage) -> tuple[bool, datetime | None]:
    """Whether the order needs no validation or has it, and by when one must follow."""
    order, role = case.order, case.order.issuer_role
    if role in grant.issuers:
        return True, None
    source, state = grant.citation.source, order.issuing_state
    if not case.validated_by.isdisjoint(grant.validators):
        detail = f"validated by an authority of {state} that may"
        carriage.findings.append(Finding(FindingCode.VALIDATION, True, detail, source))
        return True, None
    validators = ", ".join(sorted(grant.validators))
    if order.emergency and grant.validation_within is not None:
        due = order.issued_at + grant.validation_within
        in_time = case.at < due
        detail = (
            f"an emergency: validation by one of {validators} may follow until {rfc3339(due)}"
            if in_time
            else f"the emergency's validation was due at {rfc3339(due)} and is not there"
        )
        carriage.findings.append(Finding(FindingCode.VALIDATION, in_time, detail, source))
        return in_time, due if in_time else None
    detail = f"an order of a {role} needs the signature, as `validate`, of one of: {validators} of {state}"
    carriage.findings.append(Finding(FindingCode.VALIDATION, False, detail, source))
    return False, None


def _offence_finding(offence: Offence | None, test: OffenceTest, source: str) -> Finding:
    code = FindingCode.OFFENCE_THRESHOLD
    if offence is None:
        return Finding(code, False, "the order states no offence, and the law asks for one", source)
    if not test.years:
        return Finding(code, True, "an offence is stated", source)
    if offence.max_custodial_years >= test.years:
        detail = (
            f"a maximum of {offence.max_custodial_years:g} years meets the {test.years:g} that are needed"
        )
        return Finding(code, True, detail, source)
    if test.or_listed and offence.listed:
        return Finding(code, True, "a listed offence, whatever its maximum", source)
    detail = f"a maximum of {offence.max_custodial_years:g} years, where {test.years:g} are needed"
    return Finding(code, False, detail + (" or a listed offence" if test.or_listed else ""), source)


def _in_time(case: Case, grant: Grant, category: DataCategory, carriage: Carriage) -> bool:
    """Production reaches what is stored when the order comes, and nothing that is yet to be sent.

    Reg. (EU) 2023/1543 recital 19; what comes later is interception, for which each state has
    another law. No timespan means the whole mailbox: valid unless the statute asks for a period,
    and worth a remark, since a careful authority names one (Art. 5(5)).
    """
    instrument = case.instrument
    if category not in _BOUND_IN_TIME or (instrument is not None and instrument.deed is Deed.PRESERVE):
        return True
    span, ok = case.order.timespan, True
    if span is None:
        ok = not grant.timespan_required
        detail = (
            "no timespan is given: everything stored when the order came"
            if ok
            else f"no timespan is given, and the law asks for one for {category}"
        )
    elif span.start >= case.received_at:
        ok, detail = False, "the timespan begins after the order came: only stored data can be produced"
    elif span.end > case.received_at:
        detail = f"the timespan is cut at {rfc3339(case.received_at)}, when the order came"
    else:
        detail = "the timespan lies before the order came"
    finding = Finding(FindingCode.TIMESPAN, ok, detail, grant.citation.source)
    if finding not in carriage.findings:
        carriage.findings.append(finding)
    return ok


def producible(span: Timespan | None, received_at: datetime) -> Timespan:
    """The order's timespan, cut at the moment when the order came."""
    if span is None:
        return Timespan(_BEGINNING, received_at)
    if span.start >= received_at:
        return span  # all of it is yet to come: `_in_time` lets neither traffic nor content through
    return Timespan(span.start, min(span.end, received_at))
