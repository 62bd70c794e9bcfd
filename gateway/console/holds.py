"""Legal holds: who keeps what for which matter, how far the lock has come, and its end by two people."""

from __future__ import annotations

from aiohttp import web

from gateway.console.forms import read_filters, read_form, understood
from gateway.console.pages import ROOT, page
from gateway.disclosure import hold_models, models
from gateway.disclosure.desk import DESK, admitted
from gateway.disclosure.holding import end_hold, find_holds, keep_hold, place_hold, view_hold
from gateway.disclosure.presentation import present_hold
from gateway.disclosure.problems import Kind, Problem
from policy.clearance import Role
from policy.hold import Hold
from storage.coverage import Coverer
from storage.operators import person


async def get_holds(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        query = understood(models.PageQuery, read_filters(request, "pageToken"))
        found, following = await find_holds(attempt, desk, query)
    holds = [present_hold(hold, attempt.now) for hold in found]
    regions = sorted(map(str, attempt.asker.regions(Role.CUSTODIAN)))
    return page(request, "holds.html", title="Legal holds", holds=holds, following=following, regions=regions)


async def get_hold(request: web.Request) -> web.StreamResponse:
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
        title="Legal hold",
        hold=present_hold(hold, attempt.now),
        coverage=coverage,
        proposer=proposed_by is not None and person(proposed_by) == person(attempt.asker.name),
    )


async def post_hold(request: web.Request) -> web.StreamResponse:
    """A hold for the provider's own litigation; what an order preserves, the order holds.

    On one mailbox, on those of a matter or on a domain: the API's model says which fields go together.
    """
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        form = await read_form(request)
        asked: dict[str, object] = {
            name: form[name] for name in ("address", "domain", "region", "matter") if name in form
        }
        asked["basis"] = {"litigation": form.get("reason", "")}
        if several := form.get("addresses"):
            asked["addresses"] = several.split()
        if until := form.get("until"):
            asked["until"] = f"{until}T00:00:00Z"  # the field gives a day: the hold ends as it begins, UTC
        hold = await place_hold(attempt, desk, understood(hold_models.HoldRequest, asked))
    return _back(hold)


async def post_release(request: web.Request) -> web.StreamResponse:
    """The first custodian proposes, the second confirms. A proposal says why."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        form = await read_form(request)
        confirms = form.pop("confirm", None) is not None
        body = understood(hold_models.HoldReleaseRequest, form)
        if not confirms and body.reason is None:
            raise Problem(Kind.INVALID_REQUEST, "reason: say in a sentence why the hold should end")
        # A second proposal would count as a confirmation of a first that its maker has not seen.
        hold = await end_hold(attempt, desk, request.match_info["id"], body, confirms=confirms)
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
