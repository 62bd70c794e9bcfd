"""What an operator reads: who they are, what is urgent, what waits, what ended how; on a telephone too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.console.session import MAX_TOKEN, Sessions
from gateway.console.words import sentence, timed
from policy.clearance import Role
from tests.console.eyes import accessible, base, looking, picture, signed_in
from tests.disclosure.desk import AOIFE, IRELAND, NOW, Gateway, claims, order
from tests.disclosure.test_validation import emergency
from tests.policy import pki

LONG = "X" * 120


async def _page(desk: Gateway, who: str, path: str) -> str:
    session = await signed_in(desk, who)
    answer = await desk.ask("GET", f"/console{path}", None, headers=session)
    assert answer.status == 200, answer.body
    return answer.body.decode()


def _german(instrument: str, **changes: Any) -> str:
    usual = claims(
        instrument=instrument,
        issuing_state="DE",
        iss="DE court",
        exp=int((NOW + timedelta(days=40)).timestamp()),
    )
    return pki.judge("DE").sign(usual | changes)


def test_a_time_in_a_findings_words_is_written_as_all_others_are() -> None:
    said = "release waits until 2026-12-04T18:53:23.264092Z, or 2026-12-04T20:53:23+02:00; see 2026-12"
    assert (
        timed(said)
        == "release waits until 4 December 2026, 18:53 UTC, or 4 December 2026, 18:53 UTC; see 2026-12"
    )
    assert sentence("the role custodian is needed") == "The role custodian is needed."
    assert sentence("Why?") == "Why?"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_longest_session_is_one_that_browsers_keep(desk: Gateway) -> None:
    """RFC 6265 6.1: 4096 octets for name, value and attributes. A name may be 200 characters of any."""
    sessions = Sessions(desk.chamber().vault, desk.clock)
    cookie = await sessions.begin("t" * MAX_TOKEN, None, "\U0001f600" * 200, {str(role) for role in Role})
    attributes = "__Host-situs-console=; HttpOnly; Max-Age=3600; Path=/; SameSite=Strict; Secure"
    assert len(cookie) + len(attributes) <= 4096
    session = await sessions.open(cookie)
    assert session is not None
    assert session.name.startswith("\U0001f600")
    assert session.name.endswith("…")
    assert session.roles == {str(role) for role in Role}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("who", "ways", "not_theirs"),
    [
        ("art", [], ["/console/holds", "/console/audit"]),
        ("cora", ["/console/holds"], ["/console/audit"]),
        ("audrey", ["/console/audit"], ["/console/holds"]),
    ],
)
async def test_a_page_says_who_is_signed_in_and_shows_no_way_to_a_refusal(
    desk: Gateway, who: str, ways: list[str], not_theirs: list[str]
) -> None:
    for path in ("/disclosures", "/law"):
        text = await _page(desk, who, path)
        assert f"<strong>{who}</strong>" in text
        assert all(f'href="{way}"' in text for way in ways)
        assert not any(f'href="{way}"' in text for way in not_theirs)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_queue_names_an_emergency_and_when_an_order_lapses(desk: Gateway) -> None:
    await desk.present(emergency(jti="EM-1", matter="only this"), requested=["subscriber"])
    text = await _page(desk, "art", "/disclosures?matter=only+this")
    assert ">Emergency</span>" in text
    assert "order lapses" in text
    await desk.present(order(jti="CALM-1", matter="only that"))
    assert ">Emergency</span>" not in await _page(desk, "art", "/disclosures?matter=only+that")
    assert "Nothing here answers" in await _page(desk, "art", "/disclosures?matter=nobody's")


@pytest.mark.asyncio(loop_scope="module")
async def test_what_waits_is_not_said_to_have_failed(desk: Gateway) -> None:
    asked = (await desk.present(_german("eu.epoc", categories=["content"]), requested=["content"])).json
    assert asked["decision"]["outcome"] == "await"
    text = await _page(desk, "art", f"/disclosures/{asked['id']}")
    assert "! waits" in text
    assert "not met" not in text
    assert "Await: the law of the place carries it" in text
    assert "European Production Order" in text, "an instrument has a name"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_approver_is_told_what_no_source_confirms(desk: Gateway) -> None:
    asked = (await desk.present(order())).json
    unconfirmed = sum(each["code"] == "unconfirmed" for each in asked["decision"]["findings"])
    text = await _page(desk, "art", f"/disclosures/{asked['id']}")
    assert unconfirmed > 1
    assert f"<strong>{unconfirmed} of the findings are for counsel:</strong>" in text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_preservations_page_follows_its_hold(desk: Gateway) -> None:
    preserved = (
        await desk.present(_german("eu.epoc-pr", categories=["content"]), requested=["content"])
    ).json
    path = f"/disclosures/{preserved['id']}"
    text = await _page(desk, "ina", path)
    assert "To be kept" in text
    assert "60 days left" in text
    assert f'href="/console/holds/{preserved["hold"]}"' not in text, "who is no custodian cannot go there"
    until = (NOW + timedelta(days=90)).isoformat()
    prolonged = await desk.ask(
        "POST", f"/v1/holds/{preserved['hold']}:prolong", "cora", json={"until": until}
    )
    assert prolonged.status == 200
    assert "Not any more: kept until 22 February 2027, 12:00 UTC" in await _page(desk, "ina", path)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_term_that_ended_is_not_said_to_be_a_release(desk: Gateway) -> None:
    body = {"address": str(AOIFE), "basis": {"litigation": "a claim"}, "until": "2026-12-01T00:00:00Z"}
    hold = (await desk.ask("POST", "/v1/holds", "cora", json=body)).json["id"]
    before = desk.clock.now
    try:
        desk.clock.now = datetime(2026, 12, 2, tzinfo=UTC)
        text = await _page(desk, "cora", f"/holds/{hold}")
    finally:
        desk.clock.now = before
    assert "Nobody released it." in text
    assert "Prolonging it" not in text
    assert "so that a mistake can be mended" in text


@pytest.mark.asyncio(loop_scope="module")
async def test_every_page_can_be_read_on_a_telephone(chromium: Browser, desk: Gateway) -> None:
    """WCAG 2.2, 1.4.10: at 320 CSS pixels nothing but the inside of a wide table is scrolled sideways."""
    long = (await desk.present(order(jti=f"LONG-{LONG}", matter=f"narrow {LONG}"))).json["id"]
    body = {"address": str(AOIFE), "basis": {"litigation": LONG * 5}, "matter": LONG}
    hold = (await desk.ask("POST", "/v1/holds", "cora", json=body)).json["id"]
    for who, paths in (
        ("art", (f"disclosures?matter=narrow+{LONG}", f"disclosures/{long}", "law", "transparency")),
        ("cora", ("holds", f"holds/{hold}")),
        ("audrey", ("audit", f"audit/{IRELAND.code}", f"audit/{IRELAND.code}/0")),
    ):
        async with looking(chromium, desk, who) as page:
            await page.set_viewport_size({"width": 320, "height": 800})
            for number, path in enumerate(paths):
                await page.goto(f"{base(desk)}/{path}")
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= 320, f"{path} is {wide} pixels wide"
                await accessible(page)
                await picture(page, f"narrow-{who}-{number}")
    async with looking(chromium, desk, "art") as page:
        await page.set_viewport_size({"width": 320, "height": 800})
        await page.goto(f"{base(desk)}/disclosures?matter=narrow+{LONG}")
        await _still_a_table(page)


async def _still_a_table(page: Page) -> None:
    """Rows that stand one below the other are rows and cells for who has them read aloud."""
    await expect(page.get_by_role("table").get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("columnheader")).to_have_count(7)
    await expect(page.get_by_role("cell")).to_have_count(6)
    inside = await page.evaluate(
        "() => { const at = document.querySelector('.stacked');"
        " return at.scrollWidth <= at.parentElement.clientWidth; }"
    )
    assert inside, "a stacked table is not scrolled"
