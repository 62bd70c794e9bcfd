"""A list tells whose mailboxes somebody wants: a look at it is an entry, before it is read."""

from __future__ import annotations

import pytest
import pytest_asyncio

from policy.clearance import Role
from policy.geography import Region
from storage.audit.entry import Entry, Event
from storage.audit.sequencer import LogUnavailable
from storage.operators import person
from tests.disclosure.desk import GERMANY, IRELAND, Gateway, order

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = (IRELAND, GERMANY)
LISTS = [
    pytest.param("/v1/disclosures", Event.DISCLOSURE_VIEWED, id="disclosures"),
    pytest.param("/v1/disclosures?orderBy=due", Event.DISCLOSURE_VIEWED, id="disclosures-by-due"),
    pytest.param("/v1/orders", Event.DISCLOSURE_VIEWED, id="orders"),
    pytest.param("/v1/holds", Event.HOLD_VIEWED, id="holds"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(desk: Gateway) -> Gateway:
    """lister may look in both regions, dora in Germany alone."""
    roles = (Role.INTAKE, Role.CUSTODIAN)
    await desk.employ("lister", roles, BOTH)
    await desk.employ("dora", roles, [GERMANY])
    return desk


async def _left(house: Gateway, region: Region, who: str, path: str) -> tuple[int, list[Entry]]:
    """The answer's status, and what that person left in that region's log meanwhile."""
    name = house.chamber(region).pseudonyms.operator(person(who))
    before = len(await house.log(region))
    status = (await house.ask("GET", path, who)).status
    return status, [entry for entry in (await house.log(region))[before:] if entry.operator == name]


@pytest.mark.parametrize(("path", "event"), LISTS)
@pytest.mark.parametrize("region", BOTH, ids=str)
async def test_a_look_at_a_list_is_one_entry_in_each_region_that_it_shows(
    house: Gateway, path: str, event: Event, region: Region
) -> None:
    status, (left,) = await _left(house, region, "lister", path)
    assert (status, left.event, left.region) == (200, event, region.code)
    assert (left.disclosure, left.hold, left.account, left.outcome) == (None, None, None, None)


@pytest.mark.parametrize(("path", "event"), LISTS)
async def test_a_region_that_is_not_shown_hears_nothing_of_it(
    house: Gateway, path: str, event: Event
) -> None:
    assert await _left(house, IRELAND, "dora", path) == (200, [])
    status, left = await _left(house, GERMANY, "dora", path)
    assert (status, [entry.event for entry in left]) == (200, [event])


async def test_only_the_region_that_is_asked_for_is_looked_at(house: Gateway) -> None:
    for path in ("/v1/disclosures?region=eu-central-1", "/v1/orders?region=eu-central-1"):
        assert await _left(house, IRELAND, "lister", path) == (200, [])


@pytest.mark.parametrize(("path", "event"), LISTS)
async def test_a_token_that_no_list_gave_is_one_entry_and_no_look(
    house: Gateway, path: str, event: Event
) -> None:
    asked = f"{path}{'&' if '?' in path else '?'}pageToken=WyJub3QiLCJhIiwidG9rZW4iXQ"
    status, left = await _left(house, IRELAND, "lister", asked)
    assert (status, [entry.event for entry in left]) == (422, [Event.ATTEMPT_MALFORMED])


@pytest.mark.parametrize(("path", "event"), LISTS)
async def test_a_look_that_cannot_be_recorded_is_no_look(
    house: Gateway, monkeypatch: pytest.MonkeyPatch, path: str, event: Event
) -> None:
    await house.present(order(matter="not to be read unseen"))

    async def never(_: Entry) -> None:
        raise LogUnavailable("no commit confirmed")

    monkeypatch.setattr(type(house.chamber().log), "append", lambda self, entry: never(entry))
    answer = await house.ask("GET", path, "lister")
    assert (answer.status, answer.problem) == (503, "audit-unavailable")
    assert b"not to be read unseen" not in answer.body
