"""While a region cannot be asked, no list looks as if it were whole; what is elsewhere is there as ever."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from policy.clearance import Role
from tests.disclosure.desk import GERMANY, IRELAND, Gateway, gateway, order
from tests.engines import Settle

EVERYTHING = (Role.INTAKE, Role.APPROVER, Role.CUSTODIAN, Role.AUDITOR)


@pytest.fixture
async def desk(settle: Settle, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """`all` works in Ireland and Germany, `iris` in Ireland alone. No background round comes by itself."""
    monkeypatch.setattr("gateway.disclosure.housekeeping._EVERY", 3600.0)
    async with gateway(settle, regions=(IRELAND, GERMANY)) as built:
        await built.employ("all", EVERYTHING, [IRELAND, GERMANY])
        await built.employ("iris", EVERYTHING, [IRELAND])
        yield built


async def test_a_list_says_that_it_cannot_be_whole(desk: Gateway) -> None:
    irish = (await desk.present(order(), "all")).json["id"]
    (brought,) = (await desk.ask("GET", "/v1/orders", "all")).json["orders"]
    desk.world.place(GERMANY).goes_down()
    desk.clock.advance(minutes=1)  # what is remembered of people is over, and Germany asked anew
    for path in ("/v1/disclosures", "/v1/disclosures?orderBy=due", "/v1/orders", "/v1/holds"):
        answer = await desk.ask("GET", path, "all")
        assert (answer.status, answer.problem) == (503, "unavailable"), path
        assert answer.json["audit"]["region"] == "eu-west-1"
        assert (await desk.ask("GET", path, "iris")).status == 200, path
    for path, status in (
        ("/v1/disclosures?region=eu-west-1", 200),
        ("/v1/orders?region=eu-west-1", 200),
        (f"/v1/disclosures/{irish}", 200),
        (f"/v1/orders/{brought['id']}", 200),
        ("/v1/audit/eu-west-1/entries", 200),
        ("/v1/disclosures?region=eu-central-1", 503),
        ("/v1/orders?region=eu-central-1", 503),
        ("/v1/audit/eu-central-1/entries", 503),
        (f"/v1/orders/{'0' * 64}", 503),
        ("/v1/disclosures?region=us-east-1", 403),
    ):
        assert (await desk.ask("GET", path, "all")).status == status, path
