"""Four eyes, at this moment: races, revocations, crashes and silent logs between asking and releasing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from gateway.disclosure.app import HOUSE
from gateway.disclosure.desk import DESK
from gateway.disclosure.housekeeping import Housekeeping
from gateway.disclosure.lifecycle import DisclosureId
from gateway.disclosure.metrics import Metrics
from gateway.disclosure.release import RELEASES, Releases
from gateway.disclosure.terms import Terms
from policy.address import Address
from policy.clearance import Role
from policy.geography import Jurisdiction
from policy.verification import Trust
from storage.audit.entry import Event
from storage.located import Located
from storage.operators import OperatorRegister
from tests.disclosure.desk import (
    AOIFE,
    GERMANY,
    IRELAND,
    NOW,
    Gateway,
    MovableClock,
    gateway,
    order,
    usual_trust,
)
from tests.engines import Settle
from tests.faults import Fault, Moment, Request
from tests.policy import pki

MAIL = b"Subject: The accounts\r\n\r\nHere they are.\r\n"


class BendableTrust:
    """The trust list, until a test revokes somebody."""

    def __init__(self) -> None:
        self.trust = usual_trust()

    def __call__(self) -> Trust:
        return self.trust

    def revoke(self, signer: pki.Signer, code: str) -> None:
        revoked = (
            x509.RevokedCertificateBuilder()
            .serial_number(signer.cert.serial_number)
            .revocation_date(NOW)
            .build()
        )
        realm = pki.realm(code)
        lists = realm.lists(signer, crls=realm.crls(issuing=[revoked]))
        self.trust = Trust({Jurisdiction(code): lists})


@pytest.fixture
def trust() -> BendableTrust:
    return BendableTrust()


@pytest.fixture
async def alone(settle: Settle, trust: BendableTrust) -> AsyncIterator[Gateway]:
    """A gateway of the test's own: to break, to revoke in, to move the clock of."""
    async with gateway(settle, regions=(IRELAND,), trust=trust) as built:
        yield built


async def presented(desk: Gateway, **changes: Any) -> str:
    answer = await desk.present(order(**changes))
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


async def status(desk: Gateway, disclosure: str) -> str:
    return str((await desk.ask("GET", f"/v1/disclosures/{disclosure}")).json["status"])


def mail_reads(desk: Gateway) -> list[Request]:
    """Every request that could have fetched mail, as Ireland's S3 server saw it, since the last look."""
    seen = desk.world.place(IRELAND).proxy.requests
    found = [r for r in seen if r.method == "GET" and r.key.startswith("mail/")]
    seen.clear()
    return found


@pytest.mark.asyncio(loop_scope="module")
async def test_the_one_who_asked_cannot_approve_through_a_second_token(desk: Gateway) -> None:
    await desk.employ("two hats", [Role.INTAKE, Role.APPROVER], [IRELAND], called="Ína  Ní Bhriain")
    await desk.employ("other hat", [Role.APPROVER], [IRELAND], called=" ína ní bhriain")
    mail_reads(desk)
    disclosure = (await desk.present(order(), "two hats")).json["id"]
    for who in ("two hats", "other hat"):
        for verb in ("approve", "reject"):
            answer = await desk.ask("POST", f"/v1/disclosures/{disclosure}:{verb}", who)
            assert (answer.status, answer.problem) == (403, "same-person")
    assert await status(desk, disclosure) == "AwaitingApproval"
    assert mail_reads(desk) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_two_approvals_racing_a_rejection_end_in_one_state(desk: Gateway) -> None:
    await desk.employ("cora", [Role.APPROVER], [IRELAND])
    await desk.deliver(MAIL)
    disclosure = await presented(desk)
    answers = await asyncio.gather(
        desk.approve(disclosure, "art"),
        desk.approve(disclosure, "bea"),
        desk.ask("POST", f"/v1/disclosures/{disclosure}:reject", "cora"),
    )
    assert sorted(answer.status for answer in answers) == [200, 409, 409]
    rejected = answers[2].status == 200
    events = [entry.event for entry in await desk.log() if entry.disclosure == disclosure]
    assert await status(desk, disclosure) == ("Rejected" if rejected else "Disclosed")
    assert events.count(Event.DISCLOSURE_RELEASED) == (0 if rejected else 1)
    # Whoever had been logged, and then came second, has that said in a second entry.
    deeds = events.count(Event.DISCLOSURE_APPROVED) + events.count(Event.DISCLOSURE_REJECTED)
    late = [entry for entry in await desk.log() if entry.findings == ("decided-meanwhile",)]
    assert [entry.event for entry in late] == [Event.ATTEMPT_FAILED] * (deeds - 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_rejected_disclosure_stays_rejected(desk: Gateway) -> None:
    mail_reads(desk)
    disclosure = await presented(desk)
    body = {"reason": "The address is a colleague's."}
    answer = await desk.ask("POST", f"/v1/disclosures/{disclosure}:reject", "art", json=body)
    assert (answer.status, answer.json["status"], answer.json["decided_by"]) == (200, "Rejected", "art")
    assert answer.json["reason"] == body["reason"]
    again = await desk.approve(disclosure, "bea")
    assert (again.status, again.problem, again.json["disclosure_status"]) == (409, "state", "Rejected")
    assert mail_reads(desk) == []


async def test_an_authority_revoked_since_it_signed_releases_nothing(
    alone: Gateway, trust: BendableTrust
) -> None:
    disclosure = await presented(alone)
    trust.revoke(pki.judge("IE"), "IE")
    answer = await alone.approve(disclosure)
    assert (answer.status, answer.problem, answer.json["code"]) == (403, "refused", "signature")
    assert await status(alone, disclosure) == "Cancelled"
    assert mail_reads(alone) == []
    assert Event.DISCLOSURE_CANCELLED in {entry.event for entry in await alone.log()}


async def test_an_order_that_lapses_before_approval_expires(alone: Gateway) -> None:
    disclosure = await presented(alone, exp=int((NOW + timedelta(hours=1)).timestamp()))
    alone.clock.advance(hours=1)
    answer = await alone.approve(disclosure)
    assert (answer.status, answer.problem, answer.json["disclosure_status"]) == (409, "state", "Expired")
    assert await status(alone, disclosure) == "Expired"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_approver_who_read_another_decision_is_told_so(desk: Gateway) -> None:
    disclosure = await presented(desk)
    shown = (await desk.ask("GET", f"/v1/disclosures/{disclosure}", "art")).json
    stale = await desk.approve(disclosure, json={"decision": "sha256:" + "0" * 64})
    assert (stale.status, stale.problem) == (412, "stale")
    approved = await desk.approve(disclosure, json={"decision": shown["decision_digest"]})
    assert approved.status == 200


async def test_a_mailbox_that_has_moved_is_not_opened_by_the_law_it_left(
    settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory says another home by the time of approval: that region's law has not been asked."""
    async with gateway(settle) as desk:
        answer = await desk.present(order())
        located = await desk.world.directory.find(AOIFE)

        async def moved(_: Address) -> Located:
            return replace(located, home=GERMANY)

        monkeypatch.setattr(desk.world.directory, "find", moved)
        approved = await desk.approve(answer.json["id"])
        assert (approved.status, approved.json["code"]) == (403, "target")
        assert mail_reads(desk) == []


def _audit_is_down(desk: Gateway) -> None:
    place = desk.world.place(IRELAND)
    bucket = place.settings.audit_bucket
    place.proxy.fail(Fault.INTERNAL_ERROR, Moment.BEFORE, when=lambda r: r.bucket == bucket, times=1_000_000)


async def test_a_silent_log_means_503_and_no_trace_of_a_release(alone: Gateway) -> None:
    await alone.deliver(MAIL)
    disclosure = await presented(alone)
    _audit_is_down(alone)
    await alone.deliver(MAIL)  # mail goes on coming in: nothing of it waits for the log
    for answer in await asyncio.gather(
        alone.present(order()),
        alone.approve(disclosure),
        alone.ask("POST", "/v1/disclosures", "ina", data=b"{", headers={"Content-Type": "application/json"}),
        alone.ask("POST", "/v1/disclosures", None),
        alone.ask("GET", f"/v1/disclosures/{disclosure}/package"),
    ):
        assert (answer.status, answer.problem) == (503, "audit-unavailable")
        assert "audit" not in answer.json
        assert answer.headers["Retry-After"]
    assert mail_reads(alone) == []
    alone.world.place(IRELAND).comes_back()
    assert (await alone.approve(disclosure)).json["status"] == "Disclosed"


async def test_a_region_that_is_down_means_503_there_and_nowhere_else(settle: Settle) -> None:
    async with gateway(settle, regions=(GERMANY, IRELAND), serves=(IRELAND, GERMANY)) as desk:
        assert (await desk.present(order(target={"address": "boris@example.de"}))).status == 403
        place = desk.world.place(GERMANY)
        place.goes_down()
        answer = await desk.present(order(target={"address": "boris@example.de"}))
        assert (answer.status, answer.problem) == (503, "audit-unavailable")
        assert (await desk.present(order())).status == 201


async def test_a_crash_after_the_approval_is_resumed_and_released_once(alone: Gateway) -> None:
    await alone.deliver(MAIL)
    disclosure = await presented(alone)
    place = alone.world.place(IRELAND)
    # The approval is committed and filed; the first part cannot be put.
    place.proxy.fail(
        Fault.INTERNAL_ERROR,
        when=lambda r: r.method == "PUT" and r.key.startswith("packages/"),
        times=1_000_000,
    )
    approved = await alone.approve(disclosure)
    assert (approved.status, approved.json["status"]) == (200, "AwaitingDisclosure")
    pending = await alone.ask("GET", f"/v1/disclosures/{disclosure}/package")
    assert (pending.status, pending.problem) == (409, "not-ready")
    place.comes_back()
    await resumed(alone, disclosure)
    assert await status(alone, disclosure) == "Disclosed"
    completed = [entry for entry in await alone.log() if entry.event is Event.DISCLOSURE_COMPLETED]
    assert len(completed) == 1
    await resumed(alone, disclosure)
    assert len([e for e in await alone.log() if e.event is Event.DISCLOSURE_COMPLETED]) == 1


async def test_what_a_revoked_approver_approved_is_not_resumed(alone: Gateway) -> None:
    token = await alone.employ("zoe", [Role.APPROVER], [IRELAND])
    disclosure = await presented(alone)
    place = alone.world.place(IRELAND)
    place.proxy.fail(
        Fault.INTERNAL_ERROR, when=lambda r: r.method == "PUT" and r.key.startswith("packages/"), times=10**6
    )
    assert (await alone.approve(disclosure, "zoe")).json["status"] == "AwaitingDisclosure"
    place.comes_back()
    await OperatorRegister(alone.chamber().vault).revoke(token.id, alone.clock())
    await resumed(alone, disclosure)
    assert await status(alone, disclosure) == "Cancelled"


async def test_two_processes_that_resume_one_release_complete_it_once(settle: Settle) -> None:
    async with gateway(settle, regions=(IRELAND,)) as desk:
        await desk.deliver(MAIL)
        disclosure = await presented(desk)
        place = desk.world.place(IRELAND)
        place.proxy.fail(
            Fault.INTERNAL_ERROR,
            when=lambda r: r.method == "PUT" and r.key.startswith("packages/"),
            times=10**6,
        )
        await desk.approve(disclosure)
        place.comes_back()
        releases = desk.app[RELEASES]
        other = Releases(desk.app[DESK])
        house = Housekeeping(desk.app[DESK], other, Metrics())
        await asyncio.gather(desk.app[HOUSE].round(desk.chamber()), house.round(desk.chamber()))
        await asyncio.gather(*releases._tasks.values(), *other._tasks.values(), return_exceptions=True)
        assert await status(desk, disclosure) == "Disclosed"
        manifest = (await desk.ask("GET", f"/v1/disclosures/{disclosure}/package")).json
        for part in manifest["parts"]:
            fetched = await desk.ask("GET", f"/v1/disclosures/{disclosure}/package/{part['name']}")
            assert len(fetched.body) == part["encrypted_size"]


async def resumed(desk: Gateway, disclosure: str) -> None:
    """What the background does every half minute, done now and waited for."""
    releases = desk.app[RELEASES]
    running = releases._tasks.get(DisclosureId.parse(disclosure))
    if running is not None:
        await asyncio.wait({running})
    await desk.app[HOUSE].round(desk.chamber())
    if (running := releases._tasks.get(DisclosureId.parse(disclosure))) is not None:
        await asyncio.wait({running})


async def test_a_package_cannot_be_fetched_after_it_has_expired(settle: Settle) -> None:
    async with gateway(settle, regions=(IRELAND,), terms=Terms(package_lifetime=timedelta(hours=1))) as desk:
        disclosure = await desk.granted(order())
        path = f"/v1/disclosures/{disclosure}/package"
        assert (await desk.ask("GET", f"{path}/order.jws")).status == 200
        assert isinstance(desk.clock, MovableClock)
        desk.clock.advance(hours=1)
        for link in (path, f"{path}/order.jws"):
            answer = await desk.ask("GET", link)
            assert (answer.status, answer.problem) == (410, "package-expired")
            assert "index" in answer.json["audit"]
