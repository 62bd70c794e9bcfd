"""The console in a real browser: every page light and dark, by keyboard, and without JavaScript."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from storage.audit.entry import Event
from tests.console.eyes import accessible, base, looking, picture
from tests.disclosure.desk import IRELAND, NOW, Gateway, claims, order, warrant
from tests.disclosure.test_validation import emergency, urgent, validated
from tests.policy import pki

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
        one = page.get_by_role("form", name="On one mailbox")
        await one.get_by_label("Mailbox").fill("aoife@example.ie")
        await one.get_by_label("Matter").fill("Byrne v Situs")
        await one.get_by_label("Why, in a sentence").fill("a claim was announced")
        await one.get_by_role("button", name="Place the hold").click()
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
        await expect(page.get_by_text("It was released on")).to_be_visible()
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


async def test_a_refusal_with_its_conflict_and_its_remedies(chromium: Browser, desk: Gateway) -> None:
    """18 U.S.C. 2713 reaches the provider, and Irish law keeps the mailbox closed: a lawyer reads both."""
    refused = await desk.present(warrant(jti="WARRANT-1"))
    assert refused.status == 403
    async with looking(chromium, desk, "art") as page:
        await page.goto(f"{base(desk)}/disclosures?status=Rejected")
        await page.get_by_role("link", name="WARRANT-1").click()
        told = page.get_by_role("main")
        await expect(told).to_contain_text("The law did not carry the order when it came.")
        decision = refused.json["decision"]
        await expect(_under(page, "Conflict of laws")).to_contain_text(decision["conflict"]["law"])
        await expect(_under(page, "Conflict of laws")).to_contain_text(decision["conflict"]["detail"])
        for remedy in decision["remedies"]:
            await expect(_under(page, "Remedies")).to_contain_text(remedy["route"])
        await _seen(page, "refusal")


def _under(page: Page, heading: str) -> Locator:
    """The section of that name."""
    return page.get_by_role("region", name=heading, exact=True)


def _epoc(**changes: Any) -> str:
    """A German production order for content: Ireland's enforcing authority has a say in it."""
    usual = claims(
        instrument="eu.epoc",
        issuing_state="DE",
        iss="DE court",
        exp=int((NOW + timedelta(days=40)).timestamp()),
    )
    return pki.judge("DE").sign(usual | changes)


async def test_an_answer_is_recorded_without_javascript_and_the_release_follows(
    chromium: Browser, desk: Gateway
) -> None:
    asked = (await desk.present(_epoc(jti="EPOC-1"))).json
    assert asked["decision"]["outcome"] == "await"
    assert (await desk.approve(asked["id"])).status == 200
    async with looking(chromium, desk, "art") as page:
        await page.goto(f"{base(desk)}/disclosures/{asked['id']}")
        await expect(page.get_by_text("Whoever holds the role of intake")).to_be_visible()
    async with looking(chromium, desk, "ina", javascript=False) as page:
        await page.goto(f"{base(desk)}/disclosures/{asked['id']}")
        for owed in asked["decision"]["obligations"]:
            await expect(_under(page, "Obligations")).to_contain_text(owed["detail"])
        await page.get_by_label("It has no objection").check()
        await page.get_by_label("Its words, or where they are filed").fill("letter of 24 November")
        await page.get_by_role("button", name="Record the answer").click()
        await expect(page.get_by_text("no objection, recorded by ina")).to_be_visible()
        await expect(page.get_by_role("button", name="Record the answer")).to_have_count(0)
    mine = [each.event for each in await desk.log() if each.disclosure == asked["id"]]
    assert Event.DISCLOSURE_ANSWERED in mine


async def test_an_objection_ends_a_case_for_good(chromium: Browser, desk: Gateway) -> None:
    asked = (await desk.present(_epoc(jti="EPOC-2"))).json["id"]
    async with looking(chromium, desk, "ina") as page:
        await page.goto(f"{base(desk)}/disclosures/{asked}")
        await expect(_under(page, "Obligations")).to_contain_text("A hold was placed")
        await expect(_under(page, "Obligations")).not_to_contain_text("Overdue")
        await _seen(page, "awaiting-answer")
        await _tab_to_label(page, "It has no objection: an approved release follows by itself")
        await page.keyboard.press("ArrowDown")
        await _tab_to(page, "Record the answer")
        await page.keyboard.press("Enter")
        await expect(page.locator(".lead .status")).to_have_text("Cancelled")
        await expect(page.get_by_text("Last decided on by")).to_be_visible()
    assert (await desk.ask("GET", f"/v1/disclosures/{asked}", "art")).json["status"] == "Cancelled"


async def test_a_validation_that_is_owed_is_brought(chromium: Browser, desk: Gateway) -> None:
    order_ = emergency(jti="URGENT-1")
    asked = (await desk.present(order_, requested=["subscriber"])).json["id"]
    async with looking(chromium, desk, "ina") as page:
        await page.goto(f"{base(desk)}/disclosures/{asked}")
        await expect(page.get_by_text("not recorded; due")).to_be_visible()
        await _seen(page, "owed-validation")
        await page.get_by_label("The same order with the validating signature").fill("nonsense")
        await page.get_by_role("button", name="Record the validation").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await page.go_back()
        await page.get_by_label("The same order with the validating signature").fill(validated(order_))
        await page.get_by_role("button", name="Record the validation").click()
        await expect(page.get_by_text("given, and recorded before it was due")).to_be_visible()
        await expect(page.get_by_role("button", name="Record the validation")).to_have_count(0)
    mine = [each.event for each in await desk.log() if each.disclosure == asked]
    assert mine.count(Event.DISCLOSURE_VALIDATED) == 1


async def test_holds_on_a_domain_and_on_a_matter_are_placed(chromium: Browser, desk: Gateway) -> None:
    async with looking(chromium, desk, "cora", javascript=False) as page:
        await page.goto(f"{base(desk)}/holds")
        domain = page.get_by_role("form", name="On a whole domain")
        await domain.get_by_label("Domain", exact=True).fill("example.ie")
        await domain.get_by_label("Region").select_option(str(IRELAND.code))
        await domain.get_by_label("Why, in a sentence").fill("a claim against the firm")
        await domain.get_by_role("button").click()
        await expect(page.get_by_role("heading", name="example.ie")).to_be_visible()
        await page.goto(f"{base(desk)}/holds")
        several = page.get_by_role("form", name="On the mailboxes of a matter")
        await several.get_by_label("Matter").fill("Byrne and others")
        await several.get_by_label("Mailboxes").fill("aoife@example.ie\naoife@example.ie\n")
        await several.get_by_label("Why, in a sentence").fill("a claim")
        await several.get_by_role("button").click()
        await expect(page.get_by_role("heading", name="1 mailbox")).to_be_visible()
        await expect(page.get_by_text("Matter: Byrne and others")).to_be_visible()


async def test_the_chart_lies_on_the_pages_own_paper(chromium: Browser, desk: Gateway) -> None:
    """Dark where the page is dark, and its words readable on it."""
    async with looking(chromium, desk, None, scheme="dark") as page:
        await page.goto(f"{base(desk)}/transparency")
        paper, ink, page_paper = await page.evaluate(
            "() => ['.chart .paper', '.chart .ink', 'table, .empty'].map((each, at) => {"
            " const found = getComputedStyle(document.querySelector(each));"
            " return at < 2 ? found.fill : getComputedStyle(document.body.parentElement).backgroundColor; })"
        )
        assert paper == "rgb(28, 32, 37)"
        assert ink == "rgb(232, 230, 225)"
        assert page_paper == "rgb(20, 23, 27)"


async def _tab_to_label(page: Page, label: str) -> None:
    """Tab until the control with that label has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("() => document.activeElement.labels?.[0]?.textContent.trim()") == label:
            return
    raise AssertionError(f"{label} cannot be reached by keyboard")


async def test_an_emergency_waits_for_no_answer_and_hears_an_objection(
    chromium: Browser, desk: Gateway
) -> None:
    asked = (await desk.present(urgent(jti="URGENT-2"))).json["id"]
    async with looking(chromium, desk, "ina") as page:
        await page.goto(f"{base(desk)}/disclosures/{asked}")
        await expect(page.get_by_text("The release does not wait for it.")).to_be_visible()
        await expect(page.get_by_label("It has no objection")).to_have_count(0)
        await _seen(page, "may-object")
        await page.get_by_label("It objects").check()
        await page.get_by_role("button", name="Record the answer").click()
        await expect(page.locator(".lead .status")).to_have_text("Cancelled")
