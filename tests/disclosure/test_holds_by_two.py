"""Two custodians end a hold, and each of them knows what is being ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from policy.clearance import Role
from storage.audit.entry import Event
from tests.disclosure.desk import IRELAND, NOW, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOONER, LATER = ((NOW + timedelta(days=days)).isoformat() for days in (10, 20))


async def placed(desk: Gateway) -> str:
    """A hold of its own, with an end in a month; carl and cleo keep holds."""
    for name in ("carl", "cleo"):
        if name not in desk.tokens:
            await desk.employ(name, [Role.CUSTODIAN], [IRELAND])
    until = (NOW + timedelta(days=30)).isoformat()
    body = {"address": "aoife@example.ie", "basis": {"litigation": "Byrne v. Situs"}, "until": until}
    return (await desk.ask("POST", "/v1/holds", "carl", json=body)).headers["Location"]


@pytest.mark.parametrize(
    ("proposed", "asked"),
    [({}, {"until": LATER}), ({"until": SOONER}, {"until": LATER})],
    ids=["a release", "a shorter term"],
)
async def test_who_asks_for_another_end_confirms_nothing(
    desk: Gateway, proposed: dict[str, str], asked: dict[str, str]
) -> None:
    """Both propose at once: whoever comes second means their own end, and not the first one's."""
    path = await placed(desk)
    first = await desk.ask("POST", f"{path}:release", "carl", json={"reason": "settled"} | proposed)
    assert first.status == 200
    second = await desk.ask("POST", f"{path}:release", "cleo", json={"reason": "partly settled"} | asked)
    assert (second.status, second.problem) == (409, "state")
    assert (await desk.ask("GET", path, "cleo")).json == first.json


async def test_one_proposal_is_not_confirmed_for_another(desk: Gateway) -> None:
    """Carl takes back the shorter term that cleo has looked at, and proposes a release in its place."""
    path = await placed(desk)
    first = await desk.ask("POST", f"{path}:release", "carl", json={"reason": "settled", "until": LATER})
    looked_at = {"proposal": first.json["proposal"]["at"]}
    assert (
        await desk.ask("POST", f"{path}:release", "cleo", json=looked_at | {"until": SOONER})
    ).status == 409
    await desk.ask("POST", f"{path}:reject", "carl")
    none = await desk.ask("POST", f"{path}:release", "cleo", json=looked_at)
    assert (none.status, none.problem) == (409, "state")
    desk.clock.advance(seconds=1)
    second = await desk.ask("POST", f"{path}:release", "carl", json={"reason": "settled"})
    refused = await desk.ask("POST", f"{path}:release", "cleo", json=looked_at)
    assert (refused.status, refused.problem) == (409, "state")
    confirmed = await desk.ask(
        "POST", f"{path}:release", "cleo", json={"proposal": second.json["proposal"]["at"]}
    )
    assert (confirmed.status, confirmed.json["phase"]) == (200, "grace")


async def test_a_hold_is_changed_as_it_was_read_or_not_at_all(desk: Gateway) -> None:
    """RFC 9110 13.1.1, for each of its verbs."""
    path = await placed(desk)
    read = await desk.ask("GET", path, "cleo")
    tag = read.headers["ETag"]
    unchanged = await desk.ask("GET", path, "cleo", headers={"If-None-Match": tag})
    assert (unchanged.status, unchanged.body) == (304, b"")
    proposed = await desk.ask(
        "POST", f"{path}:release", "carl", json={"reason": "x"}, headers={"If-Match": tag}
    )
    assert proposed.status == 200
    before = [entry.event for entry in await desk.log()].count(Event.HOLD_CHANGED)
    for verb, body in (("release", None), ("reject", None), ("prolong", {"until": None})):
        for given in (tag, f"W/{tag}", '"another"', "nonsense"):
            answer = await desk.ask(
                "POST",
                f"{path}:{verb}",
                "cleo",
                headers={"If-Match": given},
                **({"json": body} if body else {}),
            )
            assert (answer.status, answer.problem) == (412, "stale"), (verb, given)
    assert [entry.event for entry in await desk.log()].count(Event.HOLD_CHANGED) == before
    now = await desk.ask("GET", path, "cleo")
    assert now.json == proposed.json
    tag = now.headers["ETag"]
    released = await desk.ask("POST", f"{path}:release", "cleo", headers={"If-Match": f'"x", {tag}'})
    assert (released.status, released.json["phase"]) == (200, "grace")
