"""Orders that preserve, orders that wait, and the holds that keep what they are about."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.disclosure.app import HOUSE
from gateway.disclosure.release import RELEASES
from policy.address import Address
from policy.clearance import Role
from policy.hold import HoldId, Mailbox, Phase
from storage.audit.entry import Event, Result
from storage.versions import Versions
from tests.disclosure.desk import AOIFE, IRELAND, NOW, Gateway, MovableClock, claims, gateway, order
from tests.engines import Settle
from tests.faults import Fault
from tests.policy import pki

MAIL = b"Subject: The accounts\r\n\r\nHere they are.\r\n"
HOLDS = "/v1/holds"
BACKWARDS = {"start": "2026-02-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}


@pytest.fixture
async def desk(settle: Settle) -> AsyncIterator[Gateway]:
    async with gateway(settle, regions=(IRELAND,)) as built:
        await built.employ("carl", [Role.CUSTODIAN], [IRELAND])
        await built.employ("cleo", [Role.CUSTODIAN], [IRELAND])
        yield built


def german(instrument: str, **changes: Any) -> str:
    """A German court's European order for the Irish mailbox."""
    usual = claims(
        instrument=instrument, issuing_state="DE", iss="DE court", categories=["traffic", "content"]
    )
    return pki.judge("DE").sign(usual | changes)


async def round_of_housekeeping(desk: Gateway) -> None:
    await desk.app[HOUSE].round(desk.chamber())
    for task in list(desk.app[RELEASES]._tasks.values()):
        await task


async def status(desk: Gateway, disclosure: str) -> str:
    return str((await desk.ask("GET", f"/v1/disclosures/{disclosure}")).json["status"])


async def test_a_preservation_order_places_a_hold_and_discloses_nothing(desk: Gateway) -> None:
    await desk.deliver(MAIL)
    answer = await desk.present(german("eu.epoc-pr"))
    assert (answer.status, answer.json["status"]) == (201, "Preserved"), answer.body
    hold = await desk.app[HOUSE]._desk.holds(IRELAND.code).get(HoldId(answer.json["hold"]))
    assert hold.until == NOW + timedelta(days=60)  # Reg. (EU) 2023/1543 Art. 11(1)
    assert hold.placed_by == "ina"
    located = await desk.world.directory.find(AOIFE)
    assert [each.id for each in await desk.app[HOUSE]._desk.holds(IRELAND.code).on(located.account)] == [
        hold.id
    ]
    refused = await desk.approve(answer.json["id"])
    assert (refused.status, refused.problem) == (409, "state")
    assert (await desk.ask("GET", f"/v1/disclosures/{answer.json['id']}/package")).problem == "state"
    events = [entry.event for entry in await desk.log()]
    assert events[:2] == [Event.DISCLOSURE_DECIDED, Event.HOLD_PLACED]


async def test_what_was_preserved_is_kept_until_the_production_order_is_answered(desk: Gateway) -> None:
    """Reg. (EU) 2023/1543 Art. 11(1)-(2): the preservation's own 60 days end before the order does."""
    register = desk.app[HOUSE]._desk.holds(IRELAND.code)
    located = await desk.world.directory.find(AOIFE)
    preserved = (await desk.present(german("eu.epoc-pr"))).json
    lasts = NOW + timedelta(days=70)
    follows = await desk.present(order(exp=int(lasts.timestamp())))
    assert (follows.status, follows.json["decision"]["outcome"]) == (201, "permit"), follows.body
    kept = await register.get(HoldId(follows.json["hold"]))
    assert kept.until == lasts
    desk.clock.advance(days=61)
    assert (await register.get(HoldId(preserved["hold"]))).until < desk.clock()  # type: ignore[operator]
    assert [
        each.id for each in await register.on(located.account) if each.phase(desk.clock()) is Phase.IN_FORCE
    ] == [kept.id]


async def test_an_order_for_what_nobody_preserved_places_no_hold(desk: Gateway) -> None:
    assert (await desk.present(order())).json["hold"] is None


async def test_form_6_prolongs_a_preservation_by_one_person(desk: Gateway) -> None:
    """Reg. (EU) 2023/1543 Art. 11(1): 30 days more."""
    preserved = (await desk.present(german("eu.epoc-pr"))).json
    until = (NOW + timedelta(days=90)).isoformat()
    answer = await desk.ask("POST", f"{HOLDS}/{preserved['hold']}:prolong", "carl", json={"until": until})
    assert (answer.status, answer.json["until"]) == (200, until.replace("+00:00", "Z")), answer.body
    assert (await desk.log())[-1].event is Event.HOLD_CHANGED


@pytest.mark.parametrize(
    ("until", "says"),
    [
        (NOW + timedelta(days=90, seconds=1), "by 30 days"),
        (None, "a preservation has an end"),
        (NOW + timedelta(days=59), "no later than"),
    ],
    ids=["longer", "without end", "shorter"],
)
async def test_a_preservation_is_prolonged_no_further_than_its_law_goes(
    desk: Gateway, until: datetime | None, says: str
) -> None:
    """Reg. (EU) 2023/1543 Art. 11(1)."""
    path = f"{HOLDS}/{(await desk.present(german('eu.epoc-pr'))).json['hold']}"
    answer = await desk.ask("POST", f"{path}:prolong", "carl", json={"until": until and until.isoformat()})
    assert (answer.status, answer.problem) == (409, "state"), answer.body
    assert says in answer.json["detail"]
    assert answer.json["audit"]["index"] == len(await desk.log()) - 1
    assert (await desk.ask("GET", path, "carl")).json["until"] == rfc3339(NOW + timedelta(days=60))


async def test_form_6_comes_once(desk: Gateway) -> None:
    path = f"{HOLDS}/{(await desk.present(german('eu.epoc-pr'))).json['hold']}:prolong"
    for days, status_ in ((75, 200), (80, 409), (90, 409)):
        until = rfc3339(NOW + timedelta(days=days))
        answer = await desk.ask("POST", path, "carl", json={"until": until})
        assert answer.status == status_, answer.body
    assert "prolonged before" in answer.json["detail"]


def rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def test_form_5_keeps_what_is_preserved_until_it_is_produced(desk: Gateway) -> None:
    """Reg. (EU) 2023/1543 Art. 11(1)-(2)."""
    preserved = (await desk.present(german("eu.epoc-pr"))).json
    path = f"/v1/disclosures/{preserved['id']}:confirm"
    for _ in range(2):  # twice is once
        answer = await desk.ask("POST", path, json={"production": "DE-7/26"})
        assert (answer.status, answer.json["status"]) == (200, "Preserved"), answer.body
    register = desk.app[HOUSE]._desk.holds(IRELAND.code)
    hold = await register.get(HoldId(preserved["hold"]))
    assert hold.until is None
    assert hold.keeps(NOW + timedelta(days=1000))
    told = json.loads((await desk.chamber().vault.get(f"forms/{preserved['id']}.json")).body)
    assert (told["form"], told["production"], told["by"]) == (5, "DE-7/26", "ina")
    events = [entry.event for entry in await desk.log()]
    assert events[told["entry"]] is Event.DISCLOSURE_CONFIRMED
    assert events.count(Event.HOLD_CHANGED) == 1


async def test_form_5_is_for_intake_and_for_what_is_preserved(desk: Gateway) -> None:
    preserved = (await desk.present(german("eu.epoc-pr"))).json
    other = (await desk.present(order())).json
    for disclosure, who, problem in (
        (preserved["id"], "art", "role"),
        (other["id"], "ina", "state"),
        ("0" * 32, "ina", "not-found"),
    ):
        answer = await desk.ask("POST", f"/v1/disclosures/{disclosure}:confirm", who)
        assert answer.problem == problem
        assert "index" in answer.json["audit"]
    desk.clock.advance(days=60)
    late = await desk.ask("POST", f"/v1/disclosures/{preserved['id']}:confirm")
    assert (late.problem, "has ended" in late.json["detail"]) == ("state", True)


async def test_an_american_preservation_letter_keeps_nothing_in_ireland(desk: Gateway) -> None:
    letter = pki.judge("US").sign(
        claims(instrument="us.sca-2703f", issuing_state="US", categories=["content"])
    )
    assert (await desk.present(letter, requested=["content"])).problem == "refused"


async def test_a_hold_that_could_not_be_placed_is_placed_by_the_next_round(desk: Gateway) -> None:
    place = desk.world.place(IRELAND)
    place.proxy.fail(
        Fault.INTERNAL_ERROR, when=lambda r: r.method == "PUT" and r.key.startswith("holds/"), times=10**6
    )
    answer = await desk.present(german("eu.epoc-pr"))
    assert (answer.status, answer.json["status"]) == (201, "AwaitingPreservation")
    place.comes_back()
    await round_of_housekeeping(desk)
    assert await status(desk, answer.json["id"]) == "Preserved"


async def test_a_european_production_order_waits_for_the_enforcing_authority(desk: Gateway) -> None:
    """Reg. (EU) 2023/1543 Art. 8 and 10: kept from receipt, released at the end of its ten days."""
    await desk.deliver(MAIL)
    exp = int((NOW + timedelta(days=30)).timestamp())
    answer = await desk.present(german("eu.epoc", exp=exp))
    assert (answer.status, answer.json["status"]) == (201, "AwaitingApproval"), answer.body
    assert answer.json["decision"]["outcome"] == "await"
    hold = await desk.app[HOUSE]._desk.holds(IRELAND.code).get(HoldId(answer.json["hold"]))
    assert hold.keeps(NOW + timedelta(days=29))
    approved = await desk.approve(answer.json["id"])
    assert (approved.status, approved.json["status"]) == (200, "AwaitingDisclosure")
    await round_of_housekeeping(desk)
    assert await status(desk, answer.json["id"]) == "AwaitingDisclosure"
    assert Event.DISCLOSURE_RELEASED not in {entry.event for entry in await desk.log()}
    early = await desk.ask("GET", f"/v1/disclosures/{answer.json['id']}/package")
    assert early.problem == "not-ready"
    assert "release waits, as the decision says: " in early.json["detail"]
    desk.clock.advance(days=10)
    await round_of_housekeeping(desk)
    assert await status(desk, answer.json["id"]) == "Disclosed"


async def test_a_release_follows_once_the_enforcing_authority_has_cleared_it(desk: Gateway) -> None:
    await desk.deliver(MAIL)
    disclosure = (await desk.present(german("eu.epoc"))).json["id"]
    await desk.approve(disclosure)
    path = f"/v1/disclosures/{disclosure}:answer"
    assert (await desk.ask("POST", path, "art", json={"enforcing_authority": "cleared"})).problem == "role"
    assert (
        await desk.ask("POST", path, json={"enforcing_authority": "perhaps"})
    ).problem == "invalid-request"
    heard = await desk.ask("POST", path, json={"enforcing_authority": "cleared", "note": "Letter of today."})
    assert heard.status == 200
    await round_of_housekeeping(desk)
    assert await status(desk, disclosure) == "Disclosed"
    assert [entry.outcome for entry in await desk.log() if entry.event is Event.DISCLOSURE_ANSWERED] == [
        Result.PERMIT
    ]


async def test_an_objection_ends_it(desk: Gateway) -> None:
    disclosure = (await desk.present(german("eu.epoc"))).json["id"]
    await desk.approve(disclosure)
    body = {"enforcing_authority": "objected", "note": "Press privilege (Art. 12(1)(a))."}
    answer = await desk.ask("POST", f"/v1/disclosures/{disclosure}:answer", json=body)
    assert (answer.status, answer.json["status"], answer.json["reason"]) == (200, "Cancelled", body["note"])
    desk.clock.advance(days=11)
    await round_of_housekeeping(desk)
    assert await status(desk, disclosure) == "Cancelled"


async def test_no_authority_has_a_say_in_a_domestic_order(desk: Gateway) -> None:
    disclosure = (await desk.present(order())).json["id"]
    body = {"enforcing_authority": "cleared"}
    assert (await desk.ask("POST", f"/v1/disclosures/{disclosure}:answer", json=body)).problem == "state"


async def test_what_nobody_approves_expires_by_itself(desk: Gateway) -> None:
    disclosure = (await desk.present(order(exp=int((NOW + timedelta(hours=1)).timestamp())))).json["id"]
    await round_of_housekeeping(desk)
    assert await status(desk, disclosure) == "AwaitingApproval"
    desk.clock.advance(hours=1)
    await round_of_housekeeping(desk)
    assert await status(desk, disclosure) == "Expired"
    assert Event.DISCLOSURE_EXPIRED in {entry.event for entry in await desk.log()}


async def test_the_files_of_an_expired_package_are_removed_for_good(desk: Gateway) -> None:
    disclosure = await desk.granted(order(categories=["subscriber"]), requested=["subscriber"])
    store = desk.world.store(IRELAND)
    await store.mail.put(f"packages/{'0' * 32}/1/order.jws", b"another's")
    assert [listed.key async for listed in store.mail.list(f"packages/{disclosure}")]
    assert isinstance(desk.clock, MovableClock)
    desk.clock.advance(days=14)
    await round_of_housekeeping(desk)
    with Versions(store) as versions:
        assert [version async for version in versions.list(f"packages/{disclosure}")] == []
        assert [version async for version in versions.list("packages/")]  # another's, which has not expired


async def test_deadlines_are_figures_that_somebody_can_watch(desk: Gateway) -> None:
    await desk.present(german("eu.epoc", exp=int((NOW + timedelta(days=30)).timestamp())))
    desk.clock.advance(days=9, hours=12)
    await round_of_housekeeping(desk)
    text = (await desk.ask("GET", "/metrics", None)).body.decode()
    assert 'situs_disclosures_due{clock="nearly due",region="eu-west-1"} 1.0' in text
    assert 'situs_disclosures{region="eu-west-1",status="AwaitingApproval"} 1.0' in text
    assert 'event="disclosure.decided",outcome="await"' in text
    assert "aoife" not in text


async def placed(desk: Gateway, who: str = "carl", **changes: Any) -> Any:
    body = {"address": "aoife@example.ie", "basis": {"litigation": "Byrne v. Situs"}} | changes
    return await desk.ask("POST", HOLDS, who, json=body)


async def test_a_hold_takes_one_to_place_and_two_to_release(desk: Gateway) -> None:
    answer = await placed(
        desk, matter="Byrne", timespan={"start": "2026-01-01T00:00:00Z", "end": "2026-06-01T00:00:00Z"}
    )
    assert (answer.status, answer.json["phase"]) == (201, "in force"), answer.body
    path = answer.headers["Location"]
    assert (await desk.ask("GET", path, "cleo")).json["address"] == "aoife@example.ie"
    assert [hold["id"] for hold in (await desk.ask("GET", HOLDS, "cleo")).json["holds"]] == [
        answer.json["id"]
    ]
    first = await desk.ask("POST", f"{path}:release", "carl", json={"reason": "settled"})
    assert (first.status, first.json["phase"], first.json["proposal"]["by"]) == (
        200,
        "release proposed",
        "carl",
    )
    assert (await desk.ask("POST", f"{path}:release", "carl")).problem == "same-person"
    second = await desk.ask("POST", f"{path}:release", "cleo")
    assert (second.status, second.json["phase"]) == (200, "grace")
    events = [entry.event for entry in await desk.log()]
    assert events.count(Event.HOLD_PLACED) == 1
    assert events.count(Event.HOLD_RELEASED) == 1


async def test_a_proposal_can_be_taken_off_the_table_and_a_term_prolonged(desk: Gateway) -> None:
    path = (await placed(desk, until=(NOW + timedelta(days=1)).isoformat())).headers["Location"]
    await desk.ask("POST", f"{path}:release", "carl", json={"reason": "settled"})
    rejected = await desk.ask("POST", f"{path}:reject", "cleo")
    assert (rejected.status, rejected.json["phase"], rejected.json["proposal"]) == (200, "in force", None)
    longer = (NOW + timedelta(days=9)).isoformat()
    prolonged = await desk.ask("POST", f"{path}:prolong", "carl", json={"until": longer})
    assert prolonged.json["until"] == longer.replace("+00:00", "Z")
    shorter = await desk.ask(
        "POST", f"{path}:prolong", "carl", json={"until": (NOW + timedelta(days=2)).isoformat()}
    )
    assert (shorter.status, shorter.problem) == (409, "state")


async def test_an_order_can_be_the_basis_of_a_hold_if_it_binds_here(desk: Gateway) -> None:
    answer = await placed(desk, basis={"order": german("eu.epoc-pr")})
    assert (answer.status, answer.json["instrument"]) == (201, "eu.epoc-pr"), answer.body
    american = pki.judge("US").sign(claims(instrument="us.sca-2703f", issuing_state="US"))
    assert (await placed(desk, basis={"order": american})).problem == "refused"
    other = order(target={"address": "boris@example.de"})
    assert (await placed(desk, basis={"order": other})).problem == "invalid-request"


async def test_a_domain_a_matter_and_a_query_are_held_as_asked(desk: Gateway) -> None:
    await desk.world.directory.create(Address.parse("brian@example.ie"), IRELAND.code)
    register = desk.app[HOUSE]._desk.holds(IRELAND.code)

    async def holds_on(address: str) -> set[str]:
        located = await desk.world.directory.find(Address.parse(address))
        mailbox = Mailbox(str(located.account), frozenset({Address.parse(address)}))
        return {str(one.id) for one in await register.on(located.account) if one.touches(mailbox)}

    query = {"parties": ["Judge@Court.example"], "domains": ["bücher.example"], "message_ids": ["<1@x>"]}
    domain = await placed(desk, address=None, domain="Example.IE", region="eu-west-1", query=query)
    assert domain.status == 201, domain.body
    assert (domain.json["domain"], domain.json["address"], domain.json["accounts"]) == (
        "example.ie",
        None,
        None,
    )
    assert domain.json["query"] == {
        "parties": ["judge@court.example"],
        "domains": ["xn--bcher-kva.example"],
        "message_ids": ["<1@x>"],
    }
    several = ["aoife@example.ie", "brian@example.ie"]
    matter = await placed(desk, address=None, addresses=several, matter="Byrne")
    assert (matter.status, matter.json["accounts"], matter.json["matter"]) == (201, 2, "Byrne"), matter.body
    for address in several:
        assert await holds_on(address) == {domain.json["id"], matter.json["id"]}
    listed = (await desk.ask("GET", HOLDS, "cleo")).json["holds"]
    assert [one["id"] for one in listed] == [domain.json["id"], matter.json["id"]]
    # An order names one mailbox, and obliges to keep no other.
    wide = await placed(
        desk, address=None, addresses=several, matter="m", basis={"order": german("eu.epoc-pr")}
    )
    assert (wide.status, wide.problem) == (422, "invalid-request")


@pytest.mark.parametrize(
    ("who", "changes", "status", "problem"),
    [
        ("ina", {}, 403, "clearance"),
        ("carl", {"address": "nobody@example.ie"}, 403, "clearance"),
        ("carl", {"address": "nobody"}, 422, "invalid-request"),
        ("carl", {"basis": {}}, 422, "invalid-request"),
        ("carl", {"basis": {"litigation": ""}}, 422, "invalid-request"),
        ("carl", {"basis": {"litigation": "a\nb"}}, 422, "invalid-request"),
        ("carl", {"basis": {"order": "x"}}, 422, "malformed-order"),
        ("carl", {"until": "2026-01-01T00:00:00Z"}, 422, "invalid-request"),
        ("carl", {"timespan": BACKWARDS}, 422, "invalid-request"),
        ("carl", {"domain": "example.ie", "region": "eu-west-1"}, 422, "invalid-request"),
        ("carl", {"address": None}, 422, "invalid-request"),
        ("carl", {"address": None, "domain": "example.ie"}, 422, "invalid-request"),
        ("carl", {"address": None, "domain": "ex ample", "region": "eu-west-1"}, 422, "invalid-request"),
        ("carl", {"address": None, "domain": "example.ie", "region": "us-east-1"}, 403, "clearance"),
        ("ina", {"address": None, "domain": "example.ie", "region": "eu-west-1"}, 403, "clearance"),
        ("carl", {"address": None, "addresses": ["aoife@example.ie"]}, 422, "invalid-request"),
        ("carl", {"address": None, "addresses": [], "matter": "m"}, 422, "invalid-request"),
        (
            "carl",
            {"address": None, "addresses": ["aoife@example.ie", "nobody@example.ie"], "matter": "m"},
            403,
            "clearance",
        ),
        ("carl", {"query": {}}, 422, "invalid-request"),
        ("carl", {"query": {"parties": ["x"]}}, 422, "invalid-request"),
        ("carl", {"query": {"subject": ["x"]}}, 422, "invalid-request"),
    ],
)
async def test_what_is_no_hold_is_told_why_and_recorded(
    desk: Gateway, who: str, changes: dict[str, Any], status: int, problem: str
) -> None:
    answer = await placed(desk, who, **changes)
    assert (answer.status, answer.problem) == (status, problem), answer.body
    assert "index" in answer.json["audit"]


async def test_holds_are_for_their_custodians(desk: Gateway) -> None:
    path = (await placed(desk)).headers["Location"]
    for who in ("ina", "art"):
        assert (await desk.ask("GET", path, who)).problem == "role"
        assert (await desk.ask("GET", HOLDS, who)).problem == "role"
        assert (await desk.ask("POST", f"{path}:release", who)).problem == "role"
    assert (await desk.ask("GET", f"{HOLDS}/{'0' * 32}", "carl")).problem == "not-found"
    assert (await desk.ask("GET", f"{HOLDS}/x", "carl")).problem == "not-found"
