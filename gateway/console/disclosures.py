"""The queue, a disclosure with its order and its decision, the second pair of eyes, and what others said.

What may be seen, decided and fetched is for `gateway.disclosure` to say, each time anew: a button
that a page leaves out is a courtesy, not a rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import final

from aiohttp import web

from gateway.console import next_steps, order_reading, words
from gateway.console.forms import read_filters, read_form, understood
from gateway.console.pages import ROOT, page
from gateway.disclosure import models
from gateway.disclosure.approval import (
    Pending,
    approve_disclosure,
    hear_answer,
    may_object,
    reject_disclosure,
    waits,
)
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK, Desk, admitted
from gateway.disclosure.docket import Filed
from gateway.disclosure.housekeeping import HOUSE
from gateway.disclosure.lifecycle import Disclosed
from gateway.disclosure.models import Manifest, Status
from gateway.disclosure.presentation import present
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.reading import fetch_manifest, find_page, view
from gateway.disclosure.release import RELEASES
from gateway.disclosure.validating import Owing, hear_validation, is_validated, validation_due
from policy.clearance import Role
from storage.operators import person


async def get_queue(request: web.Request) -> web.StreamResponse:
    """What is due first, first. Without a filter: what waits for an approval."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        given = read_filters(request, "status", "matter", "region", "pageToken")
        if "status" not in request.query:
            given["status"] = Status.AWAITING_APPROVAL
        query = understood(models.DisclosureQuery, {**given, "orderBy": "due", "pageSize": 50})
        found, following = await find_page(attempt, desk, query)
    rows = [(shown := present(filed.disclosure), _deadline(desk, attempt, shown)) for filed in found]
    return page(
        request,
        "queue.html",
        title="Disclosures",
        rows=rows,
        query=query,
        statuses=list(Status),
        regions=sorted(map(str, attempt.asker.operators)),
        following=following,
    )


async def get_disclosure(request: web.Request) -> web.StreamResponse:
    """The look at it is in the log before the page is made."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        filed = await view(attempt, desk, request.match_info["id"])
        validation = await _validation(attempt, desk, filed)
    return _shown(request, desk, attempt, filed, validation)


@final
@dataclass(frozen=True, slots=True)
class _Validation:
    """The validation that an emergency's order owes: by when, and whether it has come or still may."""

    due: datetime
    given: bool
    asked_for: bool


async def _validation(attempt: Attempt, desk: Desk, filed: Filed) -> _Validation | None:
    case = filed.disclosure.case
    if (due := validation_due(case)) is None:
        return None
    given = await is_validated(desk.office.chambers[case.region].vault, case)
    asked_for = isinstance(filed.disclosure, Owing) and not given and attempt.now < due
    return _Validation(due, given, asked_for)


async def post_approval(request: web.Request) -> web.StreamResponse:
    """Approve the decision that stood on the page: another one since then is refused as stale."""
    desk, terms = request.app[DESK], request.app[DESK].office.terms
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        form = understood(models.ApprovalRequest, await read_form(request))
        if form.decision is None:
            raise Problem(Kind.INVALID_REQUEST, "decision: the digest of the decision that was read")
        approved = await approve_disclosure(attempt, desk, request.match_info["id"], form.decision)
    filed = await request.app[RELEASES].follow(*approved, terms.approval_wait)
    return _back(filed)


async def post_rejection(request: web.Request) -> web.StreamResponse:
    """Reject, with a reason: whoever asked will want to know."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        form = understood(models.RejectionRequest, await read_form(request))
        if form.reason is None:
            raise Problem(Kind.INVALID_REQUEST, "reason: say in a sentence why it is rejected")
        filed = await reject_disclosure(attempt, desk, request.match_info["id"], form.reason)
    return _back(filed)


async def post_answer(request: web.Request) -> web.StreamResponse:
    """What the enforcing authority said; an objection ends the disclosure."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        form = understood(models.AnswerRequest, await read_form(request))
        filed = await hear_answer(attempt, desk, request.match_info["id"], form)
    request.app[HOUSE].hurry()
    return _back(filed)


async def post_validation(request: web.Request) -> web.StreamResponse:
    """The order once more, with the signature that an emergency's order owes."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        form = understood(models.ValidationRequest, await read_form(request))
        filed = await hear_validation(attempt, desk, request.match_info["id"], form)
    return _back(filed)


async def get_package(request: web.Request) -> web.StreamResponse:
    """What the package holds, and its parts to fetch. Looking at the list is a fetch of the manifest."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        packaged, manifest = await fetch_manifest(attempt, desk, request.match_info["id"])
    return page(
        request,
        "package.html",
        title="Package",
        disclosure=present(packaged),
        manifest=Manifest.model_validate_json(manifest),
    )


def _shown(
    request: web.Request, desk: Desk, attempt: Attempt, filed: Filed, validation: _Validation | None
) -> web.Response:
    state, case = filed.disclosure, filed.disclosure.case
    order = order_reading.read(case)
    shown = present(filed.disclosure)
    asker = person(case.asked.by) == person(attempt.asker.name)
    approver = case.region in attempt.asker.regions(Role.APPROVER)
    running = shown.status in words.OPEN
    near = desk.office.terms.nearly_due
    return page(
        request,
        "disclosure.html",
        title=f"Disclosure {shown.reference}",
        disclosure=shown,
        order=order,
        deadline=_deadline(desk, attempt, shown),
        obligations=[
            (
                each,
                next_steps.owed(
                    each,
                    attempt.now,
                    near,
                    running=running,
                    held=shown.hold is not None,
                    validated=validation is not None and validation.given,
                ),
            )
            for each in shown.decision.obligations
        ],
        withheld=[each for each in shown.requested if each not in shown.carried],
        what_next=next_steps.what_next(state, attempt.now),
        decided_by=next_steps.decided_by(state),
        encrypted_to=next_steps.encrypted_to(case, order.order.deliver_to),
        heard=state.heard if isinstance(state, Pending) else None,
        awaits_answer=isinstance(state, Pending) and waits(state),
        may_object=isinstance(state, Pending | Disclosed) and may_object(case, attempt.now),
        validation=validation,
        undecided=shown.status is Status.AWAITING_APPROVAL,
        asker=asker,
        approver=approver,
        intake=case.region in attempt.asker.regions(Role.INTAKE),
        may_audit=case.region in attempt.asker.regions(Role.AUDITOR),
    )


def _deadline(desk: Desk, attempt: Attempt, shown: models.Disclosure) -> words.Deadline | None:
    near = desk.office.terms.nearly_due
    return words.deadline(shown.due, attempt.now, near, running=shown.status in words.OPEN)


def _back(filed: Filed) -> web.Response:
    """After a deed its page is asked for anew (RFC 9110 15.4.4): reloading it repeats nothing."""
    return web.Response(status=303, headers={"Location": f"{ROOT}/disclosures/{filed.disclosure.case.id}"})
