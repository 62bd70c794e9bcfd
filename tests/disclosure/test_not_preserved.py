"""A preservation that comes to nothing is called off in the log, before the disclosure says so."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.disclosure.app import HOUSE
from policy.clearance import Clearance
from policy.hold import HoldError, HoldId
from storage.audit.entry import Event, Result
from storage.holds import HoldRegister, Terms
from tests.disclosure.desk import IRELAND, Answer, Gateway, gateway
from tests.disclosure.test_preservation import german, status
from tests.disclosure.test_release import BendableTrust
from tests.engines import Settle
from tests.faults import Fault
from tests.policy import pki


@pytest.fixture
def trust() -> BendableTrust:
    return BendableTrust()


@pytest.fixture
async def desk(
    settle: Settle, trust: BendableTrust, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    """No round of housekeeping comes by itself after the first."""
    monkeypatch.setattr("gateway.disclosure.housekeeping._EVERY", 3600.0)
    async with gateway(settle, regions=(IRELAND,), trust=trust) as built:
        yield built


async def called_off(desk: Gateway, answer: Answer) -> list[tuple[Result | None, tuple[str, ...]]]:
    return [
        (entry.outcome, entry.findings)
        for entry in await desk.log()
        if entry.event is Event.DISCLOSURE_CANCELLED and entry.disclosure == answer.json["id"]
    ]


async def test_an_authority_that_is_revoked_before_the_hold_stands_preserves_nothing(
    desk: Gateway, trust: BendableTrust
) -> None:
    place = desk.world.place(IRELAND)
    place.proxy.fail(
        Fault.INTERNAL_ERROR, when=lambda r: r.method == "PUT" and r.key.startswith("holds/"), times=10**6
    )
    answer = await desk.present(german("eu.epoc-pr"))
    assert (answer.status, answer.json["status"]) == (201, "AwaitingPreservation")
    assert await called_off(desk, answer) == []
    place.comes_back()
    trust.revoke(pki.judge("DE"), "DE")
    await desk.app[HOUSE].round(desk.chamber())
    assert await status(desk, answer.json["id"]) == "PreservationNotAvailable"
    assert await called_off(desk, answer) == [(Result.REFUSE, ("hold",))]


async def test_a_hold_that_can_never_be_placed_is_called_off_at_once(
    desk: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(
        _: HoldRegister, terms: Terms, by: Clearance, *, reference: HoldId | None = None
    ) -> None:
        raise HoldError("scope", f"{type(terms.scope).__name__} of {by.region} as {reference}: not here")

    monkeypatch.setattr(HoldRegister, "place", refuse)
    answer = await desk.present(german("eu.epoc-pr"))
    assert (answer.status, answer.json["status"]) == (201, "PreservationNotAvailable"), answer.body
    assert await called_off(desk, answer) == [(Result.REFUSE, ("hold",))]
