"""Legal holds: who keeps what for which matter, how far the lock has come, and its end by two people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import final

from aiohttp import web

from gateway.console.drafts import BLANK, Draft, drafted
from gateway.console.forms import read_filters, read_form, understood
from gateway.console.hold_form import (
    FIELDS,
    SCOPES,
    read_earlier_end,
    read_placing,
    read_prolonging,
    sentence,
)
from gateway.console.pages import ROOT, page
from gateway.disclosure import hold_models, models
from gateway.disclosure.desk import DESK, admitted
from gateway.disclosure.holding import (
    end_hold,
    find_holds,
    keep_hold,
    place_hold,
    prolong_hold,
    view_hold,
)
from gateway.disclosure.presentation import present_hold
from gateway.disclosure.problems import Kind, Problem
from policy.clearance import Role
from policy.hold import Hold, HoldState, OrderBasis, Phase
from policy.lawbook import Lawbook
from policy.prolongation import latest_end, preservation_of
from storage.coverage import Coverer
from storage.operators import person

_OPEN = frozenset({Phase.IN_FORCE, Phase.RELEASE_PROPOSED})


async def get_holds(request: web.Request) -> web.StreamResponse:
    return await _holds(request, BLANK)


async def _holds(request: web.Request, draft: Draft) -> web.Response:
    """The list is a look like any other, in the log first, where a form is shown again too."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        query = understood(models.PageQuery, read_filters(request, "pageToken"))
        found, following = await find_holds(attempt, desk, query)
    return page(
        request,
        "holds.html",
        status=draft.status,
        title="Legal holds",
        holds=[present_hold(hold, attempt.now) for hold in found],
        following=following,
        regions=sorted(map(str, attempt.asker.regions(Role.CUSTODIAN))),
        draft=draft,
    )


async def get_hold(request: web.Request) -> web.StreamResponse:
    return await _hold(request, BLANK)


async def _hold(request: web.Request, draft: Draft) -> web.Response:
    """The look at it is in the log before the page is made. Coverage is as last written down."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        hold = await view_hold(attempt, desk, request.match_info["id"])
        region = hold.region
        coverage = await Coverer(desk.office.chambers[region].store, desk.holds(region)).stands(hold.id)
    proposed_by = hold.proposal.by if hold.proposal else None
    return page(
        request,
        "hold.html",
        status=draft.status,
        title="Legal hold",
        hold=present_hold(hold, attempt.now),
        order=hold.basis if isinstance(hold.basis, OrderBasis) else None,
        release=hold.release,
        open=hold.phase(attempt.now) in _OPEN,
        prolongation=_prolongation(hold, attempt.office.lawbook),
        coverage=coverage,
        proposer=proposed_by is not None and person(proposed_by) == person(attempt.asker.name),
        draft=draft,
    )


@final
@dataclass(frozen=True, slots=True)
class _Prolongation:
    """How far one custodian may prolong it. `latest` None: as far as they say, `closed` empty.

    `closed` says why it cannot be. `source`: the law that sets the end; empty where none does.
    """

    latest: datetime | None = None
    source: str = ""
    closed: str = ""


def _prolongation(hold: Hold, lawbook: Lawbook) -> _Prolongation:
    if hold.until is None:
        return _Prolongation(closed="It has no end.")
    rule = preservation_of(hold, lawbook)
    if rule is None:
        return _Prolongation()
    source = rule.citation.source
    try:
        return _Prolongation(latest=latest_end(hold, rule), source=source)
    except HoldState as error:
        return _Prolongation(source=source, closed=f"{error.rule[:1].upper()}{error.rule[1:]}.")


async def post_hold(request: web.Request) -> web.StreamResponse:
    """A hold for the provider's own litigation; what an order preserves, the order holds.

    On one mailbox, on those of a matter or on a domain: the API's model says which fields go together.
    """
    desk = request.app[DESK]
    attempt = desk.attempt()
    form: dict[str, str] = {}
    try:
        async with attempt.recorded():
            await admitted(request, attempt)
            form = await read_form(request)
            hold = await place_hold(attempt, desk, understood(hold_models.HoldRequest, read_placing(form)))
    except Problem as problem:
        scope = form.get("scope", "")
        if scope not in SCOPES:
            raise
        also = {Kind.CLEARANCE: SCOPES[scope]}
        return await _holds(request, drafted(problem, scope, form, FIELDS, also=also))
    return _back(hold)


async def post_release(request: web.Request) -> web.StreamResponse:
    """The first custodian proposes, the second confirms. A proposal says why."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    form: dict[str, str] = {}
    try:
        async with attempt.recorded():
            await admitted(request, attempt)
            form = await read_form(request)
            asked: dict[str, object] = {"until": read_earlier_end(form)}
            if confirms := "proposal" in form:  # the one that the page has shown
                asked["proposal"] = form["proposal"]
            else:
                asked["reason"] = sentence(form, "say in a sentence why the hold should end")
            body = understood(hold_models.HoldReleaseRequest, asked)
            # A second proposal would count as a confirmation of a first that its maker has not seen.
            hold = await end_hold(attempt, desk, request.match_info["id"], body, confirms=confirms)
    except Problem as problem:
        return await _hold(request, drafted(problem, "end", form, FIELDS))
    return _back(hold)


async def post_prolongation(request: web.Request) -> web.StreamResponse:
    """A later end, or none, by one custodian: Form 6, a renewed request, a litigation that goes on."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    form: dict[str, str] = {}
    try:
        async with attempt.recorded():
            await admitted(request, attempt)
            form = await read_form(request)
            body = understood(hold_models.HoldProlongRequest, read_prolonging(form))
            hold = await prolong_hold(attempt, desk, request.match_info["id"], body)
    except Problem as problem:
        # What the law or the hold forbids is said beside the day, or at the choice where that was taken.
        place = "day" if form.get("to") == "day" else "to"
        return await _hold(request, drafted(problem, "prolong", form, {**FIELDS, "until": place}))
    return _back(hold)


async def post_keep(request: web.Request) -> web.StreamResponse:
    """Take the proposal to end it off the table."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        await read_form(request)
        hold = await keep_hold(attempt, desk, request.match_info["id"])
    return _back(hold)


def _back(hold: Hold) -> web.Response:
    return web.Response(status=303, headers={"Location": f"{ROOT}/holds/{hold.id}"})
