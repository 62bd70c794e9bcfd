"""Legal holds over HTTP: placed by one custodian, let go by two. What a hold is, `policy.hold` says."""

from __future__ import annotations

from aiohttp import web

from gateway.disclosure import hold_models, models
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK, Desk, admitted, in_one_of, require_match
from gateway.disclosure.filing import unverified_refusal
from gateway.disclosure.hold_scopes import Asked, asked_query, asked_scope
from gateway.disclosure.office import Chamber
from gateway.disclosure.pages import decode_token, encode_token
from gateway.disclosure.presentation import present_hold, represented
from gateway.disclosure.problems import Kind, Problem, fault
from gateway.disclosure.transport import conditional, json_response, read_model, read_optional, read_query
from policy.address import Address
from policy.clearance import Clearance, NotCleared, Role, SamePerson
from policy.decision import Circumstances, Refusal, decide
from policy.geography import Region, RegionCode
from policy.hold import (
    Basis,
    Hold,
    HoldError,
    HoldId,
    HoldState,
    MailboxScope,
    OrderBasis,
    OwnLitigation,
    Proposal,
)
from policy.order import ClaimError, Timespan
from policy.verification import MalformedOrder, Unverified, read_order, verify_order
from storage.audit.entry import Event
from storage.errors import AlreadyExists
from storage.holds import HoldRegister, Terms


async def post_hold(request: web.Request) -> web.StreamResponse:
    """Place a hold. In force when this is answered; the register writes the log entry."""
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_model(request, hold_models.HoldRequest, terms.body_limit, terms.body_time)
        hold = await place_hold(attempt, desk, body)
    resource = present_hold(hold, attempt.now)
    return json_response(resource, status=201, headers={"Location": resource.links.self})


async def place_hold(attempt: Attempt, desk: Desk, body: hold_models.HoldRequest) -> Hold:
    """In force when this returns, and in the log. Raises Problem."""
    asked = await asked_scope(attempt, body)
    placing = _terms(attempt, body, asked)
    try:
        return await desk.holds(asked.by.region).place(placing, asked.by)
    except (HoldError, NotCleared, AlreadyExists) as error:
        raise _problem(error) from None


def _terms(attempt: Attempt, body: hold_models.HoldRequest, asked: Asked) -> Terms:
    try:
        span = Timespan(body.timespan.start, body.timespan.end) if body.timespan else None
    except ClaimError as error:
        raise fault("timespan", error.rule) from None
    return Terms(
        scope=asked.scope,
        basis=_basis(attempt, body.basis, asked),
        timespan=span,
        query=asked_query(body.query),
        matter=body.matter,
        until=body.until,
    )


def _basis(
    attempt: Attempt, basis: hold_models.LitigationBasis | hold_models.OrderedBasis, asked: Asked
) -> Basis:
    if isinstance(basis, hold_models.LitigationBasis):
        return OwnLitigation(basis.litigation)
    if asked.alone is None:
        raise Problem(Kind.INVALID_REQUEST, "basis.order: an order names one mailbox: give it as address")
    return _order_basis(attempt, basis.order, *asked.alone)


def _order_basis(attempt: Attempt, order: str, address: Address, home: Region) -> OrderBasis:
    """An order obliges to keep only what it names, and only where the law of the place carries it."""
    office = attempt.office
    try:
        unverified = read_order(order)
        verified = verify_order(unverified, office.trust(), attempt.now)
    except MalformedOrder as error:
        members = {"field": error.field, "rule": error.rule}
        raise Problem(Kind.MALFORMED_ORDER, str(error), members=members) from None
    except Unverified as error:
        raise unverified_refusal(error, office.lawbook.digest) from None
    if verified.order.target != address:
        raise Problem(Kind.INVALID_REQUEST, "basis.order: the order names another mailbox")
    decision = decide(
        verified,
        verified.order.categories,
        office.setting(home),
        office.lawbook,
        attempt.now,
        Circumstances(received_at=attempt.now),
    )
    if isinstance(decision, Refusal):
        told = decision.assessment.to_json()
        raise Problem(Kind.REFUSED, "the order does not bind here", members={"decision": told})
    order_ = verified.order
    return OrderBasis(
        order_.instrument, order_.reference, verified.issuer.name, order_.issuing_state, verified.digest
    )


async def list_holds(request: web.Request) -> web.StreamResponse:
    """One page, in the order of placing, of the regions where the asker is a custodian."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        page, following = await find_holds(attempt, desk, read_query(request, models.PageQuery))
    shown = [present_hold(hold, attempt.now) for hold in page]
    return json_response(hold_models.HoldList(holds=shown, nextPageToken=following))


async def find_holds(attempt: Attempt, desk: Desk, query: models.PageQuery) -> tuple[list[Hold], str | None]:
    """The page, and the token of the next one, once the look is in the log. Raises Problem 403 and 422."""
    regions = attempt.asker.everywhere(Role.CUSTODIAN)
    if not regions:
        raise Problem(Kind.ROLE, f"the role {Role.CUSTODIAN} is needed")
    after = _hold_id(decode_token(query.pageToken, 1)[0]) if query.pageToken else None
    await attempt.looks(Event.HOLD_VIEWED, regions)
    found: list[Hold] = []
    for region in regions:
        count = 0
        async for hold in desk.holds(region).list(after=after):
            found.append(hold)
            count += 1
            if count > query.pageSize:
                break
    found.sort(key=lambda hold: hold.id)
    page = found[: query.pageSize]
    return page, encode_token([str(page[-1].id)]) if len(found) > query.pageSize else None


async def get_hold(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        hold = await view_hold(attempt, desk, request.match_info["id"])
    return conditional(request, *represented(present_hold(hold, attempt.now)))


async def view_hold(attempt: Attempt, desk: Desk, text: str) -> Hold:
    """One hold, once the look at it is in the log. Raises Problem."""
    _, hold, _ = await _find(desk, attempt, text)
    await attempt.commit(Event.HOLD_VIEWED)
    return hold


async def post_release(request: web.Request) -> web.StreamResponse:
    """The first custodian proposes with a reason; a second one, asking for the same, confirms."""
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_optional(request, hold_models.HoldReleaseRequest, terms.body_limit, terms.body_time)
        changed = await end_hold(attempt, desk, request.match_info["id"], body)
    return json_response(present_hold(changed, attempt.now))


async def end_hold(
    attempt: Attempt,
    desk: Desk,
    text: str,
    body: hold_models.HoldReleaseRequest,
    *,
    confirms: bool | None = None,
) -> Hold:
    """Propose the end, or confirm another custodian's proposal. Raises Problem.

    `confirms` says which of the two is meant, where that is known: the other one is a 409.
    """
    register, hold, by = await _find(desk, attempt, text)
    if confirms is not None and confirms is (hold.proposal is None):
        raise Problem(Kind.STATE, "the hold has changed since its page was shown: look at it again")
    if not _is_meant(body, hold.proposal):
        raise Problem(Kind.STATE, "another end is proposed than the one that is asked for: look at the hold")
    try:
        if hold.proposal is None:
            reason = body.reason or "no reason was given"
            return await register.propose_end(hold.id, by, reason, until=body.until)
        return await register.confirm_end(hold.id, by, hold.proposal)
    except (HoldError, NotCleared, SamePerson) as error:
        raise _problem(error) from None


def _is_meant(body: hold_models.HoldReleaseRequest, proposal: Proposal | None) -> bool:
    """Whether what stands is what the caller speaks of, as far as they say. Who asks for a shorter term
    confirms no release, and who confirms one proposal no other."""
    if proposal is None:
        return body.proposal is None
    return body.until in (None, proposal.until) and body.proposal in (None, proposal.at)


async def post_rejection(request: web.Request) -> web.StreamResponse:
    """Take a proposal to release off the table."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        changed = await keep_hold(attempt, desk, request.match_info["id"])
    return json_response(present_hold(changed, attempt.now))


async def keep_hold(attempt: Attempt, desk: Desk, text: str) -> Hold:
    """The hold without its proposal to end. Raises Problem."""
    register, hold, by = await _find(desk, attempt, text)
    try:
        return await register.reject_end(hold.id, by)
    except (HoldError, NotCleared) as error:
        raise _problem(error) from None


async def post_prolongation(request: web.Request) -> web.StreamResponse:
    """A later end, or none: one custodian suffices, since more is kept and not less."""
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_model(request, hold_models.HoldProlongRequest, terms.body_limit, terms.body_time)
        changed = await prolong_hold(attempt, desk, request.match_info["id"], body)
    return json_response(present_hold(changed, attempt.now))


async def prolong_hold(attempt: Attempt, desk: Desk, text: str, body: hold_models.HoldProlongRequest) -> Hold:
    """The hold with its later end. Raises Problem: 409 for what the law does not let one person do."""
    register, hold, by = await _find(desk, attempt, text)
    try:
        return await register.prolong(hold.id, by, body.until, attempt.office.lawbook)
    except (HoldError, NotCleared) as error:
        raise _problem(error) from None


async def _find(desk: Desk, attempt: Attempt, text: str) -> tuple[HoldRegister, Hold, Clearance]:
    """A hold that the asker is custodian of. Raises Problem: 404, and 403 as for a disclosure."""
    attempt.is_whole()
    reference = _hold_id(text, Kind.NOT_FOUND)
    chambers = desk.office.chambers
    region, hold = await in_one_of(chambers, lambda region: desk.holds(region).get(reference))
    by = _custodian_of(attempt, region, chambers[region], hold)
    require_match(attempt, lambda: present_hold(hold, attempt.now))
    return desk.holds(region), hold, by


def _custodian_of(attempt: Attempt, region: RegionCode, chamber: Chamber, hold: Hold) -> Clearance:
    if not attempt.asker.is_known_in(region):
        raise Problem(Kind.CLEARANCE)
    account = hold.scope.account if isinstance(hold.scope, MailboxScope) else None
    attempt.enter(chamber, account)
    attempt.learn(hold=str(hold.id))
    try:
        return attempt.asker.cleared(Role.CUSTODIAN, region)
    except NotCleared:
        raise Problem(Kind.ROLE, f"the role {Role.CUSTODIAN} in {region} is needed") from None


def _hold_id(text: str, otherwise: Kind = Kind.INVALID_REQUEST) -> HoldId:
    try:
        return HoldId.parse(text)
    except HoldError as error:
        raise Problem(otherwise, None if otherwise is Kind.NOT_FOUND else str(error)) from None


def _problem(error: Exception) -> Problem:
    """What `policy.hold` forbids, as an answer."""
    match error:
        case SamePerson():
            return Problem(Kind.SAME_PERSON)
        case NotCleared():
            return Problem(Kind.ROLE, str(error))
        case HoldError():
            members = {"faults": [{"field": error.field, "rule": error.rule}]}
            kind = Kind.STATE if isinstance(error, HoldState) else Kind.INVALID_REQUEST
            return Problem(kind, str(error), members=members)
        case _:
            return Problem(Kind.STATE, "the hold exists already")
