"""What is done about a disclosure by hand: asked for, decided on by other eyes, told what others said.

Whether it may be, `gateway.disclosure` says. A form that can be mended is shown again on the disclosure's own
page; a refusal has a page of its own.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from gateway.console.disclosures import show_disclosure, show_queue
from gateway.console.drafts import drafted
from gateway.console.forms import read_form, understood
from gateway.console.pages import ROOT
from gateway.disclosure import models
from gateway.disclosure.approval import approve_disclosure, hear_answer, reject_disclosure
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.confirming import hear_confirmation
from gateway.disclosure.desk import DESK, Desk, admitted
from gateway.disclosure.docket import Filed
from gateway.disclosure.housekeeping import HOUSE
from gateway.disclosure.intake import receive
from gateway.disclosure.problems import Kind, Problem, fault
from gateway.disclosure.release import RELEASES
from gateway.disclosure.validating import hear_validation
from policy.order import DataCategory

Form = Mapping[str, str]
_Deed = Callable[[Attempt, Desk, str, Form], Awaitable[Filed]]

# Which field of a form a field of the API's model is: here the names are the same.
_FIELDS: Final[Mapping[str, str]] = {
    name: name for name in ("reason", "enforcing_authority", "note", "order", "production", "requested")
}


async def post_order(request: web.Request) -> web.StreamResponse:
    """An order as an authority sent it: the same attempt as `POST /v1/disclosures`."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    form: dict[str, str] = {}
    try:
        async with attempt.recorded():
            await admitted(request, attempt)
            form = await read_form(request)
            asked = [str(each) for each in DataCategory if str(each) in form]
            if not asked:
                raise fault("requested", "choose what the order is to open")
            renditions = [str(each) for each in models.Rendition if str(each) in form]
            told = {"order": form.get("order", ""), "requested": asked, "renditions": renditions}
            filed = await receive(attempt, desk, json.dumps(told).encode(), None)
    except Problem as problem:
        also = {Kind.CLEARANCE: "order"}
        return await show_queue(request, drafted(problem, "present", form, _FIELDS, also=also))
    return _back(filed)


async def post_approval(request: web.Request) -> web.StreamResponse:
    """Approve the decision that stood on the page: another one since then is refused as stale."""
    desk, terms = request.app[DESK], request.app[DESK].office.terms
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        form = understood(models.ApprovalRequest, await read_form(request))
        if form.decision is None:
            raise fault("decision", "the digest of the decision that was read")
        approved = await approve_disclosure(attempt, desk, request.match_info["id"], form.decision)
    return _back(await request.app[RELEASES].follow(*approved, terms.approval_wait))


async def post_rejection(request: web.Request) -> web.StreamResponse:
    """Reject, with a reason: whoever asked will want to know."""

    async def deed(attempt: Attempt, desk: Desk, text: str, form: Form) -> Filed:
        body = understood(models.RejectionRequest, form)
        if body.reason is None:
            raise fault("reason", "say in a sentence why it is rejected")
        return await reject_disclosure(attempt, desk, text, body.reason)

    return await _done(request, "reject", deed)


async def post_answer(request: web.Request) -> web.StreamResponse:
    """What the enforcing authority said; an objection ends the disclosure."""

    async def deed(attempt: Attempt, desk: Desk, text: str, form: Form) -> Filed:
        return await hear_answer(attempt, desk, text, understood(models.AnswerRequest, form))

    response = await _done(request, "answer", deed)
    request.app[HOUSE].hurry()
    return response


async def post_validation(request: web.Request) -> web.StreamResponse:
    """The order once more, with the signature that an emergency's order owes."""

    async def deed(attempt: Attempt, desk: Desk, text: str, form: Form) -> Filed:
        return await hear_validation(attempt, desk, text, understood(models.ValidationRequest, form))

    return await _done(request, "validate", deed)


async def post_confirmation(request: web.Request) -> web.StreamResponse:
    """Form 5: a production order follows what was preserved."""

    async def deed(attempt: Attempt, desk: Desk, text: str, form: Form) -> Filed:
        return await hear_confirmation(attempt, desk, text, understood(models.ConfirmationRequest, form))

    return await _done(request, "confirm", deed)


async def _done(request: web.Request, name: str, deed: _Deed) -> web.Response:
    """The disclosure's page after the deed, or its form of that name again, with what is wrong in it."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    form: dict[str, str] = {}
    try:
        async with attempt.recorded():
            await admitted(request, attempt)
            form = await read_form(request)
            filed = await deed(attempt, desk, request.match_info["id"], form)
    except Problem as problem:
        return await show_disclosure(request, drafted(problem, name, form, _FIELDS))
    return _back(filed)


def _back(filed: Filed) -> web.Response:
    """After a deed its page is asked for anew (RFC 9110 15.4.4): reloading it repeats nothing."""
    return web.Response(status=303, headers={"Location": f"{ROOT}/disclosures/{filed.disclosure.case.id}"})
