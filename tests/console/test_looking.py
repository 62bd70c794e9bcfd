"""The console in a real browser: every page light and dark, by keyboard, and without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Page, expect

from storage.audit.entry import Event
from tests.console.eyes import accessible, base, looking, picture
from tests.disclosure.desk import IRELAND, Gateway, order

pytestmark = pytest.mark.asyncio(loop_scope="module")
MAIL = b"Subject: The accounts\r\n\r\nHere they are.\r\n"


async def _seen(page: Page, name: str) -> None:
    """In both schemes without a violation, and kept as pictures."""
    await accessible(page)
    await page.emulate_media(color_scheme="dark")
    await accessible(page)
    await picture(page, name)


async def test_every_page_of_a_case(chromium: Browser, desk: Gateway) -> None:
    await desk.deliver(MAIL)
    waiting = (await desk.present(order())).json["id"]
    released = await desk.granted(order())
    async with looking(chromium, desk, None) as page:
        await page.goto(base(desk))
        await _seen(page, "sign-in")
    async with looking(chromium, desk, "art") as page:
        await _seen(page, "queue")
        await page.goto(f"{base(desk)}/disclosures/{waiting}")
        await expect(page.get_by_role("button", name="Approve")).to_be_visible()
        await _seen(page, "disclosure")
        await page.goto(f"{base(desk)}/law")
        await _seen(page, "law")
        await page.goto(f"{base(desk)}/transparency")
        await _seen(page, "transparency")
        await page.goto(f"{base(desk)}/disclosures/{'0' * 32}")
        await expect(page.get_by_role("alert")).to_be_visible()
        await _seen(page, "problem")
    async with looking(chromium, desk, "ina") as page:
        await page.goto(f"{base(desk)}/disclosures/{released}")
        await page.get_by_role("link", name="Open the package").click()
        await _seen(page, "package")
        async with page.expect_download() as download:
            await page.get_by_role("table").get_by_role("link").first.click()
        assert (await download.value).suggested_filename.endswith(".p7m")


async def test_every_page_of_a_hold_and_two_people_end_it(chromium: Browser, desk: Gateway) -> None:
    async with looking(chromium, desk, "cora") as page:
        await page.goto(f"{base(desk)}/holds")
        await page.get_by_role("textbox", name="Mailbox").fill("aoife@example.ie")
        await page.get_by_role("textbox", name="Matter").fill("Byrne v Situs")
        await page.get_by_label("Why, in a sentence").fill("a claim was announced")
        await page.get_by_role("button", name="Place the hold").click()
        await expect(page.get_by_role("heading", name="aoife@example.ie")).to_be_visible()
        await expect(page.get_by_text(re.compile(r"\d+ of \d+"))).to_be_visible()
        here = page.url
        await page.get_by_label("Why it should end").fill("the claim was withdrawn")
        await page.get_by_role("button", name="Propose the release").click()
        await expect(page.get_by_text("You proposed it")).to_be_visible()
        await _seen(page, "hold")
        await page.goto(f"{base(desk)}/holds")
        await _seen(page, "holds")
    async with looking(chromium, desk, "carl") as page:
        await page.goto(here)
        await page.get_by_role("button", name="Confirm the release").click()
        await expect(page.get_by_text("It was released.")).to_be_visible()
    mine = [each.event for each in await desk.log() if each.hold and each.hold in here]
    assert mine.count(Event.HOLD_PLACED) == 1
    assert mine[-2:] == [Event.HOLD_RELEASED, Event.HOLD_VIEWED]


async def test_the_audit_log_is_searched_and_an_entry_proven(chromium: Browser, desk: Gateway) -> None:
    hold = {"address": "aoife@example.ie", "basis": {"litigation": "a claim was announced"}, "matter": "Log"}
    assert (await desk.ask("POST", "/v1/holds", "cora", json=hold)).status == 201
    # Another test may have placed one in the same house: which tests share a house, chance decides.
    placed = [each.event for each in await desk.log()].count(Event.HOLD_PLACED)
    async with looking(chromium, desk, "audrey") as page:
        await page.get_by_role("link", name="Audit log").click()
        await page.get_by_role("link", name=str(IRELAND.code)).click()
        await page.get_by_label("Event").select_option("hold.placed")
        await expect(page.get_by_text(re.compile(rf"\b{placed} of "))).to_be_visible()
        await _seen(page, "audit")
        await page.get_by_role("table").get_by_role("link").first.click()
        await expect(page.get_by_text("Proven.")).to_be_visible()
        await _seen(page, "entry")


async def test_a_case_is_approved_by_keyboard_alone(chromium: Browser, desk: Gateway) -> None:
    asked = (await desk.present(order(jti="KEYS-1"))).json["id"]
    async with looking(chromium, desk, "art") as page:
        await _tab_to(page, "KEYS-1")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="KEYS-1").wait_for()
        await _tab_to(page, "Approve")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Approve").wait_for(state="detached")
        await expect(page.locator(".lead .status")).to_contain_text("isclos")
    mine = [each.event for each in await desk.log() if each.disclosure == asked]
    assert mine[:4] == [
        Event.DISCLOSURE_DECIDED,
        Event.DISCLOSURE_VIEWED,
        Event.DISCLOSURE_APPROVED,
        Event.DISCLOSURE_RELEASED,
    ]


async def _tab_to(page: Page, name: str) -> None:
    """Tab until the focus is on it, as somebody without a mouse would; the focus is always to be seen."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        text, outline = await page.evaluate(
            "() => { const at = document.activeElement;"
            " return [at.textContent, getComputedStyle(at).outlineStyle]; }"
        )
        assert outline != "none", f"no outline on {text!r}"
        if text.strip() == name:
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


async def test_a_case_is_rejected_without_javascript(chromium: Browser, desk: Gateway) -> None:
    asked = (await desk.present(order(jti="PLAIN-1", matter="no scripts"))).json["id"]
    async with looking(chromium, desk, "bea", javascript=False) as page:
        await page.get_by_role("textbox", name="Matter").fill("no scripts")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.get_by_role("row")).to_have_count(2)
        await page.get_by_role("link", name="PLAIN-1").click()
        await page.get_by_label("Reason for a rejection").fill("the timespan is too wide")
        await page.get_by_role("button", name="Reject").click()
        await expect(page.get_by_text("the timespan is too wide")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.goto(f"{base(desk)}/disclosures/{asked}")
        await expect(page.get_by_text("Not signed in.")).to_be_visible()


async def test_the_asker_sees_no_button_and_the_matter_filter_follows_without_a_new_page(
    chromium: Browser, desk: Gateway
) -> None:
    asked = (await desk.present(order(jti="MINE-1", matter="mine alone"))).json["id"]
    # Without another one the table is the same before the filter, and the page would be left under way.
    await desk.present(order(jti="OTHER-1", matter="another"))
    async with looking(chromium, desk, "ina") as page:
        await page.evaluate("window.here = true")
        await page.get_by_role("textbox", name="Matter").fill("mine alone")
        await page.get_by_role("textbox", name="Matter").press("Tab")
        await expect(page.get_by_role("row")).to_have_count(2)
        assert await page.evaluate("window.here"), "htmx swaps the table in the same page"
        await page.goto(f"{base(desk)}/disclosures/{asked}")
        await expect(page.get_by_text("Four eyes.")).to_be_visible()
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
