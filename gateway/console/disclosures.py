"""The queue, a disclosure with its order and its decision, and its package. `deeds` has what is done to it.

What may be seen, decided and fetched is for `gateway.disclosure` to say, each time anew: a button
that a page leaves out is a courtesy, not a rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import final

from aiohttp import web

from gateway.console import next_steps, order_reading, words
from gateway.console.drafts import BLANK, Draft
from gateway.console.forms import read_filters, understood
from gateway.console.pages import page
from gateway.disclosure import models
from gateway.disclosure.approval import Pending, may_object, waits
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.confirming import Confirmation, may_be_confirmed, read_confirmation
from gateway.disclosure.desk import DESK, Desk, admitted
from gateway.disclosure.docket import Filed
from gateway.disclosure.lifecycle import Disclosed, Preserved
from gateway.disclosure.models import Manifest, Status
from gateway.disclosure.presentation import present
from gateway.disclosure.reading import fetch_manifest, find_page, view
from gateway.disclosure.validating import Owing, is_validated, validation_due
from policy.assessment import FindingCode, Outcome
from policy.clearance import Role
from policy.hold import HoldId
from policy.order import DataCategory
from storage.errors import NotFound
from storage.operators import person


async def get_queue(request: web.Request) -> web.StreamResponse:
    return await show_queue(request, BLANK)


async def show_queue(request: web.Request, draft: Draft) -> web.Response:
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
    rows = [
        (
            shown := present(filed.disclosure),
            _deadline(desk, attempt, shown),
            order_reading.is_emergency(filed.disclosure.case),
        )
        for filed in found
    ]
    return page(
        request,
        "queue.html",
        status=draft.status,
        title="Disclosures",
        rows=rows,
        query=query,
        statuses=list(Status),
        regions=sorted(map(str, attempt.asker.operators)),
        following=following,
        intake=bool(attempt.asker.regions(Role.INTAKE)),
        categories=list(DataCategory),
        draft=draft,
    )


async def get_disclosure(request: web.Request) -> web.StreamResponse:
    return await show_disclosure(request, BLANK)


async def show_disclosure(request: web.Request, draft: Draft) -> web.Response:
    """The look at it is in the log before the page is made, where a form is shown again too."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        filed = await view(attempt, desk, request.match_info["id"])
        beside = _Beside(await _validation(attempt, desk, filed), await _preservation(attempt, desk, filed))
    return _shown(request, desk, attempt, filed, beside, draft)


@final
@dataclass(frozen=True, slots=True)
class _Validation:
    """The validation that an emergency's order owes: by when, and whether it has come or still may."""

    due: datetime
    given: bool
    asked_for: bool


@final
@dataclass(frozen=True, slots=True)
class _Preservation:
    """What an order preserved, as its hold stands now. `until` None: no end.

    `confirmation` is Form 5 as it was recorded; `asked_for`: it may still come.
    """

    until: datetime | None
    over: bool
    confirmation: Confirmation | None
    asked_for: bool


@final
@dataclass(frozen=True, slots=True)
class _Beside:
    """What lies in documents beside the disclosure's own."""

    validation: _Validation | None
    preservation: _Preservation | None


async def _preservation(attempt: Attempt, desk: Desk, filed: Filed) -> _Preservation | None:
    state = filed.disclosure
    if not isinstance(state, Preserved):
        return None
    region = state.case.region
    try:
        hold = await desk.holds(region).get(HoldId.parse(state.hold))
    except NotFound:  # it went with the mailbox, to another region
        return None
    given = await read_confirmation(desk.office.chambers[region].vault, state.case)
    over = not hold.keeps(attempt.now)
    return _Preservation(hold.until, over, given, may_be_confirmed(state) and given is None and not over)


async def _validation(attempt: Attempt, desk: Desk, filed: Filed) -> _Validation | None:
    case = filed.disclosure.case
    if (due := validation_due(case)) is None:
        return None
    given = await is_validated(desk.office.chambers[case.region].vault, case)
    asked_for = isinstance(filed.disclosure, Owing) and not given and attempt.now < due
    return _Validation(due, given, asked_for)


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
    request: web.Request, desk: Desk, attempt: Attempt, filed: Filed, beside: _Beside, draft: Draft
) -> web.Response:
    state, case = filed.disclosure, filed.disclosure.case
    validation = beside.validation
    order = order_reading.read(case)
    shown = present(filed.disclosure)
    asker = person(case.asked.by) == person(attempt.asker.name)
    approver = case.region in attempt.asker.regions(Role.APPROVER)
    running = shown.status in words.OPEN
    outcome = Outcome(shown.decision.outcome)
    near = desk.office.terms.nearly_due
    return page(
        request,
        "disclosure.html",
        status=draft.status,
        title=f"Disclosure {shown.reference}",
        disclosure=shown,
        order=order,
        instrument=attempt.office.lawbook.instrument(case.instrument),
        outcome=words.OUTCOMES[outcome],
        preserves=outcome is Outcome.PRESERVE,
        for_counsel=sum(each.code == FindingCode.UNCONFIRMED for each in shown.decision.findings),
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
                    kept=beside.preservation.until if beside.preservation else each.due,
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
        preservation=beside.preservation,
        draft=draft,
        undecided=shown.status is Status.AWAITING_APPROVAL,
        asker=asker,
        approver=approver,
        intake=case.region in attempt.asker.regions(Role.INTAKE),
        may_hold=case.region in attempt.asker.regions(Role.CUSTODIAN),
        may_audit=case.region in attempt.asker.regions(Role.AUDITOR),
    )


def _deadline(desk: Desk, attempt: Attempt, shown: models.Disclosure) -> words.Deadline | None:
    near = desk.office.terms.nearly_due
    return words.deadline(shown.due, attempt.now, near, running=shown.status in words.OPEN)
