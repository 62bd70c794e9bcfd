"""The lawbook and a decision as text that a lawyer reads: every figure with its source beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from policy.assessment import Assessment, rfc3339
from policy.lawbook import Lawbook
from policy.order import DataCategory, IssuerRole
from policy.rules import (
    Agreement,
    Citation,
    Dates,
    Grant,
    Instrument,
    Law,
    Membership,
    OffenceTest,
    Reach,
    Recognition,
)


def law_summary(law: Law) -> dict[str, Any]:
    """One row of `situs law list`."""
    return {
        "code": law.code.code if law.code else "*",
        "name": law.name,
        "kind": law.kind.value,
        "instruments": [instrument.id for instrument in law.instruments],
        "recognition": [rule.id for rule in law.recognitions],
        "unconfirmed": sum(not citation.confirmed for citation in citations(law)),
    }


def citations(law: Law) -> Iterator[Citation]:
    """Every rule's citation, for counting what no source confirms."""
    if law.blocking:
        yield law.blocking.citation
    for rules in (law.memberships, law.recognitions, law.agreements, law.reaches):
        yield from (rule.citation for rule in rules)
    for item in law.instruments:
        yield item.citation
        for grant in item.grants:
            yield grant.citation
        for part in (
            item.deadline,
            item.enforcing_authority,
            item.preservation,
            item.notice,
            item.incomplete,
        ):
            if part is not None:
                yield part.citation


def show_law(law: Law, lawbook: Lawbook) -> Iterator[str]:
    """A jurisdiction's law, to be proof-read against the statutes."""
    yield f"{law.code or '*'}  {law.name} ({law.kind})"
    yield f"    file {law.file}, lawbook {lawbook.digest}"
    for note in law.notes:
        yield f"    note: {note}"
    if law.blocking:
        yield from _rule(
            f"forbids direct answers: {law.blocking.law}", [law.blocking.rule], law.blocking.citation
        )
    for other in lawbook.laws:
        for membership in other.memberships:
            dates = membership.states.get(law.code) if law.code else None
            if dates is not None:
                yield f"    bound by {membership.name}, {dates}  [{membership.citation.source}]"
                named = [item.id for item in other.instruments if item.membership == membership.id]
                yield f"    so law here too: {', '.join(named)} (situs law show {other.code})"
    for instrument in law.instruments:
        yield from show_instrument(instrument)
    for membership in law.memberships:
        yield from _membership(membership)
    for recognition in law.recognitions:
        yield from _recognition(recognition)
    for agreement in law.agreements:
        yield from _agreement(agreement)
    for reach in law.reaches:
        yield from _reach(reach)


def show_instrument(item: Instrument) -> Iterator[str]:
    """One instrument with every figure it has."""
    yield ""
    yield f"{item.id}  {item.name}"
    served = item.void_unless_served_within_months
    lines = [
        f"statute: {item.statute}",
        f"obliges to {item.deed}; opens by {item.opens}; {item.dates}",
        *([f"void unless served within {served} months"] if served else []),
        f"binds: {item.binds}",
        *(f"note: {note}" for note in item.notes),
    ]
    yield from _body(lines, item.citation)
    for grant in item.grants:
        yield from _rule(_words(grant.categories, DataCategory), _grant(grant), grant.citation)
    if item.deadline:
        within, emergency = item.deadline.within, item.deadline.emergency_within
        text = "set in the order itself" if within is None else _span(within)
        text += f"; emergency {_span(emergency)}" if emergency else ""
        yield from _rule(f"deadline: {text}", [], item.deadline.citation)
    if rule := item.enforcing_authority:
        lines = [
            f"{_span(rule.within)} to object; emergency {_span(rule.emergency_within)}, "
            f"release {'waits' if rule.emergency_suspends else 'does not wait'}",
            *(["not where offence and person are in the issuing state"] if rule.domestic_exempts else []),
        ]
        names = _words(rule.categories, DataCategory)
        yield from _rule(f"enforcing authority told of {names}", lines, rule.citation)
    if kept := item.preservation:
        more = ""
        if kept.extension:
            times = f", {kept.extensions} time(s)" if kept.extensions else ", renewable"
            more = f", prolonged by {_span(kept.extension)}{times}"
        yield from _rule(
            f"preserves for {_span(kept.lasts)} from {kept.counted_from}{more}; then: {kept.at_expiry}",
            [],
            kept.citation,
        )
    if item.notice:
        delay = f" (delay {_span(item.notice.delay)})" if item.notice.delay else ""
        yield from _rule(f"notice: {item.notice.rule}{delay}", [], item.notice.citation)
    if item.incomplete:
        text = f"incomplete: {item.incomplete.form}, within {_span(item.incomplete.within)}"
        yield from _rule(text, [], item.incomplete.citation)


def show_assessment(assessment: Assessment) -> Iterator[str]:
    """A decision in prose."""
    yield f"{assessment.outcome.upper()}  {_words(assessment.categories, DataCategory) or 'nothing'}"
    if assessment.due:
        yield f"due {rfc3339(assessment.due)}"
    yield ""
    for finding in assessment.findings:
        yield f"  {'ok' if finding.ok else 'NO':<3} {finding.code:<20} {finding.detail}  [{finding.source}]"
    for obligation in assessment.obligations:
        yield f"  {rfc3339(obligation.due)}  {obligation.code}: {obligation.detail}  [{obligation.source}]"
    if conflict := assessment.conflict:
        due = f"until {rfc3339(conflict.due)}" if conflict.due else "no statutory clock"
        yield f"  conflict with {conflict.law} ({due}): {conflict.detail}"
    if assessment.remedies:
        yield "  what would open this mailbox:"
    for remedy in assessment.remedies:
        roles = ", ".join(remedy.issuer_roles)
        yield f"    {remedy.instrument:<24} {remedy.route} (issued by: {roles})"
    yield ""
    yield f"lawbook {assessment.lawbook}"


def _grant(grant: Grant) -> list[str]:
    lines = [f"issued by: {_words(grant.issuers, IssuerRole)}"] if grant.issuers else []
    if grant.validated_issuers:
        lines.append(
            f"or by {_words(grant.validated_issuers, IssuerRole)}, "
            f"validated by {_words(grant.validators, IssuerRole)}"
        )
    if grant.validation_within:
        lines.append(f"in an emergency validated within {_span(grant.validation_within)}")
    if grant.offence:
        lines.append(_offence(grant.offence))
    if grant.timespan_required:
        lines.append("the order must give a timespan")
    return lines


def _membership(rule: Membership) -> Iterator[str]:
    by_dates: dict[Dates, list[str]] = {}
    for state, dates in sorted(rule.states.items()):
        by_dates.setdefault(dates, []).append(state.code)
    lines = [f"{dates}: {', '.join(states)}" for dates, states in by_dates.items()]
    yield ""
    yield from _rule(f"{rule.id}  {rule.name} binds", lines, rule.citation)


def _recognition(rule: Recognition) -> Iterator[str]:
    accepted = [
        *sorted(rule.accepts),
        *(["any foreign state's order, mla.request"] if rule.accepts_any else []),
    ]
    lines = [
        f"takes up: {', '.join(accepted)}; {rule.dates}",
        f"for: {_words(rule.categories, DataCategory)}",
        f"signed as `recognise` by: {_words(rule.recognisers, IssuerRole)}",
    ]
    yield ""
    yield from _rule(f"{rule.id}  {rule.name}", lines, rule.citation)


def _agreement(rule: Agreement) -> Iterator[str]:
    lines = [
        f"lets in {', '.join(sorted(rule.instruments))} of {rule.partner}; {rule.dates}",
        f"for: {_words(rule.categories, DataCategory)}",
        *([_offence(rule.offence)] if rule.offence else []),
        *(f"not for a target of {state} or there" for state in sorted(rule.excluded_targets)),
        f"route: {rule.route}",
    ]
    yield ""
    yield from _rule(f"{rule.id}  {rule.name}", lines, rule.citation)


def _reach(rule: Reach) -> Iterator[str]:
    lines = [f"claims data stored elsewhere, for {', '.join(sorted(rule.instruments))}; {rule.dates}"]
    if rule.objection:
        where = " (storage state with an agreement only)" if rule.objection_needs_agreement else ""
        lines.append(f"objection within {_span(rule.objection)}{where}: {rule.objection_law}")
    lines += [f"no such objection for storage in {state}" for state in sorted(rule.objection_not_for)]
    lines.append(f"otherwise: {rule.otherwise}")
    yield ""
    yield from _rule(rule.law, lines, rule.citation)


def _rule(title: str, lines: Sequence[str], citation: Citation) -> Iterator[str]:
    yield f"    {title}"
    yield from (f"    {line}" for line in _body(lines, citation))


def _body(lines: Sequence[str], citation: Citation) -> Iterator[str]:
    yield from (f"    {line}" for line in lines)
    yield f"    [{citation.source}]" + ("" if citation.confirmed else "  NOT CONFIRMED")


def _offence(test: OffenceTest) -> str:
    if not test.years:
        return "an offence must be stated"
    return f"offence of at least {test.years:g} years' maximum" + (
        ", or a listed one" if test.or_listed else ""
    )


def _words(
    values: frozenset[DataCategory] | frozenset[IssuerRole], kind: type[DataCategory | IssuerRole]
) -> str:
    return ", ".join(word for word in kind if word in values)


def _span(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    return f"{hours} hours" if hours % 24 or hours <= 96 else f"{hours // 24} days"
