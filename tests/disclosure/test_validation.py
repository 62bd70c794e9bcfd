"""An emergency's order owes a validation within 48 hours (Reg. (EU) 2023/1543 Art. 4(5))."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.disclosure.app import HOUSE
from gateway.disclosure.receipt import check_package
from policy.hold import HoldId, Phase
from policy.order import SignatureRole
from storage.audit.entry import Entry, Event, Result
from storage.layout import place_of
from storage.versions import Versions
from tests.disclosure.desk import IRELAND, NOW, Answer, Gateway, claims, gateway
from tests.engines import Settle
from tests.policy import pki

DUE = NOW + timedelta(hours=48)


@pytest.fixture
async def desk(settle: Settle) -> AsyncIterator[Gateway]:
    async with gateway(settle, regions=(IRELAND,)) as built:
        yield built


def emergency(instrument: str = "eu.epoc", **changes: Any) -> str:
    """German police in an emergency: subscriber data, and a judge is to validate it."""
    usual = claims(
        instrument=instrument,
        issuing_state="DE",
        issuer_role="police",
        iss="DE police",
        categories=["subscriber"],
        emergency=True,
        iat=int(NOW.timestamp()),
        exp=int((NOW + timedelta(days=30)).timestamp()),
    )
    return pki.police("DE").sign(usual | changes)


def validated(order: str, by: pki.Signer | None = None) -> str:
    return (by or pki.judge("DE")).add(order, SignatureRole.VALIDATE)


async def presented(desk: Gateway, order: str) -> dict[str, Any]:
    answer = await desk.present(order, requested=["subscriber"])
    assert answer.status == 201, answer.body
    (owed,) = [each for each in answer.json["decision"]["obligations"] if each["code"] == "validation"]
    assert owed["due"] == DUE.isoformat().replace("+00:00", "Z")
    return answer.json


async def validate(desk: Gateway, disclosure: str, order: str, who: str = "ina") -> Answer:
    return await desk.ask("POST", f"/v1/disclosures/{disclosure}:validate", who, json={"order": order})


async def house(desk: Gateway) -> None:
    for _ in range(2):  # a state that ends is swept behind by the round that follows
        await desk.app[HOUSE].round(desk.chamber())


async def status(desk: Gateway, disclosure: str) -> str:
    return str((await desk.ask("GET", f"/v1/disclosures/{disclosure}")).json["status"])


def cancellations(log: list[Entry]) -> list[tuple[Result | None, tuple[str, ...]]]:
    return [(each.outcome, each.findings) for each in log if each.event is Event.DISCLOSURE_CANCELLED]


@pytest.mark.parametrize("approved", [True, False], ids=["disclosed", "not approved yet"])
async def test_what_was_prepared_without_validation_is_deleted(desk: Gateway, approved: bool) -> None:
    disclosure = (await presented(desk, emergency()))["id"]
    if approved:
        assert (await desk.approve(disclosure)).json["status"] == "Disclosed"
    desk.clock.now = DUE - timedelta(seconds=1)
    await house(desk)
    assert await status(desk, disclosure) == ("Disclosed" if approved else "AwaitingApproval")
    desk.clock.now = DUE
    await house(desk)
    told = (await desk.ask("GET", f"/v1/disclosures/{disclosure}")).json
    assert (told["status"], told["reason"]) == (
        "Cancelled",
        "the emergency's validation did not come in time",
    )
    assert (await desk.ask("GET", f"/v1/disclosures/{disclosure}/package")).problem == "state"
    assert (await desk.approve(disclosure)).problem == "state"
    with Versions(desk.world.store(IRELAND)) as versions:
        assert [version async for version in versions.list(f"packages/{disclosure}")] == []
    assert cancellations(await desk.log()) == [(Result.REFUSE, ("validation",))]


async def test_what_was_kept_without_validation_is_let_go(desk: Gateway) -> None:
    preserved = await presented(desk, emergency("eu.epoc-pr"))
    assert preserved["status"] == "Preserved"
    register = desk.app[HOUSE]._desk.holds(IRELAND.code)
    hold = await register.get(HoldId.parse(preserved["hold"]))
    assert hold.until == DUE
    desk.clock.now = DUE
    await house(desk)
    assert await status(desk, preserved["id"]) == "Cancelled"
    assert hold.phase(desk.clock()) is not Phase.IN_FORCE


async def test_a_validation_in_time_keeps_everything(desk: Gateway) -> None:
    order = emergency()
    disclosure = (await presented(desk, order))["id"]
    assert (await desk.approve(disclosure)).json["status"] == "Disclosed"
    answer = await validate(desk, disclosure, validated(order))
    assert (answer.status, answer.json["status"]) == (200, "Disclosed"), answer.body
    assert (await desk.log())[-1].event is Event.DISCLOSURE_VALIDATED
    desk.clock.now = DUE
    await house(desk)
    assert await status(desk, disclosure) == "Disclosed"
    assert (await desk.ask("GET", f"/v1/disclosures/{disclosure}/package")).status == 200
    assert cancellations(await desk.log()) == []


async def test_a_validated_order_can_be_approved_after_the_time(desk: Gateway) -> None:
    order = emergency()
    disclosure = (await presented(desk, order))["id"]
    assert (await validate(desk, disclosure, validated(order))).status == 200
    desk.clock.now = DUE + timedelta(hours=1)
    assert (await desk.approve(disclosure)).json["status"] == "Disclosed"


async def test_a_validation_prolongs_the_preservation_to_its_own_end(desk: Gateway) -> None:
    order = emergency("eu.epoc-pr")
    preserved = await presented(desk, order)
    assert (await validate(desk, preserved["id"], validated(order))).status == 200
    # Twice is once.
    assert (await validate(desk, preserved["id"], validated(order))).status == 200
    hold = await desk.app[HOUSE]._desk.holds(IRELAND.code).get(HoldId.parse(preserved["hold"]))
    assert hold.until == NOW + timedelta(days=60)  # Art. 11(1)
    desk.clock.now = DUE
    await house(desk)
    assert await status(desk, preserved["id"]) == "Preserved"


async def test_a_confirmation_does_not_stand_in_for_a_validation(desk: Gateway) -> None:
    """Reg. (EU) 2023/1543 Art. 4(5): unvalidated, it would be kept without end."""
    preserved = await presented(desk, order := emergency("eu.epoc-pr"))
    path = f"/v1/disclosures/{preserved['id']}:confirm"
    early = await desk.ask("POST", path)
    assert (early.status, early.problem) == (409, "state")
    assert (await validate(desk, preserved["id"], validated(order))).status == 200
    assert (await desk.ask("POST", path)).status == 200


async def test_the_package_carries_the_order_as_it_is_released_on(desk: Gateway, tmp_path: Path) -> None:
    """With the validating signature, where that came before the release; and a receiver accepts it."""
    disclosure = (await presented(desk, order := emergency()))["id"]
    both = validated(order)
    assert (await validate(desk, disclosure, both)).status == 200
    assert (await desk.approve(disclosure)).json["status"] == "Disclosed"
    police = pki.police("DE")
    package = await desk.package(disclosure, police, tmp_path)
    assert json.loads(package.plain["order.jws"])["signatures"] == json.loads(both)["signatures"]
    received = tmp_path / "received"
    received.mkdir()
    (received / "manifest.json").write_text(json.dumps(package.manifest))
    for name, body in package.plain.items():
        (received / name).write_bytes(body)
    assert [check for check in check_package(received, desk.chamber().log.key) if not check.ok] == []


async def test_what_validates_nothing_is_refused_and_recorded(desk: Gateway) -> None:
    order = emergency()
    disclosure = (await presented(desk, order))["id"]
    for given, who, problem in (
        (order, "ina", "refused"),
        (validated(order, pki.judge("IE")), "ina", "refused"),
        (validated(emergency()), "ina", "invalid-request"),
        ("nonsense", "ina", "malformed-order"),
        (validated(order), "art", "role"),
    ):
        answer = await validate(desk, disclosure, given, who)
        assert answer.problem == problem, answer.body
        assert "index" in answer.json["audit"]
    desk.clock.now = DUE
    assert (await validate(desk, disclosure, validated(order))).problem == "state"
    await house(desk)
    assert await status(desk, disclosure) == "Cancelled"


async def test_an_order_that_owes_no_validation_takes_none(desk: Gateway) -> None:
    order = pki.judge("DE").sign(
        claims(instrument="eu.epoc", issuing_state="DE", iss="DE court", categories=["subscriber"])
    )
    disclosure = (await desk.present(order, requested=["subscriber"])).json["id"]
    assert (await validate(desk, disclosure, validated(order))).problem == "state"


async def test_what_a_validation_leaves_has_its_place_in_the_region(desk: Gateway) -> None:
    """Or `situs fence verify` would call it a stray."""
    asked = await presented(desk, order := emergency())
    assert (await validate(desk, asked["id"], validated(order))).status == 200
    async for listed in desk.chamber().store.mail.list(""):
        assert place_of(listed.key)


def urgent(**changes: Any) -> str:
    """A German judge's order for content in an emergency: it does not wait, and Ireland may still object."""
    usual = claims(
        instrument="eu.epoc",
        issuing_state="DE",
        iss="DE court",
        categories=["traffic", "content"],
        emergency=True,
        exp=int((NOW + timedelta(days=30)).timestamp()),
    )
    return pki.judge("DE").sign(usual | changes)


async def answered(desk: Gateway, disclosure: str, said: str) -> Answer:
    return await desk.ask(
        "POST",
        f"/v1/disclosures/{disclosure}:answer",
        json={"enforcing_authority": said, "note": "ground 12"},
    )


@pytest.mark.parametrize("approved", [False, True], ids=["before-approval", "after-release"])
async def test_an_objection_in_an_emergency_ends_what_did_not_wait_for_it(
    desk: Gateway, approved: bool
) -> None:
    """Reg. (EU) 2023/1543 Art. 10(4), 12(3)."""
    await desk.deliver(b"Subject: x\r\n\r\nx\r\n")
    presented_ = await desk.present(urgent())
    asked = presented_.json["id"]
    assert presented_.json["decision"]["outcome"] == "permit"
    assert (await answered(desk, asked, "cleared")).problem == "state"  # nothing waits for it
    if approved:
        assert (await desk.approve(asked)).json["status"] == "Disclosed"
    ended = await answered(desk, asked, "objected")
    assert (ended.status, ended.json["status"], ended.json["reason"]) == (200, "Cancelled", "ground 12")
    assert (await desk.ask("GET", f"/v1/disclosures/{asked}/package")).problem == "state"
    await house(desk)
    assert [version async for version in Versions(desk.chamber().store).list(f"packages/{asked}/")] == []
    last = [entry for entry in await desk.log() if entry.event is Event.DISCLOSURE_CANCELLED]
    assert [(entry.outcome, entry.findings) for entry in last] == [(Result.REFUSE, ("enforcing-authority",))]


async def test_an_objection_after_its_time_ends_nothing(desk: Gateway) -> None:
    asked = (await desk.present(urgent())).json
    (owed,) = [each for each in asked["decision"]["obligations"] if each["code"] == "enforcing-authority"]
    desk.clock.now = datetime.fromisoformat(owed["due"])
    assert (await answered(desk, asked["id"], "objected")).problem == "state"
