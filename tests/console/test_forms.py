"""Forms: what is typed wrong is said beside its field and kept, and what is typed right is what happens."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from storage.audit.entry import Event
from tests.console.eyes import SAME, accessible, base, looking, picture, signed_in
from tests.disclosure.desk import AOIFE, IRELAND, NOW, Answer, Gateway, claims, order, warrant
from tests.policy import pki

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOLDS = "/console/holds"
ONE = {"scope": "one", "address": str(AOIFE), "reason": "a claim was announced"}
WIDE = {"scope": "wide", "address": ""}


async def _post(desk: Gateway, who: str, path: str, **fields: str) -> Answer:
    """A form of theirs, with the secret of a session of theirs."""
    session = await signed_in(desk, who)
    shown = await desk.ask("GET", "/console/disclosures", None, headers=session)
    secret = re.search(r'name="csrf" value="([^"]+)"', shown.body.decode())
    assert secret
    return await desk.ask(
        "POST",
        path,
        None,
        headers=session | SAME,
        data=fields | {"csrf": secret.group(1)},
        allow_redirects=False,
    )


def _fault(answer: Answer, field: str) -> str:
    """What stands beside that field; the field itself is marked, and names the sentence."""
    text = answer.body.decode()
    found = re.search(rf'<p class="fault" id="{field}-fault">.*?</span> (.*?)</p>', text)
    assert found, text
    marked = re.search(rf'<(?:input|textarea|select|fieldset) id="{field}"[^>]*>', text)
    assert marked, field
    assert 'aria-invalid="true"' in marked.group()
    assert f"{field}-fault" in marked.group()
    assert f'href="#{field}"' in text, "the summary leads there"
    return html.unescape(found.group(1))


def _german(**changes: Any) -> str:
    """A German court's preservation order for the Irish mailbox."""
    usual = claims(
        instrument="eu.epoc-pr",
        issuing_state="DE",
        iss="DE court",
        categories=["content"],
        exp=int((NOW + timedelta(days=40)).timestamp()),
    )
    return pki.judge("DE").sign(usual | changes)


async def _preserved(desk: Gateway, **changes: Any) -> dict[str, Any]:
    answer = await desk.present(_german(**changes), requested=["content"])
    assert answer.json["status"] == "Preserved", answer.body
    return answer.json


async def _hold(desk: Gateway, hold: str) -> dict[str, Any]:
    return (await desk.ask("GET", f"/v1/holds/{hold}", "cora")).json


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"reason": ""}, "one-reason", "in a sentence why"),
        ({"reason": "x" * 1001}, "one-reason", "at most 1000"),
        ({"address": "nobody@example.ie"}, "one-address", "no such mailbox"),
        ({"address": "not an address"}, "one-address", "address"),
        ({"until": "31/12/2026"}, "one-until", "as 2026-11-30"),
        ({"until": "2020-01-01"}, "one-until", "later than"),
        ({"first": "2026-01-01"}, "one-last", "as 2026-11-30"),
        ({"last": "2026-01-01"}, "one-first", "as 2026-11-30"),
        ({"first": "2026-02-30", "last": "2026-03-01"}, "one-first", "as 2026-11-30"),
        ({"first": "2026-03-02", "last": "2026-03-01"}, "one-last", "before the first day"),
        ({"first": "2026-03-02", "last": "9999-12-31"}, "one-last", "no day comes after"),
        ({"parties": "pat@elsewhere.example, nonsense"}, "one-parties", "address"),
        ({"domains": "-"}, "one-domains", "domain"),
        ({"messages": "x" * 999}, "one-messages", "at most 998"),
        ({"matter": "x" * 257}, "one-matter", "at most 256"),
        (
            {"scope": "several", "address": "", "matter": "M", "addresses": f"{AOIFE}\nnobody@example.ie"},
            "several-addresses",
            "number 2",
        ),
        (WIDE | {"domain": "-", "region": str(IRELAND.code)}, "wide-domain", "domain"),
        (WIDE | {"domain": "example.de", "region": "eu-central-1"}, "wide-region", "Not cleared"),
    ],
    ids=[
        "no reason", "a long reason", "nobody", "no address", "no day", "yesterday", "no last day",
        "no first day", "no such day", "backwards", "the last day", "one party wrong", "no domain",
        "a long id", "a long matter", "one of several", "no domain's name", "a region of others",
    ],
)  # fmt: skip
async def test_what_is_wrong_in_a_hold_stands_beside_its_field_and_nothing_is_lost(
    desk: Gateway, fields: dict[str, str], field: str, says: str
) -> None:
    sent = {name: text for name, text in (ONE | {"matter": "Byrne & Söhne"} | fields).items() if text}
    before = [each.event for each in await desk.log()].count(Event.HOLD_PLACED)
    answer = await _post(desk, "cora", HOLDS, **sent)
    assert answer.status in (403, 422)
    assert says in _fault(answer, field)
    text = html.unescape(answer.body.decode())
    assert "Not done: nothing was changed." in text
    for name, value in sent.items():
        assert value in text or name == "region"
    log = await desk.log()
    assert [each.event for each in log].count(Event.HOLD_PLACED) == before
    # Shown again, the list is a look like any other.
    assert log[-1].event is Event.HOLD_VIEWED
    assert log[-2].event in (Event.ATTEMPT_MALFORMED, Event.ATTEMPT_NOT_CLEARED)


async def test_a_part_of_the_mail_is_held_as_it_was_typed(desk: Gateway) -> None:
    """The last day is meant; the reason is one sentence, on however many lines it was typed."""
    answer = await _post(
        desk,
        "cora",
        HOLDS,
        **ONE | {"reason": "a claim\r\nwas announced"},
        matter="A part",
        first="2026-01-01",
        last="2026-11-30",
        parties='pat@elsewhere.example; kim@elsewhere.example\n\n"a, b"@x.example',
        domains="elsewhere.example other.example",
        messages="<1@x.example>\n 2@x.example ",
        until="2027-05-01",
    )
    assert answer.status == 303, answer.body
    hold = await _hold(desk, answer.headers["Location"].rpartition("/")[2])
    assert (hold["timespan_start"], hold["timespan_end"]) == ("2026-01-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert hold["until"] == "2027-05-01T00:00:00Z"
    assert (hold["reason"], hold["matter"]) == ("a claim was announced", "A part")
    assert hold["query"] == {
        "parties": ['"a, b"@x.example', "kim@elsewhere.example", "pat@elsewhere.example"],
        "domains": ["elsewhere.example", "other.example"],
        "message_ids": ["2@x.example", "<1@x.example>"],
    }


async def test_form_6_prolongs_a_preservation_once_to_the_laws_own_limit(desk: Gateway) -> None:
    """Reg. (EU) 2023/1543 Art. 11(1): by 30 days, to the second."""
    hold = (await _preserved(desk))["hold"]
    session = await signed_in(desk, "cora")
    shown = (await desk.ask("GET", f"{HOLDS}/{hold}", None, headers=session)).body.decode()
    assert "Art. 11(1)" in shown
    assert "Without an end" not in shown
    assert "An order stands behind it." in shown
    (latest,) = re.findall(r'name="to" value="(2[^"]+)"', shown)
    late = await _post(desk, "cora", f"{HOLDS}/{hold}/prolong", to="day", day="2027-06-01")
    assert (late.status, "by 30 days" in _fault(late, "prolong-day")) == (409, True)
    assert 'value="2027-06-01"' in late.body.decode()
    endless = await _post(desk, "cora", f"{HOLDS}/{hold}/prolong", to="never")
    assert "until a production order is confirmed" in _fault(endless, "prolong-to")
    done = await _post(desk, "cora", f"{HOLDS}/{hold}/prolong", to=latest)
    assert done.status == 303, done.body
    assert (await _hold(desk, hold))["until"] == latest == (NOW + timedelta(days=90)).isoformat()[:19] + "Z"
    again = await _post(desk, "cora", f"{HOLDS}/{hold}/prolong", to=latest)
    assert (again.status, "prolonged before" in again.body.decode()) == (409, True)
    page = (await desk.ask("GET", f"{HOLDS}/{hold}", None, headers=session)).body.decode()
    assert "It was prolonged before" in page
    assert "Prolong the hold" not in page


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({}, "prolong-to", "choose"),
        ({"to": "day"}, "prolong-day", "as 2026-11-30"),
        ({"to": "day", "day": "2026-12-01"}, "prolong-day", "takes two people"),
        ({"to": "tomorrow"}, "prolong-to", "RFC 3339"),
    ],
    ids=["nothing", "no day", "an earlier day", "nonsense"],
)
async def test_a_prolongation_that_says_nothing_changes_nothing(
    desk: Gateway, fields: dict[str, str], field: str, says: str
) -> None:
    placed = await _post(desk, "cora", HOLDS, **ONE, until="2027-01-01")
    path = placed.headers["Location"]
    answer = await _post(desk, "cora", f"{path}/prolong", **fields)
    assert says in _fault(answer, field)
    hold = await _hold(desk, path.rpartition("/")[2])
    assert hold["until"] == "2027-01-01T00:00:00Z"


async def test_a_litigation_goes_on_for_longer_and_then_without_an_end(desk: Gateway) -> None:
    path = (await _post(desk, "cora", HOLDS, **ONE, until="2027-01-01")).headers["Location"]
    for fields, until in (
        ({"to": "day", "day": "2027-02-01"}, "2027-02-01T00:00:00Z"),
        ({"to": "never", "day": ""}, None),
    ):
        assert (await _post(desk, "cora", f"{path}/prolong", **fields)).status == 303
        assert (await _hold(desk, path.rpartition("/")[2]))["until"] == until
    session = await signed_in(desk, "cora")
    shown = (await desk.ask("GET", path, None, headers=session)).body
    assert b"It has no end." in shown
    assert b"An order stands behind it." not in shown


async def test_an_earlier_end_is_proposed_with_its_day(desk: Gateway) -> None:
    path = (await _post(desk, "cora", HOLDS, **ONE)).headers["Location"]
    hold = path.rpartition("/")[2]
    for fields, field, says in (
        ({"reason": ""}, "end-reason", "why the hold should end"),
        ({"reason": "settled", "until": "2020-01-01"}, "end-until", "future"),
        ({"reason": "settled", "until": "soon"}, "end-until", "as 2026-11-30"),
    ):
        assert says in _fault(await _post(desk, "cora", f"{path}/release", **fields), field)
    assert (await _post(desk, "cora", f"{path}/release", reason="settled", until="2027-03-01")).status == 303
    proposal = (await _hold(desk, hold))["proposal"]
    assert proposal["until"] == "2027-03-01T00:00:00Z"
    assert (await _post(desk, "carl", f"{path}/release", proposal=proposal["at"])).status == 303
    shorter = await _hold(desk, hold)
    assert (shorter["phase"], shorter["until"]) == ("in force", "2027-03-01T00:00:00Z")


async def test_who_may_not_prolong_is_refused_and_shown_no_hold(desk: Gateway) -> None:
    hold = (await _preserved(desk))["hold"]
    answer = await _post(desk, "art", f"{HOLDS}/{hold}/prolong", to="never")
    assert (answer.status, b"role custodian" in answer.body) == (403, True)
    assert (await desk.log())[-1].event is Event.ATTEMPT_NOT_CLEARED


async def test_what_another_form_lacks_is_said_beside_it_too(desk: Gateway) -> None:
    asked = (await desk.present(order())).json["id"]
    path = f"/console/disclosures/{asked}"
    assert "in a sentence why" in _fault(await _post(desk, "art", f"{path}/reject"), "reject-reason")
    preserved = (await _preserved(desk))["id"]
    long = await _post(desk, "ina", f"/console/disclosures/{preserved}/confirm", production="x" * 257)
    assert "at most 256" in _fault(long, "confirm-production")
    assert "x" * 257 in long.body.decode()
    log = await desk.log()
    assert [each.event for each in log[-2:]] == [Event.ATTEMPT_MALFORMED, Event.DISCLOSURE_VIEWED]


async def test_an_order_is_presented_without_javascript_and_mended(chromium: Browser, desk: Gateway) -> None:
    signed = order(jti="PRESENTED-1", matter="presented by hand")
    async with looking(chromium, desk, "ina") as page:
        await page.goto(f"{base(desk)}/disclosures")
        await _seen(page, "present")
    async with looking(chromium, desk, "ina", javascript=False) as page:
        await page.get_by_label("The signed order").fill(signed[:-9] + "nonsense!")
        await page.get_by_label("traffic").check()
        await page.get_by_label("Content as mbox too").check()
        await page.get_by_role("button", name="Present the order").click()
        await expect(page.get_by_role("alert")).to_contain_text("Not done")
        await expect(page.get_by_label("traffic")).to_be_checked()
        await expect(page.get_by_label("Content as mbox too")).to_be_checked()
        await page.get_by_label("The signed order").fill(signed)
        await page.get_by_role("button", name="Present the order").click()
        await expect(page.get_by_role("heading", name="PRESENTED-1")).to_be_visible()
        await expect(page.get_by_text("Four eyes.")).to_be_visible()
        made = page.url.rpartition("/")[2]
        await page.goto(f"{base(desk)}/disclosures")
        await page.get_by_label("The signed order").fill(signed)
        await page.get_by_label("traffic").check()
        await page.get_by_role("button", name="Present the order").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await page.get_by_role("link", name="Open the disclosure").click()
        assert page.url.endswith(made)
    told = (await desk.ask("GET", f"/v1/disclosures/{made}", "ina")).json
    assert (told["requested"], told["renditions"], told["asked_by"]) == (["traffic"], ["mbox"], "ina")


async def test_what_is_wrong_with_an_order_stands_beside_it_and_a_refusal_has_its_page(desk: Gateway) -> None:
    path = "/console/disclosures"
    assert "what the order is to open" in _fault(
        await _post(desk, "ina", path, order="x"), "present-requested"
    )
    assert _fault(await _post(desk, "ina", path, content="yes"), "present-order")
    nobody = order(target={"address": "nobody@example.ie"})
    for who, sent in (("ina", nobody), ("cora", order())):
        answer = await _post(desk, who, path, order=sent, content="yes")
        assert answer.status == 403
        assert "no such mailbox" in answer.body.decode()
        assert (await desk.log())[-2].event is Event.ATTEMPT_NOT_CLEARED
    refused = await _post(desk, "ina", path, order=warrant(), content="yes")
    text = refused.body.decode()
    assert (refused.status, "What would open the mailbox" in text) == (403, True)
    (made,) = re.findall(r'href="/console/disclosures/([0-9a-f]{32})">Open the disclosure', text)
    assert (await desk.ask("GET", f"/v1/disclosures/{made}", "ina")).json["status"] == "Rejected"


async def test_form_5_is_recorded_without_javascript_and_ends_the_end(
    chromium: Browser, desk: Gateway
) -> None:
    """Reg. (EU) 2023/1543 Art. 11(1)-(2)."""
    preserved = await _preserved(desk, jti="PRESERVE-5")
    here = f"{base(desk)}/disclosures/{preserved['id']}"
    async with looking(chromium, desk, "art") as page:
        await page.goto(here)
        await expect(page.get_by_text("Whoever holds the role of intake")).to_be_visible()
        await expect(page.get_by_role("button", name="Record Form 5")).to_have_count(0)
    async with looking(chromium, desk, "ina") as page:
        await page.goto(here)
        await _seen(page, "form-5")
    async with looking(chromium, desk, "ina", javascript=False) as page:
        await page.goto(here)
        await page.get_by_label("Reference of the production order").fill("DE-7/26")
        await page.get_by_role("button", name="Record Form 5").click()
        await expect(page.get_by_text("production order DE-7/26")).to_be_visible()
        await expect(page.get_by_text("it is produced: no end was set")).to_be_visible()
        await expect(page.get_by_role("button", name="Record Form 5")).to_have_count(0)
    assert (await _hold(desk, preserved["hold"]))["until"] is None
    mine = [each.event for each in await desk.log() if each.disclosure == preserved["id"]]
    assert mine.count(Event.DISCLOSURE_CONFIRMED) == 1


async def test_a_preservation_is_prolonged_by_keyboard_alone(chromium: Browser, desk: Gateway) -> None:
    hold = (await _preserved(desk, jti="PRESERVE-6"))["hold"]
    async with looking(chromium, desk, "cora") as page:
        await page.goto(f"{base(desk)}/holds/{hold}")
        await _seen(page, "prolong")
        await page.get_by_label("As long as the law lets").focus()
        await page.keyboard.press("Space")
        await page.keyboard.press("Tab")  # a group of choices is one stop
        await page.keyboard.press("Tab")
        for _ in range(8):  # the parts of a date field, and its calendar
            if await page.evaluate("document.activeElement.textContent.trim()") == "Prolong the hold":
                break
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("It was prolonged before")).to_be_visible()
    assert (await _hold(desk, hold))["until"].startswith("2027-02-22")


@pytest.mark.parametrize("javascript", [True, False], ids=["with-scripts", "without"])
async def test_a_hold_on_a_part_is_mended_and_placed(
    chromium: Browser, desk: Gateway, javascript: bool
) -> None:
    """What was wrong is announced, and has the focus; what was right is not typed again."""
    async with looking(chromium, desk, "cora", javascript=javascript) as page:
        await page.goto(f"{base(desk)}/holds")
        one = page.get_by_role("form", name="On one mailbox")
        await one.get_by_label("Mailbox").fill("aoifa@example.ie")
        await one.get_by_label("Why, in a sentence").fill("a claim was announced")
        await one.get_by_text("Only a part of the mail").click()
        await one.get_by_label("Received from").fill("2026-01-01")
        await one.get_by_label("to, that day included").fill("2026-11-30")
        await one.get_by_label("Sent or received by").fill("pat@elsewhere.example")
        await one.get_by_role("button", name="Place the hold").click()
        await expect(page.get_by_role("alert")).to_be_focused()
        await expect(page).to_have_title(re.compile("Not done"))
        await expect(page.get_by_role("alert")).to_contain_text("no such mailbox")
        await expect(one.get_by_label("Mailbox")).to_have_attribute("aria-invalid", "true")
        await expect(one.get_by_label("Received from")).to_have_value("2026-01-01")
        await expect(one.get_by_label("Received from")).to_be_visible()
        if javascript:
            await _seen(page, "hold-mended")
        await one.get_by_label("Mailbox").fill("aoife@example.ie")
        await one.get_by_role("button", name="Place the hold").click()
        await expect(page.get_by_role("heading", name="aoife@example.ie")).to_be_visible()
        await expect(page.get_by_text("sent or received by pat@elsewhere.example")).to_be_visible()
        await expect(page.get_by_text("1 December 2026, 00:00 UTC")).to_be_visible()


async def _seen(page: Page, name: str) -> None:
    """In both schemes without a violation, and kept as pictures."""
    await accessible(page)
    await page.emulate_media(color_scheme="dark")
    await accessible(page)
    await picture(page, name)
