"""A disclosure as the API tells it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple

from gateway.disclosure import hold_models, models
from gateway.disclosure.lifecycle import (
    AwaitingDisclosure,
    Cancelled,
    Deed,
    Disclosed,
    Disclosure,
    DisclosureNotAvailable,
    PreservationNotAvailable,
    Preserved,
    Rejected,
    Signed,
)
from policy.hold import DomainScope, Hold, MailboxScope, MatterScope, OrderBasis, OwnLitigation


class Represented(NamedTuple):
    """A resource's octets, and their entity tag (RFC 9110 8.8.3): another one with each change."""

    body: bytes
    tag: str


def represented(resource: models.Disclosure | hold_models.Hold) -> Represented:
    """What is sent of a disclosure or a hold, and what `If-Match` is held against."""
    body = resource.model_dump_json().encode()
    return Represented(body, hashlib.sha256(body).hexdigest())


def present(disclosure: Disclosure) -> models.Disclosure:
    """The resource. The decision is the one made on receipt, which the approver has to read."""
    case = disclosure.case
    here = f"/v1/disclosures/{case.id}"
    decided, reason = _decided(disclosure)
    packaged = isinstance(disclosure, Disclosed | DisclosureNotAvailable)
    return models.Disclosure(
        id=str(case.id),
        status=disclosure.status,
        region=str(case.region),
        reference=case.reference,
        matter=case.matter,
        instrument=case.instrument,
        issuer=case.issuer,
        signatures=[present_signature(each) for each in case.signatures],
        order_digest=case.order_digest,
        requested=list(case.requested),
        renditions=list(case.renditions),
        carried=list(case.carried),
        decision=models.Decision.model_validate(case.decision),
        decision_digest=case.decision_digest,
        asked_by=case.asked.by,
        created=case.asked.at,
        due=case.due,
        expires=case.lapses,
        decided_by=decided.by if decided else None,
        decided=decided.at if decided else None,
        reason=reason,
        hold=disclosure.hold if isinstance(disclosure, Preserved) else case.hold,
        audit=models.Audit(region=str(case.asked.entry.region), index=case.asked.entry.index),
        links=models.Links(self=here, package=f"{here}/package" if packaged else None),
    )


def present_signature(signed: Signed) -> models.Signature:
    return models.Signature.model_validate(
        {
            "name": signed.name,
            "role": signed.role,
            "jurisdiction": signed.jurisdiction,
            "issuer_roles": list(signed.issuer_roles),
        }
    )


def present_hold(hold: Hold, now: datetime) -> hold_models.Hold:
    """A hold, for those who are cleared to know of it."""
    order = hold.basis if isinstance(hold.basis, OrderBasis) else None
    proposal = hold.proposal
    return hold_models.Hold(
        id=str(hold.id),
        region=str(hold.region),
        phase=hold.phase(now),
        address=str(hold.scope.address) if isinstance(hold.scope, MailboxScope) else None,
        domain=hold.scope.domain if isinstance(hold.scope, DomainScope) else None,
        accounts=len(hold.scope.accounts) if isinstance(hold.scope, MatterScope) else None,
        matter=hold.scope.matter if isinstance(hold.scope, MatterScope) else hold.matter,
        basis="order" if order else "litigation",
        instrument=order.instrument if order else None,
        reference=order.reference if order else None,
        reason=hold.basis.reason if isinstance(hold.basis, OwnLitigation) else None,
        timespan_start=hold.timespan.start if hold.timespan else None,
        timespan_end=hold.timespan.end if hold.timespan else None,
        query=hold_models.HoldQueryTold(
            parties=sorted(map(str, hold.query.parties)),
            domains=sorted(hold.query.domains),
            message_ids=sorted(hold.query.message_ids),
        )
        if hold.query
        else None,
        placed_by=hold.placed_by,
        placed=hold.placed_at,
        until=hold.until,
        keeps_until=hold.keeps_until,
        proposal=hold_models.HoldProposal(
            by=proposal.by, at=proposal.at, reason=proposal.reason, until=proposal.until
        )
        if proposal
        else None,
        links=hold_models.HoldLinks(self=f"/v1/holds/{hold.id}"),
    )


def _decided(disclosure: Disclosure) -> tuple[Deed | None, str | None]:
    match disclosure:
        case Rejected() | Cancelled():
            return disclosure.decided, disclosure.reason
        case AwaitingDisclosure() | Disclosed() | DisclosureNotAvailable():
            return disclosure.approved, None
        case PreservationNotAvailable():
            return None, disclosure.reason
        case _:
            return None, None
