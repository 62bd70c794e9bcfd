"""The story of an order, from its arrival at the gateway to the decision that is told.

    1. The request is read: JSON, its schema, the order's form. Nothing is believed yet.
    2. The mailbox is located, and the operator cleared for its region. To somebody who is not
       cleared there, a mailbox and no mailbox give the same answer by the same work.
    3. The order is verified: who signed it, and may they.
    4. The order is claimed: it becomes one disclosure, at however many processes it arrives.
    5. The law of the place where the mailbox lies decides.
    6. The full record is sealed in the region; the decision is committed to its log.
    7. The disclosure is filed, and only now is anything answered.

A crash before 6 has told nobody anything; the claim is abandoned, and the order can come again.
A crash between 6 and 7 leaves a decision in the log with no disclosure to approve: the order
comes again, and the log shows both. Nothing here reads mail, and nothing here can.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, final

import rfc8785
from pydantic import ValidationError

from gateway.disclosure.attempt import Attempt, elsewhere, reference
from gateway.disclosure.cms import CannotReceive, Recipient
from gateway.disclosure.docket import Claim, Docket, Filed, Replayed
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
from gateway.disclosure.models import DisclosureRequest
from gateway.disclosure.office import Chamber
from gateway.disclosure.problems import Kind, Problem
from policy.clearance import NotCleared, Role
from policy.decision import Await, Circumstances, Permit, Preserve, Refusal, decide
from policy.geography import RegionCode
from policy.order import DataCategory, Order
from policy.strict_json import JsonFault, parse
from policy.verification import (
    MalformedOrder,
    Unverified,
    UnverifiedOrder,
    VerifiedOrder,
    read_order,
    verify_order,
)
from storage.audit.entry import Event, Result
from storage.audit.records import RecordRoom
from storage.errors import NotFound, UnknownAddress
from storage.identity import AccountId
from storage.located import Located
from storage.operators import person

_BODY_DEPTH: Final = 16  # an order as an object stands two levels deep in its request

Decision = Permit | Preserve | Await | Refusal


@final
@dataclass(frozen=True, slots=True)
class Received:
    """A request that could be read: the order's form, and what is asked for on its strength."""

    unverified: UnverifiedOrder
    requested: frozenset[DataCategory]
    body: bytes


async def receive(
    attempt: Attempt, dockets: Mapping[RegionCode, Docket], body: bytes, idempotency_key: str | None
) -> Filed:
    """One attempt from beginning to end. Raises Problem for every end but a filed disclosure."""
    received = read_request(body)
    order = received.unverified.order
    attempt.claims(order, received.requested)
    chamber, located = await _cleared(attempt, order)
    docket = dockets[chamber.region.code]
    disclosure, earlier = await _repeated(attempt, docket, received, idempotency_key)
    if earlier is not None:
        return earlier
    verified = await _verified(attempt, received, located)
    _receivable(attempt, verified)
    disclosure = await _claimed(attempt, docket, verified, disclosure)
    decision = decide(
        verified,
        received.requested,
        attempt.office.setting(located.home),
        attempt.office.lawbook,
        attempt.now,
        Circumstances(received_at=attempt.now),
    )
    return await _filed(attempt, docket, received, decision, located, disclosure)


def read_request(body: bytes) -> Received:
    """Step 1. Raises Problem: 400 for what is not JSON, 422 for what breaks the schema or is no order."""
    try:
        value = parse(body, max_depth=_BODY_DEPTH)
    except JsonFault as fault:
        raise Problem(Kind.MALFORMED_REQUEST, str(fault)) from None
    try:
        request = DisclosureRequest.model_validate(value)
    except ValidationError as error:
        raise Problem(Kind.INVALID_REQUEST, **faults(error)) from None
    text = request.order if isinstance(request.order, str) else json.dumps(request.order)
    try:
        return Received(read_order(text), frozenset(request.requested), body)
    except MalformedOrder as error:
        members = {"field": error.field, "rule": error.rule}
        raise Problem(Kind.MALFORMED_ORDER, str(error), members=members) from None


def faults(error: ValidationError) -> dict[str, Any]:
    """A Problem's detail and members for what pydantic found: every fault, none of the input."""
    found = [
        {"field": ".".join(map(str, fault["loc"])) or "body", "rule": fault["msg"]}
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = found[0]
    return {"detail": f"{first['field']}: {first['rule']}", "members": {"faults": found[:20]}}


async def _cleared(attempt: Attempt, order: Order) -> tuple[Chamber, Located]:
    """Step 2. The two refusals are one: same problem, same log, same number of appends."""
    try:
        located = await attempt.office.directory.find(order.target)
        chamber = attempt.office.chambers.get(located.home.code)
        if chamber is None and located.home.code in attempt.asker.elsewhere:
            raise elsewhere(attempt.office, located.home)
        attempt.asker.cleared(Role.INTAKE, located.home.code)
    except (UnknownAddress, NotCleared):
        raise Problem(Kind.CLEARANCE) from None
    if chamber is None:
        raise AssertionError("nobody is cleared for a region that is not served")
    attempt.enter(chamber, located.account)
    return chamber, located


async def _repeated(
    attempt: Attempt, docket: Docket, received: Received, idempotency_key: str | None
) -> tuple[DisclosureId, Filed | None]:
    """The id to file under; and what was filed, where this key has brought this request before."""
    fresh = DisclosureId.new(attempt.now)
    if idempotency_key is None:
        return fresh, None
    scope = f"{person(attempt.asker.name)}\x00{idempotency_key}"
    disclosure, same = await docket.repeat(scope, received.body, fresh)
    if not same:
        raise Problem(Kind.IDEMPOTENCY)
    if disclosure == fresh:
        return fresh, None
    try:
        filed = await docket.get(disclosure)
    except NotFound:  # the first request is under way, or died: this one takes its place
        return disclosure, None
    place = await attempt.commit(Event.DISCLOSURE_VIEWED, disclosure=str(disclosure))
    if is_refusal(filed.disclosure):
        raise refused(filed.disclosure.case).audited(reference(place))
    return disclosure, filed


async def _verified(attempt: Attempt, received: Received, located: Located) -> VerifiedOrder:
    """Step 3."""
    try:
        verified = verify_order(received.unverified, attempt.office.trust(), attempt.now)
    except Unverified as error:
        steps = [f"{step.number} {step.title}: {step.detail}" for step in error.steps]
        attempt.learn(record=await _recorded(attempt, received, located, {"steps": steps}))
        raise unverified_refusal(error, attempt.office.lawbook.digest) from None
    attempt.learn(issuer=verified.issuer.name)
    return verified


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


def recipient(verified: VerifiedOrder, now: datetime) -> Recipient:
    """Whom the package is for: `deliver_to`, else the authority that made the order. Raises CannotReceive."""
    if verified.order.deliver_to is not None:
        return Recipient.from_pem(verified.order.deliver_to, now)
    return Recipient(verified.issuer_certificate, now)


def _receivable(attempt: Attempt, verified: VerifiedOrder) -> None:
    """Better told now than after somebody has approved a package that nobody can open."""
    try:
        recipient(verified, attempt.now)
    except CannotReceive as error:
        members = {"field": "deliver_to", "rule": str(error)}
        raise Problem(Kind.MALFORMED_ORDER, f"deliver_to: {error}", members=members) from None


async def _claimed(
    attempt: Attempt, docket: Docket, verified: VerifiedOrder, disclosure: DisclosureId
) -> DisclosureId:
    """Step 4."""
    try:
        return await docket.claim(verified.replay_key, Claim(disclosure, verified.digest, attempt.now))
    except Replayed as error:
        attempt.learn(disclosure=str(error.id))
        raise Problem(Kind.REPLAY, members={"disclosure": str(error.id)}) from None


async def _filed(
    attempt: Attempt,
    docket: Docket,
    received: Received,
    decision: Decision,
    located: Located,
    disclosure: DisclosureId,
) -> Filed:
    """Steps 6 and 7."""
    assessment = decision.assessment
    record = await _recorded(attempt, received, located, {"decision": assessment.to_json()})
    attempt.learn(disclosure=str(disclosure))
    place = await attempt.commit(
        Event.DISCLOSURE_DECIDED,
        outcome=Result(assessment.outcome),
        categories=assessment.categories,
        findings=tuple(finding.code for finding in assessment.findings if not finding.ok),
        lawbook=assessment.lawbook,
        record=record,
    )
    case = _case(received, decision, located.account, disclosure, attempt.deed(place))
    filed = await docket.file(_first_state(case, decision))
    if is_refusal(filed.disclosure):
        raise refused(case).audited(reference(place))
    return filed


async def _recorded(attempt: Attempt, received: Received, located: Located, found: Mapping[str, Any]) -> str:
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


def _case(
    received: Received, decision: Decision, account: AccountId, disclosure: DisclosureId, asked: Deed
) -> Case:
    verified, assessment = decision.verified, decision.assessment
    order = verified.order
    told = assessment.to_json()
    return Case(
        id=disclosure,
        region=decision.region.code,
        account=str(account),
        order=verified.raw.decode(),
        order_digest=verified.digest,
        reference=order.reference,
        issuer=verified.signatories[0].name,
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
    )


def decision_digest(told: dict[str, Any]) -> str:
    """`sha256:` of the decision in RFC 8785 form: what an approver says that they have read."""
    return f"sha256:{hashlib.sha256(rfc8785.dumps(told)).hexdigest()}"


def _first_state(case: Case, decision: Decision) -> Disclosure:
    match decision:
        case Permit() | Await():
            return AwaitingApproval(case)
        case Preserve():
            return AwaitingPreservation(case)
        case Refusal():
            return Rejected(case, None, "refused by the law of the place")


def is_refusal(disclosure: Disclosure) -> bool:
    """Whether the law itself refused, on receipt."""
    return isinstance(disclosure, Rejected) and disclosure.decided is None


def refused(case: Case) -> Problem:
    """403, with the whole decision: what failed, what would open the mailbox, and by which route."""
    failed = [finding["code"] for finding in case.decision["findings"] if not finding["ok"]]
    members = {"decision": case.decision, "disclosure": str(case.id)}
    return Problem(Kind.REFUSED, f"refused: {', '.join(failed)}", members=members)
