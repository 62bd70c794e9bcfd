"""The second pair of eyes: a disclosure approved or rejected by somebody who did not ask for it.

Before a yes counts, the order is verified again and decided again, by the trust list, the law and
the clock of this moment. A permit is never stored: what was lawful on Monday may be revoked on
Tuesday. Of two approvals, or an approval and a rejection, the first to swap the document wins; the
other is told so with a 409. Both deeds stand in the log, since each was logged before it could take
effect; the one that took none is followed by an `attempt.failed` with the finding `decided-meanwhile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn, assert_never, final

from gateway.disclosure.attempt import Attempt
from gateway.disclosure.cms import CannotReceive, Recipient
from gateway.disclosure.desk import Desk, cleared
from gateway.disclosure.docket import Docket, Filed
from gateway.disclosure.filing import recipient
from gateway.disclosure.lifecycle import (
    AwaitingApproval,
    AwaitingDisclosure,
    Case,
    Disclosed,
    Disclosure,
    Heard,
    WrongState,
)
from gateway.disclosure.lifecycle import Entry as Place
from gateway.disclosure.models import AnswerRequest
from gateway.disclosure.office import Chamber, Office
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.validating import standing_order
from policy.assessment import EnforcingAnswer, FindingCode, ObligationCode, Outcome
from policy.clearance import ApprovedPermit, Clearance, NotCleared, Role, SamePerson, approve
from policy.decision import Await, Circumstances, Permit, Preserve, Refusal, decide
from policy.verification import Unverified, read_order, verify_order
from storage.audit.entry import Event, Result
from storage.errors import Conflict, UnknownAddress
from storage.operators import person

# What can still come to a release.
Pending = AwaitingApproval | AwaitingDisclosure
_ANOTHERS_SAY: Final = ObligationCode.ENFORCING_AUTHORITY


@final
@dataclass(frozen=True, slots=True)
class Ready:
    """All that a release needs, decided at this moment."""

    approved: ApprovedPermit
    recipient: Recipient


class NotPermitted(Exception):
    """The order does not open the mailbox at this moment. `waits` until then, or for good."""

    def __init__(
        self,
        reason: str,
        findings: tuple[str, ...],
        *,
        decision: dict[str, Any] | None = None,
        waits: datetime | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.findings = findings
        self.decision = decision
        self.waits = waits


async def approve_disclosure(
    attempt: Attempt, desk: Desk, text: str, seen: str | None
) -> tuple[Chamber, Filed, Ready | None]:
    """Approve; returns the disclosure in AwaitingDisclosure and what its release needs. Raises Problem.

    Nothing to release yet (None) where the law makes the release wait: the approval stands, and the
    release follows when the condition is met, decided again at that moment.
    `seen` is the digest of the decision that the approver says they have read.
    """
    chamber, filed = await desk.find(attempt, text)
    approver = cleared(attempt, Role.APPROVER, chamber.region.code)
    docket, state = desk.dockets[chamber.region.code], _undecided(filed, approver, "approved")
    ready: Ready | None = None
    if seen is not None and seen != state.case.decision_digest:
        raise Problem(Kind.STALE, "the decision that stands is another one than the one that was read")
    if attempt.now >= state.case.lapses:
        await attempt.commit(Event.DISCLOSURE_EXPIRED)
        await moved(docket, filed, state.expire(attempt.now))
        raise Problem(
            Kind.STATE, "the order lapsed before it was approved", members={"disclosure_status": "Expired"}
        )
    try:
        ready = await permitted(attempt.office, chamber, state, approver, attempt.now)
    except NotPermitted as error:
        if error.waits is None:
            await _cancel(attempt, docket, filed, state, error)
    carried = ready.approved.permit.categories if ready else frozenset(state.case.carried)
    outcome = Result.PERMIT if ready else Result.AWAIT
    place = await attempt.commit(Event.DISCLOSURE_APPROVED, outcome=outcome, categories=carried)
    return chamber, await moved(docket, filed, state.approve(attempt.deed(place))), ready


async def reject_disclosure(attempt: Attempt, desk: Desk, text: str, reason: str | None) -> Filed:
    """Reject. Raises Problem."""
    chamber, filed = await desk.find(attempt, text)
    approver = cleared(attempt, Role.APPROVER, chamber.region.code)
    state = _undecided(filed, approver, "rejected")
    place = await attempt.commit(Event.DISCLOSURE_REJECTED, outcome=Result.REFUSE)
    return await moved(desk.dockets[chamber.region.code], filed, state.reject(attempt.deed(place), reason))


async def permitted(
    office: Office, chamber: Chamber, state: Pending, approver: Clearance, now: datetime
) -> Ready:
    """Verify and decide anew; the approver's clearance makes the rest. Raises NotPermitted."""
    case = state.case
    unverified = read_order(await standing_order(chamber.vault, case))
    try:
        verified = verify_order(unverified, office.trust(), now)
        to = recipient(verified, now)
        located = await office.directory.find(verified.order.target)
    except Unverified as error:
        raise NotPermitted(error.detail, (error.code,)) from None
    except CannotReceive as error:
        raise NotPermitted(f"deliver_to: {error}", ("target",)) from None
    except UnknownAddress:
        raise NotPermitted("there is no such mailbox any more", ("target",)) from None
    if located.home != chamber.region or str(located.account) != case.account:
        # Another region's law would have to decide: this disclosure cannot follow the mailbox.
        raise NotPermitted("the mailbox is not where it was when the order came", ("target",))
    decision = decide(
        verified,
        frozenset(case.requested),
        office.setting(located.home),
        office.lawbook,
        now,
        Circumstances(
            received_at=case.asked.at,  # every clock of the law runs from receipt
            enforcing_authority=EnforcingAnswer.CLEARED if state.heard else EnforcingAnswer.NOTHING,
        ),
    )
    told = decision.assessment.to_json()
    failed = tuple(finding.code for finding in decision.assessment.findings if not finding.ok)
    match decision:
        case Permit():
            return Ready(_four_eyes(decision, case, approver), to)
        case Await():
            due = decision.assessment.due
            raise NotPermitted("the release waits", failed, decision=told, waits=due or case.lapses)
        case Preserve() | Refusal():
            raise NotPermitted("the law does not carry a release now", failed, decision=told)
        case _:
            assert_never(decision)


def _four_eyes(permit: Permit, case: Case, approver: Clearance) -> ApprovedPermit:
    beyond = permit.categories - set(case.carried)
    if beyond:  # the law has changed since: the approver must see what it carries by now
        raise NotPermitted("the law carries more than the decision that was shown", tuple(sorted(beyond)))
    try:
        return approve(permit, asked_by=person(case.asked.by), approver=approver)
    except (SamePerson, NotCleared) as error:
        raise NotPermitted(str(error), ("clearance",)) from None


def _undecided(filed: Filed, approver: Clearance, wanted: str) -> AwaitingApproval:
    state = filed.disclosure
    if person(state.case.asked.by) == approver.operator.name:
        raise Problem(Kind.SAME_PERSON)
    if not isinstance(state, AwaitingApproval):
        raise wrong_state(state, wanted)
    return state


async def hear_answer(attempt: Attempt, desk: Desk, text: str, answer: AnswerRequest) -> Filed:
    """Record what the enforcing authority said (Reg. (EU) 2023/1543 Art. 8, 12). Raises Problem.

    `cleared` ends the wait: an approved release follows by itself. `objected` ends the disclosure; in an
    emergency, where nothing waits, it is heard until the authority's time is over, and what was prepared
    meanwhile goes (Art. 10(4), 12(3)).
    """
    chamber, filed = await desk.find(attempt, text)
    cleared(attempt, Role.INTAKE, chamber.region.code)
    state, docket = filed.disclosure, desk.dockets[chamber.region.code]
    objects = answer.enforcing_authority is EnforcingAnswer.OBJECTED
    still_objects = objects and may_object(state.case, attempt.now)
    if isinstance(state, Disclosed) and still_objects:
        await _objection(attempt)
        return await moved(docket, filed, state.withdraw(_ground(answer), attempt.now))
    if not isinstance(state, Pending):
        raise wrong_state(state, "answered for")
    if state.case.decision["outcome"] != Outcome.AWAIT and not still_objects:
        raise Problem(Kind.STATE, "this disclosure waits for no answer of an enforcing authority")
    if not objects:
        place = await attempt.commit(Event.DISCLOSURE_ANSWERED, outcome=Result.PERMIT)
        return await moved(docket, filed, state.hear(Heard(attempt.deed(place), answer.note)))
    place = await _objection(attempt)
    return await moved(docket, filed, state.cancel(_ground(answer), attempt.now, attempt.deed(place)))


def waits(state: Pending) -> bool:
    """Whether the law lets the enforcing authority speak first, and nobody has recorded that it did."""
    return state.case.decision["outcome"] == Outcome.AWAIT and state.heard is None


def may_object(case: Case, now: datetime) -> bool:
    """Whether what did not wait for the enforcing authority may still be refused by it: in an emergency."""
    if case.decision["outcome"] == Outcome.AWAIT:  # there it is heard before anything is released
        return False
    ends = [owed["due"] for owed in case.decision["obligations"] if owed["code"] == _ANOTHERS_SAY]
    return any(now < datetime.fromisoformat(end) for end in ends)


async def _objection(attempt: Attempt) -> Place:
    findings = (FindingCode.ENFORCING_AUTHORITY.value,)
    return await attempt.commit(Event.DISCLOSURE_CANCELLED, outcome=Result.REFUSE, findings=findings)


def _ground(answer: AnswerRequest) -> str:
    return answer.note or "the enforcing authority raised a ground for refusal (Art. 12)"


async def _cancel(
    attempt: Attempt, docket: Docket, filed: Filed, state: AwaitingApproval, error: NotPermitted
) -> NoReturn:
    """What the law does not carry any more is cancelled for good, and the approver told why."""
    await attempt.commit(Event.DISCLOSURE_CANCELLED, outcome=Result.REFUSE, findings=error.findings)
    await moved(docket, filed, state.cancel(error.reason, attempt.now))
    members = {"decision": error.decision} if error.decision else {"code": error.findings[0]}
    raise Problem(Kind.REFUSED, error.reason, members=members)


async def moved(docket: Docket, filed: Filed, to: Disclosure) -> Filed:
    """The transition, or a 409 for whoever came second."""
    try:
        return await docket.move(filed, to)
    except Conflict:
        members = {"code": "decided-meanwhile"}  # what the loser's second entry says
        raise Problem(Kind.STATE, "somebody else has decided meanwhile", members=members) from None


def wrong_state(state: Disclosure, wanted: str) -> Problem:
    """409 for a transition that the state does not have."""
    return Problem(
        Kind.STATE, str(WrongState(state.status, wanted)), members={"disclosure_status": str(state.status)}
    )
