"""What other sites, other people and hostile orders try with the console."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from gateway.console.session import Sessions
from gateway.disclosure.desk import DESK
from policy.clearance import Role
from storage.audit.entry import Event
from storage.errors import Unavailable
from storage.layout import Place, place_of
from storage.objects import Blob
from storage.operators import OperatorRegister
from tests.console.eyes import SAME, base, looking, signed_in
from tests.disclosure.desk import IRELAND, Answer, Gateway, order
from tests.disclosure.test_validation import emergency, validated
from tests.policy import pki

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"{{7*7}}"


async def _csrf(desk: Gateway, session: dict[str, str]) -> str:
    shown = await desk.ask("GET", "/console/disclosures", None, headers=session)
    found = re.search(r'name="csrf" value="([^"]+)"', shown.body.decode())
    assert found
    return found.group(1)


async def _post(desk: Gateway, path: str, headers: dict[str, str], **fields: str) -> Answer:
    return await desk.ask("POST", path, None, headers=headers, data=fields, allow_redirects=False)


async def _digest(desk: Gateway, disclosure: str) -> str:
    return str((await desk.ask("GET", f"/v1/disclosures/{disclosure}", "art")).json["decision_digest"])


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        pytest.param({"Sec-Fetch-Site": "cross-site"}, True, id="another-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, True, id="a-neighbour"),
        pytest.param({"Origin": "https://evil.example"}, True, id="an-old-browser-at-another-site"),
        pytest.param({"Origin": "null"}, True, id="a-sandbox"),
        pytest.param({"Origin": "http://["}, True, id="a-broken-origin"),
        pytest.param({}, True, id="no-word-of-where-from"),
        pytest.param(SAME, False, id="without-the-secret"),
    ],
)
async def test_a_form_from_elsewhere_is_refused_and_recorded(
    desk: Gateway, headers: dict[str, str], csrf: bool
) -> None:
    asked = (await desk.present(order())).json["id"]
    session = await signed_in(desk, "art")
    secret = {"csrf": await _csrf(desk, session)} if csrf else {"csrf": "0" * 43}
    fields = {"decision": await _digest(desk, asked), **secret}
    before = len(await desk.log())
    answer = await _post(desk, f"/console/disclosures/{asked}/approve", session | headers, **fields)
    assert answer.status == 403
    assert "cross-site" in answer.body.decode()
    (left,) = (await desk.log())[before:]
    assert (left.event, left.findings) == (Event.ATTEMPT_NOT_CLEARED, ("cross-site",))
    assert (await desk.ask("GET", f"/v1/disclosures/{asked}", "art")).json["status"] == "AwaitingApproval"


async def test_another_site_cannot_sign_somebody_in(desk: Gateway) -> None:
    answer = await _post(desk, "/console/sign-in", {"Sec-Fetch-Site": "cross-site"}, token=desk.tokens["art"])
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers


async def test_the_asker_is_refused_by_the_server_and_not_by_a_missing_button(desk: Gateway) -> None:
    await desk.employ("ina again", [Role.APPROVER], [IRELAND], called="ina")
    asked = (await desk.present(order())).json["id"]
    session = await signed_in(desk, "ina again")
    fields = {"decision": await _digest(desk, asked), "csrf": await _csrf(desk, session)}
    answer = await _post(desk, f"/console/disclosures/{asked}/approve", session | SAME, **fields)
    assert answer.status == 403
    shown = answer.body.decode()
    last = len(await desk.log()) - 1
    assert "The one who asked cannot decide" in shown
    assert f"entry {last}" in shown


async def test_a_proposal_never_counts_as_the_confirmation_of_one_that_was_not_seen(desk: Gateway) -> None:
    body = {"address": "aoife@example.ie", "basis": {"litigation": "a claim"}}
    hold = (await desk.ask("POST", "/v1/holds", "cora", json=body)).json["id"]
    shown = await signed_in(desk, "carl")
    fields = {"reason": "mine", "csrf": await _csrf(desk, shown)}
    await desk.ask("POST", f"/v1/holds/{hold}:release", "cora", json={"reason": "hers"})
    answer = await _post(desk, f"/console/holds/{hold}/release", shown | SAME, **fields)
    assert answer.status == 409
    assert (await desk.ask("GET", f"/v1/holds/{hold}", "cora")).json["phase"] == "release proposed"


async def test_a_confirmation_is_of_the_proposal_that_the_page_has_shown(desk: Gateway) -> None:
    """Cora proposes a shorter term, and behind carl's back a release in its place."""
    until = (desk.clock() + timedelta(days=60)).isoformat()
    body = {"address": "aoife@example.ie", "basis": {"litigation": "another claim"}, "until": until}
    path = (await desk.ask("POST", "/v1/holds", "cora", json=body)).headers["Location"]
    sooner = (desk.clock() + timedelta(days=30)).isoformat()
    await desk.ask("POST", f"{path}:release", "cora", json={"reason": "shorter", "until": sooner})
    carls = await signed_in(desk, "carl")
    form = f"/console/holds/{path.rpartition('/')[2]}"
    page = (await desk.ask("GET", form, None, headers=carls)).body.decode()
    shown = re.search(r'name="proposal" value="([^"]+)"', page)
    assert shown is not None
    fields = {"csrf": await _csrf(desk, carls), "proposal": shown.group(1)}
    await desk.ask("POST", f"{path}:reject", "cora")
    desk.clock.advance(seconds=1)
    await desk.ask("POST", f"{path}:release", "cora", json={"reason": "released"})
    answer = await _post(desk, f"{form}/release", carls | SAME, **fields)
    assert answer.status == 409
    assert (await desk.ask("GET", path, "cora")).json["phase"] == "release proposed"


async def test_an_approver_of_another_region_sees_nothing(desk: Gateway) -> None:
    asked = (await desk.present(order(matter="not for DE"))).json["id"]
    session = await signed_in(desk, "dieter")
    answer = await desk.ask("GET", f"/console/disclosures/{asked}", None, headers=session)
    assert answer.status == 403
    assert b"not for DE" not in answer.body
    queue = await desk.ask("GET", "/console/disclosures", None, headers=session)
    assert b"not for DE" not in queue.body


async def test_a_session_ends_with_its_sign_out_its_hour_and_its_token(desk: Gateway) -> None:
    async def status(session: dict[str, str]) -> int:
        return (await desk.ask("GET", "/console/disclosures", None, headers=session)).status

    signed_out = await signed_in(desk, "bea")
    csrf = await _csrf(desk, signed_out)
    assert (await _post(desk, "/console/sign-out", signed_out | SAME, csrf=csrf)).status == 303
    assert await status(signed_out) == 401

    token = await desk.employ("rita", [Role.APPROVER], [IRELAND])
    revoked = await signed_in(desk, "rita")
    assert await status(revoked) == 200
    await OperatorRegister(desk.chamber().vault).revoke(token.id, desk.clock())
    desk.clock.advance(seconds=16)  # so long a verified token is remembered
    assert await status(revoked) == 401

    lasting = await signed_in(desk, "bea")
    before = desk.clock.now
    try:
        desk.clock.now += timedelta(minutes=59)
        assert await status(lasting) == 200
        desk.clock.now += timedelta(minutes=1)
        assert await status(lasting) == 401
    finally:
        desk.clock.now = before


async def test_a_session_signed_out_at_one_worker_is_over_at_every_other(desk: Gateway) -> None:
    """Two workers of one gateway share nothing but the region."""
    here, there = (Sessions(desk.chamber().vault, desk.clock) for _ in range(2))
    cookie, other = await here.begin("a token", None), await here.begin("a token", None)
    session = await there.open(cookie)
    assert session is not None
    assert session.token == "a token"
    await there.end(session)
    for worker in (here, there, Sessions(desk.chamber().vault, desk.clock)):
        assert await worker.open(cookie) is None
        assert await worker.open(other) is not None
    await here.end(session)  # a second tab


async def test_a_session_of_which_nobody_can_say_whether_it_has_ended_opens_nothing(desk: Gateway) -> None:
    class Silent:
        put_if_absent, compare_and_swap = (
            desk.chamber().vault.put_if_absent,
            desk.chamber().vault.compare_and_swap,
        )
        list, get_key = desk.chamber().vault.list, desk.chamber().vault.get

        async def get(self, key: str) -> Blob:
            if "ended" in key:
                raise Unavailable("the region is down")
            return await self.get_key(key)

    sessions = Sessions(Silent(), desk.clock)
    with pytest.raises(Unavailable):
        await sessions.open(await sessions.begin("a token", None))


async def test_what_sessions_leave_has_its_place_and_goes_when_nobody_can_use_it_any_more(
    desk: Gateway,
) -> None:
    sessions, versions = (
        Sessions(desk.chamber().vault, desk.clock),
        desk.app[DESK].holds(IRELAND.code).versions,
    )

    async def end_one() -> str:
        session = await sessions.open(await sessions.begin("a token", None))
        assert session is not None
        await sessions.end(session)
        return session.id

    async def left() -> set[str]:
        keys = [version.key async for version in versions.list("console/ended/")]
        assert all(place_of(key) == Place(None) for key in keys)
        return {key.rpartition("-")[2] for key in keys}

    earlier = await end_one()
    before = desk.clock.now
    try:
        desk.clock.now += timedelta(minutes=59)
        later = await end_one()
        await sessions.forget(versions)
        assert {earlier, later} <= await left()
        desk.clock.now += timedelta(minutes=2)
        await sessions.forget(versions)
        assert await left() & {earlier, later} == {later}
    finally:
        desk.clock.now = before
    async for listed in desk.chamber().store.mail.list("console/"):
        assert place_of(listed.key) == Place(None)


@pytest.mark.parametrize("cookie", ["", "x", "A" * 200, "%00", "é"])
async def test_a_cookie_that_was_not_sealed_here_opens_nothing(desk: Gateway, cookie: str) -> None:
    answer = await desk.ask(
        "GET", "/console/disclosures", None, headers={"Cookie": f"situs-console={cookie}"}
    )
    assert answer.status == 401


async def test_a_bearer_token_opens_no_page(desk: Gateway) -> None:
    """Nor does a page answer to what the API answers to: one way in for each."""
    assert (await desk.ask("GET", "/console/disclosures", "art")).status == 401
    session = await signed_in(desk, "art")
    assert (await desk.ask("GET", "/v1/disclosures", None, headers=session)).status == 401


@pytest.mark.parametrize(
    "path", ["/console/sign-in", "/console/disclosures", "/console/law", "/console/nothing"]
)
async def test_every_page_carries_its_policy(desk: Gateway, path: str) -> None:
    answer = await desk.ask("GET", path, None)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["X-Frame-Options"] == "DENY"
    text = answer.body.decode()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son[a-z]+=|\sstyle=", text)


async def test_what_people_write_stays_text(chromium: Browser, desk: Gateway) -> None:
    """Matter and reference of an order, an operator's name, a reason: shown as they are, run as nothing."""
    await desk.employ("hostile", [Role.INTAKE], [IRELAND], called="<script>alert(3)</script>")
    asked = (await desk.present(order(matter=HOSTILE, jti=f"{HOSTILE} 1"), "hostile")).json["id"]
    async with looking(chromium, desk, "art") as page:
        await expect(page.get_by_text(HOSTILE, exact=True).first).to_be_visible()
        await page.goto(f"{base(desk)}/disclosures/{asked}")
        await expect(page.get_by_text(f"Matter: {HOSTILE}")).to_be_visible()
        await expect(page.get_by_text("<script>alert(3)</script>")).to_be_visible()
        await page.get_by_label("Reason for a rejection").fill(HOSTILE)
        await page.get_by_role("button", name="Reject").click()
        await expect(page.get_by_text(f"Reason given: {HOSTILE}")).to_be_visible()
        assert await page.locator("img, main script").count() == 0


async def test_no_other_site_frames_a_page(chromium: Browser, desk: Gateway) -> None:
    context = await chromium.new_context()
    try:
        page = await context.new_page()
        refused: list[Any] = []
        page.on("console", lambda said: refused.append(said.text))
        await page.set_content(f'<iframe src="{base(desk)}/sign-in"></iframe>')
        frame = page.frames[-1]
        await expect(frame.get_by_label("Operator token")).to_have_count(0)
        assert any("frame-ancestors" in said or "X-Frame-Options" in said for said in refused), refused
    finally:
        await context.close()


async def test_a_validation_that_nobody_stands_behind_is_refused_without_a_word_of_law(desk: Gateway) -> None:
    """The law is not asked about an order whose signatures do not hold: no page may say that it was."""
    order_ = emergency()
    asked = (await desk.present(order_, requested=["subscriber"])).json["id"]
    session = await signed_in(desk, "ina")
    stranger = pki.realm("DE").signer("DE somebody")
    fields = {"order": validated(order_, stranger), "csrf": await _csrf(desk, session)}
    answer = await _post(desk, f"/console/disclosures/{asked}/validate", session | SAME, **fields)
    shown = answer.body.decode()
    assert answer.status == 403
    assert "not met" in shown
    for claim in ("Conflict of laws", "What would open the mailbox", "The lawbook knows none"):
        assert claim not in shown


@pytest.mark.parametrize("verb", ["answer", "validate"])
async def test_who_is_not_of_the_intake_records_nothing_whatever_the_page_shows(
    desk: Gateway, verb: str
) -> None:
    asked = (await desk.present(emergency(), requested=["subscriber"])).json["id"]
    session = await signed_in(desk, "art")
    fields = {"enforcing_authority": "cleared"} if verb == "answer" else {"order": "{}"}
    path = f"/console/disclosures/{asked}/{verb}"
    answer = await _post(desk, path, session | SAME, csrf=await _csrf(desk, session), **fields)
    assert answer.status == 403
    assert (await desk.log())[-1].event is Event.ATTEMPT_NOT_CLEARED
