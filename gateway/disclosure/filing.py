"""What is written down of a decision: the case that is filed, the record that is sealed, the refusal told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, final

import rfc8785

from gateway.disclosure.attempt import Attempt
from gateway.disclosure.cms import Recipient
from gateway.disclosure.lifecycle import (
    AwaitingApproval,
    AwaitingPreservation,
    Case,
    Deed,
    Disclosure,
    DisclosureId,
    Rejected,
    Signed,
)
from gateway.disclosure.models import Rendition
from gateway.disclosure.problems import Kind, Problem
from policy.decision import Await, Permit, Preserve, Refusal
from policy.order import DataCategory
from policy.verification import Unverified, UnverifiedOrder, VerifiedOrder
from storage.audit.records import RecordRoom
from storage.located import Located

Decision = Permit | Preserve | Await | Refusal


@final
@dataclass(frozen=True, slots=True)
class Received:
    """A request that could be read: the order's form, and what is asked for on its strength."""

    unverified: UnverifiedOrder
    requested: frozenset[DataCategory]
    renditions: tuple[Rendition, ...]
    body: bytes


async def seal_record(
    attempt: Attempt, received: Received, located: Located, found: Mapping[str, Any]
) -> str:
    """Seal the full record, to the account's own key; returns the digest that the entry carries."""
    chamber = attempt.office.chambers[located.home.code]
    told = {
        "order": received.unverified.raw.decode(),
        "requested": sorted(received.requested),
        "asked_by": attempt.asker.name,
        "token": attempt.asker.token,
        "at": attempt.now.isoformat(),
    }
    return await RecordRoom(chamber.store, chamber.vault).keep(
        {**told, **found}, about=(located.account, located.keys)
    )


def case_of(
    received: Received,
    decision: Decision,
    located: Located,
    disclosure: DisclosureId,
    asked: Deed,
    hold: str | None,
) -> Case:
    """The facts that stay the same through the disclosure's life."""
    verified, assessment = decision.verified, decision.assessment
    order = verified.order
    told = assessment.to_json()
    return Case(
        id=disclosure,
        region=decision.region.code,
        account=str(located.account),
        order=verified.raw.decode(),
        order_digest=verified.digest,
        reference=order.reference,
        issuer=verified.issuer.name,
        instrument=order.instrument,
        matter=order.matter,
        signatures=tuple(
            Signed(each.name, each.role, str(each.jurisdiction), tuple(sorted(each.issuer_roles)))
            for each in verified.signatories
        ),
        requested=tuple(sorted(received.requested)),
        carried=tuple(sorted(assessment.categories)),
        decision=told,
        decision_digest=decision_digest(told),
        asked=asked,
        due=assessment.due,
        lapses=order.expires_at,
        hold=hold,
        renditions=received.renditions,
    )


def decision_digest(told: dict[str, Any]) -> str:
    """`sha256:` of the decision in RFC 8785 form: what an approver says that they have read."""
    return f"sha256:{hashlib.sha256(rfc8785.dumps(told)).hexdigest()}"


def first_state(case: Case, decision: Decision) -> Disclosure:
    match decision:
        case Permit() | Await():
            return AwaitingApproval(case)
        case Preserve():
            return AwaitingPreservation(case)
        case Refusal():
            return Rejected(case, None, "refused by the law of the place")


def recipient(verified: VerifiedOrder, now: datetime) -> Recipient:
    """Whom the package is for: `deliver_to`, else the authority that made the order. Raises CannotReceive."""
    if verified.order.deliver_to is not None:
        return Recipient.from_pem(verified.order.deliver_to, now)
    return Recipient(verified.issuer_certificate, now)


def is_refusal(disclosure: Disclosure) -> bool:
    """Whether the law itself refused, on receipt."""
    return isinstance(disclosure, Rejected) and disclosure.decided is None


def refused(case: Case) -> Problem:
    """403, with the whole decision: what failed, what would open the mailbox, and by which route."""
    failed = [finding["code"] for finding in case.decision["findings"] if not finding["ok"]]
    members = {"decision": case.decision, "disclosure": str(case.id)}
    return Problem(Kind.REFUSED, f"refused: {', '.join(failed)}", members=members)


def unverified_refusal(error: Unverified, lawbook: str) -> Problem:
    """403 for an order that nobody stands behind, in the words of a decision: the law was not asked."""
    source = f"policy.verification, step {error.steps[-1].number}" if error.steps else "policy.verification"
    finding = {"code": error.code, "ok": False, "detail": error.detail, "source": source}
    decision = {
        "outcome": "refuse",
        "categories": [],
        "findings": [finding],
        "obligations": [],
        "conflict": None,
        "remedies": [],
        "due": None,
        "lawbook": lawbook,
    }
    return Problem(Kind.REFUSED, error.detail, members={"code": error.code, "decision": decision})
