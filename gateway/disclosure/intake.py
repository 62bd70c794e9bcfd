"""The story of an order, from its arrival at the gateway to the decision that is told.

    1. The request is read: JSON, its schema, the order's form. Nothing is believed yet.
    2. The mailbox is located, and the operator cleared for its region. To somebody who is not
       cleared there, a mailbox and no mailbox give the same answer by the same work.
    3. The order is verified: who signed it, and may they.
    4. The order is claimed: it becomes one disclosure, at however many processes it arrives.
    5. The law of the place where the mailbox lies decides.
    6. The full record is sealed in the region; the decision is committed to its log.
    7. What may not be handed over, or not yet, is put under a hold.
    8. The disclosure is filed, and only now is anything answered.

A crash before 6 has told nobody anything; the claim is abandoned, and the order can come again.
A crash between 6 and 8 leaves a decision in the log with no disclosure to approve, and perhaps a
hold: the order comes again, and the log shows both. Nothing here reads mail, and nothing here can.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Final

from pydantic import ValidationError

from gateway.disclosure.attempt import Attempt, elsewhere, reference
from gateway.disclosure.cms import CannotReceive
from gateway.disclosure.desk import Desk
from gateway.disclosure.docket import Claim, Docket, Filed, Replayed
from gateway.disclosure.filing import (
    Decision,
    Received,
    case_of,
    first_state,
    is_refusal,
    recipient,
    refused,
    seal_record,
    unverified_refusal,
)
from gateway.disclosure.lifecycle import DisclosureId
from gateway.disclosure.models import DisclosureRequest
from gateway.disclosure.preservation import (
    NOT_HELD,
    hold_terms,
    keep_meanwhile,
    must_keep,
    preserve,
)
from gateway.disclosure.problems import Kind, Problem, faults
from policy.clearance import Clearance, NotCleared, Role
from policy.decision import Await, Circumstances, Permit, Preserve, decide
from policy.order import Order
from policy.rules import Deed
from policy.strict_json import JsonFault, parse
from policy.verification import MalformedOrder, Unverified, VerifiedOrder, read_order, verify_order
from storage.audit.entry import Event, Result
from storage.errors import NotFound, UnknownAddress
from storage.located import Located
from storage.operators import person

_BODY_DEPTH: Final = 16  # an order as an object stands two levels deep in its request


async def receive(attempt: Attempt, desk: Desk, body: bytes, idempotency_key: str | None) -> Filed:
    """One attempt from beginning to end. Raises Problem for every end but a filed disclosure."""
    attempt.is_whole()
    received = read_request(body)  # 1
    order = received.unverified.order
    attempt.claims(order, received.requested)
    located, clearance = await _cleared(attempt, order)  # 2
    if idempotency_key is None:
        return await _decided(attempt, desk, received, located, clearance, DisclosureId.new(attempt.now))
    scope = f"{person(attempt.asker.name)}\x00{idempotency_key}"
    async with desk.turns.of(scope):
        disclosure, earlier = await _repeated(attempt, desk.dockets[clearance.region], received, scope)
        if earlier is not None:
            return earlier
        return await _decided(attempt, desk, received, located, clearance, disclosure)


async def _decided(
    attempt: Attempt,
    desk: Desk,
    received: Received,
    located: Located,
    clearance: Clearance,
    disclosure: DisclosureId,
) -> Filed:
    """Steps 3 to 8, under the id that the request has."""
    docket = desk.dockets[clearance.region]
    verified = await _verified(attempt, received, located)  # 3
    disclosure = await _claimed(attempt, docket, verified, disclosure)  # 4
    decision = decide(  # 5
        verified,
        received.requested,
        attempt.office.setting(located.home),
        attempt.office.lawbook,
        attempt.now,
        Circumstances(received_at=attempt.now),
    )
    return await _filed(attempt, desk, received, decision, located, clearance, disclosure)  # 6 to 8


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
        return Received(read_order(text), frozenset(request.requested), tuple(request.renditions), body)
    except MalformedOrder as error:
        members = {"field": error.field, "rule": error.rule}
        raise Problem(Kind.MALFORMED_ORDER, str(error), members=members) from None


async def _cleared(attempt: Attempt, order: Order) -> tuple[Located, Clearance]:
    """Step 2. The two refusals are one: same problem, same log, same number of appends."""
    try:
        located = await attempt.office.directory.find(order.target)
        home = located.home.code
        if home not in attempt.office.chambers and home in attempt.asker.elsewhere:
            raise elsewhere(attempt.office, located.home)
        clearance = attempt.asker.cleared(Role.INTAKE, home)
    except (UnknownAddress, NotCleared):
        raise Problem(Kind.CLEARANCE) from None
    attempt.enter(attempt.office.chambers[home], located.account)
    return located, clearance


async def _repeated(
    attempt: Attempt, docket: Docket, received: Received, scope: str
) -> tuple[DisclosureId, Filed | None]:
    """The id to file under; and what was filed, where this key has brought this request before."""
    fresh = DisclosureId.new(attempt.now)
    disclosure, same = await docket.repeat(scope, received.body, fresh)
    if not same:
        raise Problem(Kind.IDEMPOTENCY)
    if disclosure == fresh:
        return fresh, None
    try:
        filed = await docket.get(disclosure)
    except NotFound:  # the first request died, or is under way in another process: this one takes its place
        return disclosure, None
    place = await attempt.commit(Event.DISCLOSURE_VIEWED, disclosure=str(disclosure))
    if is_refusal(filed.disclosure):
        raise refused(filed.disclosure.case).audited(reference(place))
    return disclosure, filed


async def _verified(attempt: Attempt, received: Received, located: Located) -> VerifiedOrder:
    """Step 3; and that the package can be encrypted to somebody, before anybody approves it."""
    try:
        verified = verify_order(received.unverified, attempt.office.trust(), attempt.now)
        instrument = attempt.office.lawbook.instrument(verified.order.instrument)
        if instrument is None or instrument.deed is not Deed.PRESERVE:
            recipient(verified, attempt.now)
    except Unverified as error:
        steps = [f"{step.number} {step.title}: {step.detail}" for step in error.steps]
        attempt.learn(record=await seal_record(attempt, received, located, {"steps": steps}))
        raise unverified_refusal(error, attempt.office.lawbook.digest) from None
    except CannotReceive as error:
        members = {"field": "deliver_to", "rule": str(error)}
        raise Problem(Kind.MALFORMED_ORDER, f"deliver_to: {error}", members=members) from None
    attempt.learn(issuer=verified.issuer.name)
    return verified


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
    desk: Desk,
    received: Received,
    decision: Decision,
    located: Located,
    clearance: Clearance,
    disclosure: DisclosureId,
) -> Filed:
    """Steps 6 to 8."""
    assessment = decision.assessment
    record = await seal_record(attempt, received, located, {"decision": assessment.to_json()})
    attempt.learn(disclosure=str(disclosure))
    place = await attempt.commit(
        Event.DISCLOSURE_DECIDED,
        outcome=Result(assessment.outcome),
        categories=assessment.categories,
        findings=tuple(finding.code for finding in assessment.findings if not finding.ok),
        lawbook=assessment.lawbook,
        record=record,
    )
    hold = None
    register = desk.holds(clearance.region)
    if isinstance(decision, Await | Permit) and await must_keep(register, decision, located, attempt.now):
        hold = await keep_meanwhile(register, decision, located, disclosure, clearance)
    case = case_of(received, decision, located, disclosure, attempt.deed(place), hold)
    docket = desk.dockets[clearance.region]
    filed = await docket.file(first_state(case, decision))
    if is_refusal(filed.disclosure):
        raise refused(case).audited(reference(place))
    if isinstance(decision, Preserve):
        terms = hold_terms(decision, located.account)
        give_up = partial(
            attempt.commit, Event.DISCLOSURE_CANCELLED, outcome=Result.REFUSE, findings=NOT_HELD
        )
        return await preserve(register, docket, filed, terms, clearance, attempt.now, give_up)
    return filed
