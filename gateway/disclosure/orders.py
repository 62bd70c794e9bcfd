"""Orders as they were received: the text, what became of its verification, and the disclosures on it.

An order is named by its replay key, which its issuer and its reference make: it stays the same when
the order comes again with one signature more, and so the disclosures of both stand under one order.
What no authority could be found behind was never claimed, and is no order: it stands in the log,
and its sealed record beside it.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from gateway.disclosure import order_models
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK, Desk, admitted, in_one_of
from gateway.disclosure.docket import Claimed
from gateway.disclosure.lifecycle import Disclosure
from gateway.disclosure.models import Finding
from gateway.disclosure.pages import decode_token, encode_token
from gateway.disclosure.presentation import present_signature
from gateway.disclosure.problems import Kind, Problem
from gateway.disclosure.transport import json_response, read_query
from policy.assessment import FindingCode
from policy.clearance import Role
from policy.geography import RegionCode
from storage.audit.entry import Event
from storage.errors import NotFound

_ID: Final = re.compile(r"[0-9a-f]{64}\Z")
# Whoever brings orders, decides on them or checks on both.
_READERS: Final = (Role.INTAKE, Role.APPROVER, Role.AUDITOR)
# The findings that are about the order itself, and not about what it may open.
_VERIFICATION: Final = frozenset(
    {
        FindingCode.SIGNATURE,
        FindingCode.ISSUER_ROLE,
        FindingCode.IN_FORCE,
        FindingCode.VALIDATION,
        FindingCode.RECOGNITION,
    }
)


async def list_orders(request: web.Request) -> web.StreamResponse:
    """One page of the orders in the regions where the asker may read them, in the order of their ids."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        query = read_query(request, order_models.OrderQuery)
        regions = _regions(attempt, query.region)
        after = _place(query.pageToken)
        await attempt.looks(Event.DISCLOSURE_VIEWED, regions)
        page: list[tuple[RegionCode, Claimed]] = []
        for region in regions:
            found = 0
            async for claimed in desk.dockets[region].claims(after):
                page.append((region, claimed))
                found += 1
                if found > query.pageSize:
                    break
        page.sort(key=lambda each: each[1].order)
        following = None
        if len(page) > query.pageSize:
            page = page[: query.pageSize]
            following = encode_token([page[-1][1].order])
        shown = [
            order_models.OrderSummary.model_validate(_summary(claimed.order, disclosures))
            for region, claimed in page
            if (disclosures := await _disclosures(desk, region, claimed))
        ]
    return json_response(order_models.OrderList(orders=shown, nextPageToken=following))


async def get_order(request: web.Request) -> web.StreamResponse:
    """One order. Looking at it is logged before it is answered: it names whose mailbox is wanted."""
    desk = request.app[DESK]
    attempt = desk.attempt()
    async with attempt.recorded():
        await admitted(request, attempt)
        region, claimed = await _find(attempt, desk, request.match_info["order"])
        disclosures = await _disclosures(desk, region, claimed)
        if not disclosures:  # claimed by a request that died before it filed anything
            raise Problem(Kind.NOT_FOUND)
        case = disclosures[-1].case
        attempt.enter(desk.office.chambers[region], case.account)
        attempt.learn(instrument=case.instrument, issuer=case.issuer, disclosure=str(case.id))
        await attempt.commit(Event.DISCLOSURE_VIEWED)
    told = _summary(claimed.order, disclosures) | {
        "order": case.order,
        "signatures": [present_signature(each) for each in case.signatures],
        "verification": [
            Finding.model_validate(finding)
            for finding in case.decision["findings"]
            if finding["code"] in _VERIFICATION
        ],
    }
    return json_response(order_models.SignedOrder.model_validate(told))


def _regions(attempt: Attempt, wanted: str | None) -> tuple[RegionCode, ...]:
    """Where the asker may read orders. Raises 403: `clearance` for a region that is none of theirs."""
    mine = _readable(attempt)
    if wanted is None:
        return attempt.asker.everywhere(*_READERS)
    region = RegionCode.parse(wanted)
    if not attempt.asker.is_known_in(region) or region not in mine:  # the same for one that there is not
        raise Problem(Kind.CLEARANCE)
    return (region,)


def _readable(attempt: Attempt) -> tuple[RegionCode, ...]:
    """Where the asker may read orders, as far as is known. Raises 403 `role` for nowhere."""
    mine = tuple(sorted(attempt.asker.regions(*_READERS)))
    if not mine and not attempt.asker.silent:
        raise Problem(Kind.ROLE, f"one of the roles {', '.join(_READERS)} is needed")
    return mine


async def _find(attempt: Attempt, desk: Desk, text: str) -> tuple[RegionCode, Claimed]:
    """Raises Problem 404: also for an order of a region that the asker is not cleared for; and Unavailable
    where it may be in a region of theirs that cannot be asked."""
    mine = _readable(attempt)
    if not _ID.match(text):
        raise Problem(Kind.NOT_FOUND)
    try:
        return await in_one_of(mine, lambda region: desk.dockets[region].claimed(text))
    except Problem:
        attempt.asker.everywhere()
        raise


async def _disclosures(desk: Desk, region: RegionCode, claimed: Claimed) -> list[Disclosure]:
    """Those on the order, oldest first. A claim whose request died has none, or one fewer."""
    found = []
    for disclosure in claimed.disclosures:
        try:
            found.append((await desk.dockets[region].get(disclosure)).disclosure)
        except NotFound:
            continue
    return found


def _summary(order: str, disclosures: list[Disclosure]) -> dict[str, object]:
    first, latest = disclosures[0].case, disclosures[-1].case
    return {
        "id": order,
        "region": str(latest.region),
        "reference": latest.reference,
        "issuer": latest.issuer,
        "instrument": latest.instrument,
        "matter": latest.matter,
        "received": first.asked.at,
        "expires": latest.lapses,
        "order_digest": latest.order_digest,
        "disclosures": [
            {
                "id": str(each.case.id),
                "status": each.status,
                "created": each.case.asked.at,
                "order_digest": each.case.order_digest,
                "self": f"/v1/disclosures/{each.case.id}",
            }
            for each in disclosures
        ],
        "links": {"self": f"/v1/orders/{order}"},
    }


def _place(token: str | None) -> str | None:
    if token is None:
        return None
    (after,) = decode_token(token, 1)
    if not _ID.match(after):
        raise Problem(Kind.INVALID_REQUEST, "pageToken: not one that this list has given")
    return after
