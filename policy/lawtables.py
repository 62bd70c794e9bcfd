"""From a lawbook file's tables to its rules, with every combination that cannot be.

Nothing is guessed: what a rule needs and does not say is a fault. The reference of the keys
is in `policy/README.md`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from policy.geography import Jurisdiction
from policy.lawfile import Table
from policy.order import DataCategory, IssuerRole
from policy.rules import (
    Agreement,
    AtExpiry,
    Blocking,
    Citation,
    CountedFrom,
    Dates,
    Deadline,
    Deed,
    EnforcingAuthority,
    Grant,
    Incomplete,
    Instrument,
    JurisdictionKind,
    Law,
    Membership,
    Notice,
    OffenceTest,
    Opens,
    Preservation,
    Reach,
    Recognition,
)

_NEVER_LATER: Final = datetime(1900, 1, 1, tzinfo=UTC)
ANY_REQUEST: Final = "any"  # in `accepts`: mutual assistance, for whatever a foreign state asks


def read_law(document: Table) -> Law:
    """One file's law. Faults are noted in the document's list."""
    head = document.table("jurisdiction")
    if head is None:
        document.fault("", "the table [jurisdiction] is required")
        head = Table(document.file, {}, ("jurisdiction",), {(): 1}, [])
    kind = head.word("kind", JurisdictionKind)
    code = None if kind is JurisdictionKind.ANYWHERE else head.jurisdiction("code")
    prefix = "mla" if code is None else code.code.lower()
    if document.file != f"{prefix}.toml":
        head.fault("code", f"the law of this jurisdiction belongs in a file named {prefix}.toml")
    blocking = head.table("blocking")
    law = Law(
        file=document.file,
        code=code,
        name=head.text("name"),
        kind=kind,
        notes=head.texts("notes"),
        blocking=_blocking(blocking) if blocking else None,
        memberships=_memberships(document),
        instruments=tuple(_instrument(table, code, prefix) for table in document.tables("instrument")),
        recognitions=tuple(_recognition(table, prefix) for table in document.tables("recognition")),
        agreements=tuple(_agreement(table) for table in document.tables("agreement")),
        reaches=tuple(_reach(table) for table in document.tables("reach")),
    )
    for part, owner in (
        ("membership", JurisdictionKind.UNION),
        ("recognition", JurisdictionKind.STATE),
        ("agreement", JurisdictionKind.STATE),
    ):
        if document.has(part) and kind is not owner:
            document.fault(part, f"only a {owner} has this; this file is of a {kind}")
    head.finish()
    document.finish()
    return law


def _citation(table: Table) -> Citation:
    return Citation(table.text("source"), table.flag("confirmed", default=True))


def _dates(table: Table) -> Dates:
    since, until = table.day("in_force_from"), table.day("until")
    if since is None:
        table.fault("", "the key 'in_force_from' is required here (a date; every rule has one)")
        since = _NEVER_LATER
    if until is not None and until <= since:
        table.fault("until", "must be after in_force_from")
    return Dates(since, until)


def _blocking(table: Table) -> Blocking:
    blocking = Blocking(table.text("law"), table.text("rule"), _citation(table))
    table.finish()
    return blocking


def _memberships(document: Table) -> tuple[Membership, ...]:
    """Several [[membership]] with one id are batches of states with dates of their own."""
    found: dict[str, tuple[str, dict[Jurisdiction, Dates], Citation]] = {}
    for table in document.tables("membership"):
        name, dates, citation = table.text("name"), _dates(table), _citation(table)
        _, states, _ = found.setdefault(table.text("id"), (name, {}, citation))
        for state in sorted(table.jurisdictions("states")):
            if state in states:
                table.fault("states", f"{state} stands twice in this membership")
            states[state] = dates
        table.finish()
    return tuple(Membership(id_, name, states, cited) for id_, (name, states, cited) in found.items())


def _instrument(table: Table, home: Jurisdiction | None, prefix: str) -> Instrument:
    id_ = table.text("id")
    if id_ and not id_.startswith(f"{prefix}."):
        table.fault("id", f"an instrument of this file is named '{prefix}....'")
    instrument = Instrument(
        id=id_,
        name=table.text("name"),
        statute=table.text("statute"),
        binds=table.text("binds"),
        home=home,
        deed=table.word("deed", Deed),
        opens=table.word("opens", Opens),
        membership=table.text("membership") if table.has("membership") else None,
        dates=_dates(table),
        void_unless_served_within_months=table.count("void_unless_served_within_months"),
        grants=_grants(table),
        deadline=_deadline(sub) if (sub := table.table("deadline")) else None,
        enforcing_authority=_enforcing(sub) if (sub := table.table("enforcing_authority")) else None,
        preservation=_preservation(sub) if (sub := table.table("preservation")) else None,
        notice=_notice(sub) if (sub := table.table("notice")) else None,
        incomplete=_incomplete(sub) if (sub := table.table("incomplete")) else None,
        notes=table.texts("notes"),
        citation=_citation(table),
    )
    _check_instrument(table, instrument)
    table.finish()
    return instrument


def _check_instrument(table: Table, instrument: Instrument) -> None:
    """The combinations that no statute can mean."""
    preserves = instrument.deed is Deed.PRESERVE
    if preserves and instrument.preservation is None:
        table.fault("deed", "an instrument that preserves needs [instrument.preservation]")
    if not preserves and instrument.preservation is not None:
        table.fault("preservation", "only an instrument that preserves has this")
    if not preserves and instrument.deadline is None:
        table.fault("deed", "an instrument that produces needs [instrument.deadline]")
    if instrument.home is None and instrument.opens is not Opens.RECOGNITION:
        table.fault("opens", "what is the same anywhere opens by recognition alone")
    asked = frozenset[DataCategory]().union(*(grant.categories for grant in instrument.grants))
    if instrument.enforcing_authority and not instrument.enforcing_authority.categories <= asked:
        table.fault("enforcing_authority", "names a category that no grant of this instrument carries")


def _grants(table: Table) -> tuple[Grant, ...]:
    """The grants; a category and an issuer meet in one of them only, so that one rule applies."""
    grants: list[Grant] = []
    seen: set[tuple[DataCategory, IssuerRole]] = set()
    for sub in table.tables("grant"):
        grant = _grant(sub)
        for pair in ((c, i) for c in DataCategory for i in IssuerRole):
            if pair[0] in grant.categories and pair[1] in grant.issuers | grant.validated_issuers:
                if pair in seen:
                    sub.fault("categories", f"another grant already says what a {pair[1]} gets of {pair[0]}")
                seen.add(pair)
        grants.append(grant)
    if not grants:
        table.fault("", "an instrument needs at least one [[instrument.grant]]")
    return tuple(grants)


def _grant(table: Table) -> Grant:
    grant = Grant(
        categories=table.words("categories", DataCategory, required=True),
        issuers=table.words("issuers", IssuerRole, required=False),
        validated_issuers=table.words("validated_issuers", IssuerRole, required=False),
        validators=table.words("validators", IssuerRole, required=False),
        validation_within=table.span("emergency_validation_"),
        offence=_offence(sub) if (sub := table.table("offence")) else None,
        timespan_required=table.flag("timespan_required", default=False),
        citation=_citation(table),
    )
    if not grant.issuers | grant.validated_issuers:
        table.fault("", "nobody may ask: give issuers, or validated_issuers with validators")
    if bool(grant.validated_issuers) is not bool(grant.validators):
        table.fault("", "validated_issuers and validators come together or not at all")
    if grant.issuers & grant.validated_issuers:
        table.fault("validated_issuers", "who may ask alone needs no validation")
    if grant.validation_within and not grant.validated_issuers:
        table.fault("", "an emergency validation needs validated_issuers")
    table.finish()
    return grant


def _offence(table: Table) -> OffenceTest:
    stated = table.flag("stated", default=False)
    test = OffenceTest(table.years("at_least_years"), table.flag("or_listed", default=False))
    if stated is bool(test.years):
        table.fault("", "give either at_least_years, or stated = true for any offence that is stated")
    if test.or_listed and not test.years:
        table.fault("or_listed", "is an alternative to at_least_years")
    table.finish()
    return test


def _deadline(table: Table) -> Deadline:
    within, emergency = table.span(""), table.span("emergency_")
    set_by_process = table.flag("set_by_process", default=False)
    if set_by_process is (within is not None):
        table.fault("", "give days or hours, or set_by_process = true, and not both")
    if emergency and within and emergency > within:
        table.fault("", "an emergency cannot leave more time than the rule")
    deadline = Deadline(within, emergency, _citation(table))
    table.finish()
    return deadline


def _enforcing(table: Table) -> EnforcingAuthority:
    rule = EnforcingAuthority(
        categories=table.words("categories", DataCategory, required=True),
        within=table.required_span(""),
        emergency_within=table.required_span("emergency_"),
        emergency_suspends=table.flag("emergency_suspends", default=True),
        domestic_exempts=table.flag("domestic_exempts", default=False),
        citation=_citation(table),
    )
    table.finish()
    return rule


def _preservation(table: Table) -> Preservation:
    rule = Preservation(
        lasts=table.required_span(""),
        counted_from=table.word("counted_from", CountedFrom),
        extension=table.span("extension_"),
        extensions=table.count("extensions"),
        at_expiry=table.word("at_expiry", AtExpiry),
        citation=_citation(table),
    )
    if rule.extensions is not None and rule.extension is None:
        table.fault("extensions", "needs extension_days or extension_hours")
    table.finish()
    return rule


def _notice(table: Table) -> Notice:
    rule = Notice(table.text("rule"), table.span("delay_"), _citation(table))
    table.finish()
    return rule


def _incomplete(table: Table) -> Incomplete:
    rule = Incomplete(table.text("form"), table.required_span(""), _citation(table))
    table.finish()
    return rule


def _recognition(table: Table, prefix: str) -> Recognition:
    accepts = table.names("accepts")
    rule = Recognition(
        id=table.text("id"),
        name=table.text("name"),
        accepts=accepts - {ANY_REQUEST},
        accepts_any=ANY_REQUEST in accepts,
        categories=table.words("categories", DataCategory, required=True),
        recognisers=table.words("recognisers", IssuerRole, required=True),
        dates=_dates(table),
        citation=_citation(table),
    )
    if rule.id and not rule.id.startswith(f"{prefix}."):
        table.fault("id", f"a rule of this file is named '{prefix}....'")
    table.finish()
    return rule


def _agreement(table: Table) -> Agreement:
    rule = Agreement(
        id=table.text("id"),
        name=table.text("name"),
        partner=table.jurisdiction("partner"),
        instruments=table.names("instruments"),
        categories=table.words("categories", DataCategory, required=True),
        excluded_targets=table.jurisdictions("excluded_targets", required=False),
        offence=_offence(sub) if (sub := table.table("offence")) else None,
        route=table.text("route"),
        dates=_dates(table),
        citation=_citation(table),
    )
    table.finish()
    return rule


def _reach(table: Table) -> Reach:
    objection = table.span("objection_")
    rule = Reach(
        law=table.text("law"),
        instruments=table.names("instruments"),
        objection=objection,
        objection_law=table.text("objection_law") if objection else "",
        objection_needs_agreement=table.flag("objection_needs_agreement", default=False),
        objection_not_for=table.jurisdictions("objection_not_for", required=False),
        otherwise=table.text("otherwise"),
        dates=_dates(table),
        citation=_citation(table),
    )
    table.finish()
    return rule
