"""`/v1/orders`: an order as it was received, its verification, and the disclosures that it became."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy.clearance import Role
from policy.order import SignatureRole
from storage.audit.entry import Event
from tests.disclosure.desk import GERMANY, IRELAND, Gateway, order, warrant
from tests.policy import pki

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORDERS = "/v1/orders"


async def orders_of(desk: Gateway, who: str = "ina", **query: str) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await desk.ask("GET", ORDERS, who, params=query)
        assert answer.status == 200, answer.body
        found += answer.json["orders"]
        if answer.json["nextPageToken"] is None:
            return found
        query["pageToken"] = answer.json["nextPageToken"]


async def test_an_order_is_told_as_it_was_received(desk: Gateway) -> None:
    text = order()
    disclosure = (await desk.present(text)).json
    (listed,) = [each for each in await orders_of(desk) if each["reference"] == disclosure["reference"]]
    assert "order" not in listed
    answer = await desk.ask("GET", listed["links"]["self"])
    assert answer.status == 200, answer.body
    told = answer.json
    assert told["order"] == text
    assert told["order_digest"] == disclosure["order_digest"]
    assert told["signatures"] == disclosure["signatures"]
    assert {finding["code"] for finding in told["verification"]} >= {"signature", "issuer-role", "in-force"}
    assert all(finding["ok"] for finding in told["verification"])
    assert [each["id"] for each in told["disclosures"]] == [disclosure["id"]]
    assert told["disclosures"][0]["status"] == "AwaitingApproval"
    seen = (await desk.log())[-1]
    assert (seen.event, seen.disclosure) == (Event.DISCLOSURE_VIEWED, disclosure["id"])


async def test_an_order_that_came_again_with_what_it_lacked_has_both_disclosures(desk: Gateway) -> None:
    text = warrant(jti="US-twice")
    refused = await desk.present(text)
    assert refused.problem == "refused"
    taken_up = pki.judge("IE").add(text, SignatureRole.RECOGNISE)
    granted = await desk.present(taken_up)
    assert granted.status == 201, granted.body
    (listed,) = [each for each in await orders_of(desk) if each["reference"] == "US-twice"]
    told = (await desk.ask("GET", listed["links"]["self"])).json
    assert [(each["id"], each["status"]) for each in told["disclosures"]] == [
        (refused.json["disclosure"], "Rejected"),
        (granted.json["id"], "AwaitingApproval"),
    ]
    assert len({each["order_digest"] for each in told["disclosures"]}) == 2
    assert json.loads(told["order"]) == json.loads(taken_up)


async def test_pages_hold_every_order_once(desk: Gateway) -> None:
    for _ in range(4):
        assert (await desk.present(order())).status == 201
    whole = [each["id"] for each in await orders_of(desk)]
    assert whole == sorted(set(whole))
    assert [each["id"] for each in await orders_of(desk, pageSize="2")] == whole


@pytest.mark.parametrize("role", [Role.INTAKE, Role.APPROVER, Role.AUDITOR])
async def test_those_who_work_on_orders_read_them(desk: Gateway, role: Role) -> None:
    await desk.present(order())
    await desk.employ(f"reader-{role}", [role], [IRELAND])
    assert await orders_of(desk, f"reader-{role}")


async def test_nobody_else_does(desk: Gateway) -> None:
    await desk.present(order())
    (one, *_) = await orders_of(desk)
    await desk.employ("carl", [Role.CUSTODIAN], [IRELAND])
    await desk.employ("greta", [Role.INTAKE], [GERMANY])
    assert (await desk.ask("GET", ORDERS, "carl")).problem == "role"
    assert (await desk.ask("GET", one["links"]["self"], "carl")).problem == "role"
    assert await orders_of(desk, "greta") == []
    # To somebody cleared elsewhere, an order and no order are the same.
    assert (await desk.ask("GET", one["links"]["self"], "greta")).problem == "not-found"
    assert (await desk.ask("GET", f"{ORDERS}/{'0' * 64}", "greta")).problem == "not-found"
    assert (await desk.ask("GET", ORDERS, "greta", params={"region": "eu-west-1"})).problem == "clearance"


@pytest.mark.parametrize("token", ["x", "WyJ4Il0", "bnVsbA"])
async def test_a_page_token_of_somebody_elses_making_is_refused(desk: Gateway, token: str) -> None:
    answer = await desk.ask("GET", ORDERS, params={"pageToken": token})
    assert (answer.status, answer.problem) == (422, "invalid-request")
