"""The validation that an emergency's order owes (Reg. (EU) 2023/1543 Art. 4(5)), and what follows without it.

In an emergency an authority may issue an order that another has to validate, and have it validated
within 48 hours. Until then what the order carries may be kept and handed over. Where the validation
does not come in time, the order is withdrawn: the disclosure is `Cancelled`, its package is deleted,
and the hold that was placed for it ends, since it was placed until then and no longer.

    validations/<id>.json     the order with the validating signature, written once

The case of a disclosure does not change: a validation is a document beside it. Whoever verifies the
order anew reads the text with the most signatures (`standing_order`).
"""

from __future__ import annotations

import json
from datetime import datetime

from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import Desk, cleared
from gateway.disclosure.docket import Filed
from gateway.disclosure.filing import unverified_refusal
from gateway.disclosure.lifecycle import (
    AwaitingApproval,
    AwaitingDisclosure,
    AwaitingPreservation,
    Case,
    Disclosed,
    Disclosure,
    DisclosureNotAvailable,
    Preserved,
)
from gateway.disclosure.models import ValidationRequest
from gateway.disclosure.preservation import hold_terms
from gateway.disclosure.problems import Kind, Problem, fault
from policy.assessment import ObligationCode
from policy.clearance import Clearance, Role
from policy.decision import Await, Circumstances, Permit, Preserve, Refusal, decide
from policy.hold import HoldId
from policy.verification import MalformedOrder, Unverified, VerifiedOrder, read_order, verify_order
from storage.audit.entry import Event, Result
from storage.errors import AlreadyExists, NotFound
from storage.identity import AccountId
from storage.operators import Documents

# What a missing validation still ends: everything that has kept, prepared or handed over.
Owing = (
    AwaitingApproval
    | AwaitingDisclosure
    | AwaitingPreservation
    | Disclosed
    | DisclosureNotAvailable
    | Preserved
)


def validation_due(case: Case) -> datetime | None:
    """When the validation had to be there at the latest; None where the order needs none."""
    for owed in case.decision["obligations"]:
        if owed["code"] == ObligationCode.VALIDATION:
            return datetime.fromisoformat(owed["due"])
    return None


async def standing_order(documents: Documents, case: Case) -> str:
    """The order as received, or with the validating signature where that has come. Raises StorageError."""
    if validation_due(case) is None:
        return case.order
    try:
        return str(json.loads((await documents.get(_key(case))).body)["order"])
    except NotFound:
        return case.order


async def is_validated(documents: Documents, case: Case) -> bool:
    """Whether the validation has been recorded. Raises StorageError: then nothing is known."""
    try:
        await documents.get(_key(case))
    except NotFound:
        return False
    return True


async def is_missed(documents: Documents, case: Case, now: datetime) -> bool:
    """Whether a validation was due and did not come. Raises StorageError: then nothing is known."""
    due = validation_due(case)
    return due is not None and now >= due and not await is_validated(documents, case)


async def hear_validation(attempt: Attempt, desk: Desk, text: str, body: ValidationRequest) -> Filed:
    """Record the validating signature. Raises Problem.

    In the log first, then the document, then the hold: repeated after a crash, it completes what is missing.
    """
    chamber, filed = await desk.find(attempt, text)
    by = cleared(attempt, Role.INTAKE, chamber.region.code)
    state, case = filed.disclosure, filed.disclosure.case
    due = validation_due(case)
    if due is None or not isinstance(state, Owing):
        raise Problem(Kind.STATE, "no validation is owed in this disclosure")
    if attempt.now >= due:
        raise Problem(Kind.STATE, f"the validation was due at {due.isoformat()}")
    verified = _same_order(attempt, case, body)
    decision = decide(
        verified,
        frozenset(case.requested),
        attempt.office.setting(chamber.region),
        attempt.office.lawbook,
        attempt.now,
        Circumstances(received_at=case.asked.at),
    )
    assessment = decision.assessment
    owing = any(owed.code == ObligationCode.VALIDATION for owed in assessment.obligations)
    if isinstance(decision, Refusal) or owing:
        detail = "nobody who may has validated the order" if owing else "the law does not carry the order now"
        raise Problem(Kind.REFUSED, detail, members={"decision": assessment.to_json()})
    place = await attempt.commit(Event.DISCLOSURE_VALIDATED, outcome=Result(assessment.outcome))
    await _keep(chamber.vault, case, verified, attempt, place.index)
    await _prolong(desk, state, decision, by)
    return filed


def _same_order(attempt: Attempt, case: Case, body: ValidationRequest) -> VerifiedOrder:
    """The order that came before, with a signature more; another order is no validation of this one."""
    given = body.order if isinstance(body.order, str) else json.dumps(body.order)
    try:
        verified = verify_order(read_order(given), attempt.office.trust(), attempt.now)
    except MalformedOrder as error:
        members = {"field": error.field, "rule": error.rule}
        raise Problem(Kind.MALFORMED_ORDER, str(error), members=members) from None
    except Unverified as error:
        raise unverified_refusal(error, attempt.office.lawbook.digest) from None
    if verified.issuer.name != case.issuer or verified.order != read_order(case.order).order:
        raise fault("order", "the order of this disclosure is expected")
    return verified


async def _keep(documents: Documents, case: Case, verified: VerifiedOrder, attempt: Attempt, at: int) -> None:
    document = {
        "version": 1,
        "order": verified.raw.decode(),
        "by": attempt.asker.name,
        "token": attempt.asker.token,
        "at": attempt.now.isoformat(),
        "entry": at,
    }
    try:
        await documents.put_if_absent(_key(case), json.dumps(document).encode())
    except AlreadyExists:
        return  # validated before; one suffices


async def _prolong(desk: Desk, state: Disclosure, decision: Permit | Preserve | Await, by: Clearance) -> None:
    """A hold that was placed until the validation goes on for as long as the order says."""
    reference = state.hold if isinstance(state, Preserved) else state.case.hold
    if reference is None or isinstance(decision, Permit):
        return
    register = desk.holds(state.case.region)
    standing = await register.get(HoldId.parse(reference))
    until = hold_terms(decision, AccountId.parse(state.case.account)).until
    if standing.until is not None and (until is None or until > standing.until):
        await register.prolong(standing.id, by, until)


def _key(case: Case) -> str:
    return f"validations/{case.id}.json"
