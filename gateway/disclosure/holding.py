"""Legal holds over HTTP: placed by one custodian, let go by two. What a hold is, `policy.hold` says."""

from __future__ import annotations

from typing import Final

import structlog
from aiohttp import web

from gateway.disclosure import hold_models, models
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK, Desk, admitted
from gateway.disclosure.filing import unverified_refusal
from gateway.disclosure.office import Chamber
from gateway.disclosure.pages import decode_token, encode_token
from gateway.disclosure.presentation import present_hold
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import json_response, read_model, read_optional, read_query
from policy.address import Address, AddressError
from policy.clearance import Clearance, NotCleared, Role, SamePerson
from policy.decision import Circumstances, Refusal, decide
from policy.geography import RegionCode
from policy.hold import (
    Hold,
    HoldError,
    HoldId,
    HoldState,
    MailboxScope,
    OrderBasis,
    OwnLitigation,
)
from policy.order import ClaimError, Timespan
from policy.verification import MalformedOrder, Unverified, read_order, verify_order
from storage.audit.entry import Event
from storage.errors import AlreadyExists, NotFound, UnknownAddress
from storage.holds import HoldRegister, Terms
from storage.located import Located

_log: Final = structlog.get_logger("situs.holds")


async def post_hold(request: web.Request) -> web.StreamResponse:
    """Place a hold. In force when this is answered; the register writes the log entry."""
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_model(request, hold_models.HoldRequest, terms.body_limit, terms.body_time)
        located, by = await _custodian_at(attempt, body)
        placing = _terms(attempt, body, located)
        try:
            hold = await desk.holds(by.region).place(placing, by)
        except (HoldError, NotCleared, AlreadyExists) as error:
            raise _problem(error) from None
    resource = present_hold(hold, attempt.now)
    return json_response(resource, status=201, headers={"Location": resource.links.self})


async def _custodian_at(attempt: Attempt, body: hold_models.HoldRequest) -> tuple[Located, Clearance]:
    """As at intake: no clearance and no mailbox are one answer by one way."""
    try:
        address = Address.parse(body.address)
    except AddressError as error:
        members = {"faults": [{"field": "address", "rule": str(error)}]}
        raise Problem(Kind.INVALID_REQUEST, f"address: {error}", members=members) from None
    attempt.concerns(address)
    try:
        located = await attempt.office.directory.find(address)
        by = attempt.asker.cleared(Role.CUSTODIAN, located.home.code)
    except (UnknownAddress, NotCleared):
        raise Problem(Kind.CLEARANCE) from None
    attempt.enter(attempt.office.chambers[located.home.code], located.account)
    return located, by


def _terms(attempt: Attempt, body: hold_models.HoldRequest, located: Located) -> Terms:
    try:
        span = Timespan(body.timespan.start, body.timespan.end) if body.timespan else None
    except ClaimError as error:
        raise Problem(Kind.INVALID_REQUEST, str(error)) from None
    basis = (
        OwnLitigation(body.basis.litigation)
        if isinstance(body.basis, hold_models.LitigationBasis)
        else _order_basis(attempt, body.basis.order, Address.parse(body.address), located)
    )
    return Terms(
        scope=MailboxScope(str(located.account), Address.parse(body.address)),
        basis=basis,
        timespan=span,
        matter=body.matter,
        until=body.until,
    )


def _order_basis(attempt: Attempt, order: str, address: Address, located: Located) -> OrderBasis:
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
        office.setting(located.home),
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
        query = read_query(request, models.PageQuery)
        regions = attempt.asker.regions(Role.CUSTODIAN)
        if not regions:
            raise Problem(Kind.ROLE, f"the role {Role.CUSTODIAN} is needed")
        after = _hold_id(decode_token(query.pageToken, 1)[0]) if query.pageToken else None
        found: list[Hold] = []
        for region in sorted(regions):
            count = 0
            async for hold in desk.holds(region).list(after=after):
                found.append(hold)
                count += 1
                if count > query.pageSize:
                    break
    found.sort(key=lambda hold: hold.id)
    page, more = found[: query.pageSize], len(found) > query.pageSize
    shown = [present_hold(hold, attempt.now) for hold in page]
    following = encode_token([str(page[-1].id)]) if more else None
    return json_response(hold_models.HoldList(holds=shown, nextPageToken=following))


async def get_hold(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        _, hold, _ = await _find(desk, attempt, request.match_info["id"])
        await attempt.commit(Event.HOLD_VIEWED)
    return json_response(present_hold(hold, attempt.now))


async def post_release(request: web.Request) -> web.StreamResponse:
    """The first custodian proposes with a reason; a second one, asking for the same, confirms."""
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_optional(request, hold_models.HoldReleaseRequest, terms.body_limit, terms.body_time)
        register, hold, by = await _find(desk, attempt, request.match_info["id"])
        try:
            if hold.proposal is None:
                reason = body.reason or "no reason was given"
                changed = await register.propose_end(hold.id, by, reason, until=body.until)
            else:
                changed = await register.confirm_end(hold.id, by)
        except (HoldError, NotCleared, SamePerson) as error:
            raise _problem(error) from None
    return json_response(present_hold(changed, attempt.now))


async def post_rejection(request: web.Request) -> web.StreamResponse:
    """Take a proposal to release off the table."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        register, hold, by = await _find(desk, attempt, request.match_info["id"])
        try:
            changed = await register.reject_end(hold.id, by)
        except (HoldError, NotCleared) as error:
            raise _problem(error) from None
    return json_response(present_hold(changed, attempt.now))


async def post_prolongation(request: web.Request) -> web.StreamResponse:
    """A later end, or none: one custodian suffices, since more is kept and not less."""
    desk = request.app[DESK]
    attempt, terms = desk.attempt(), desk.office.terms
    async with attempt.recorded():
        await admitted(request, attempt)
        body = await read_model(request, hold_models.HoldProlongRequest, terms.body_limit, terms.body_time)
        register, hold, by = await _find(desk, attempt, request.match_info["id"])
        try:
            changed = await register.prolong(hold.id, by, body.until)
        except (HoldError, NotCleared) as error:
            raise _problem(error) from None
    return json_response(present_hold(changed, attempt.now))


async def _find(desk: Desk, attempt: Attempt, text: str) -> tuple[HoldRegister, Hold, Clearance]:
    """A hold that the asker is custodian of. Raises Problem: 404, and 403 as for a disclosure."""
    reference = _hold_id(text, Kind.NOT_FOUND)
    for region, chamber in desk.office.chambers.items():
        try:
            hold = await desk.holds(region).get(reference)
        except NotFound:
            continue
        return desk.holds(region), hold, _custodian_of(attempt, region, chamber, hold)
    raise Problem(Kind.NOT_FOUND)


def _custodian_of(attempt: Attempt, region: RegionCode, chamber: Chamber, hold: Hold) -> Clearance:
    if region not in attempt.asker.operators:
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
        case HoldState():
            return Problem(Kind.STATE, str(error))
        case HoldError():
            members = {"faults": [{"field": error.field, "rule": error.rule}]}
            return Problem(Kind.INVALID_REQUEST, str(error), members=members)
        case _:
            return Problem(Kind.STATE, "the hold exists already")
