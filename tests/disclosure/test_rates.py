"""Who is held to which rate: strangers by where they come from, people by who they are."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.disclosure.desk import DESK
from gateway.disclosure.transport import RateLimit, peer_of
from policy.clearance import Role
from storage.operators import Token
from tests.disclosure.desk import IRELAND, gateway
from tests.engines import Settle

POST = "/v1/disclosures"


def standing_still() -> float:
    """A clock for rates that fill up again with nothing, however long a test takes."""
    return 0.0


async def test_strangers_of_one_address_do_not_shut_out_who_works_there(
    settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in front, or one office: the rate of those without a token is not that of those with one."""
    async with gateway(settle, regions=(IRELAND,)) as desk:
        monkeypatch.setattr(desk.app[DESK], "stranger_rate", RateLimit(2, standing_still))
        assert (await desk.ask("GET", POST)).status == 200
        for _ in range(3):
            await desk.ask("GET", POST, headers={"Authorization": f"Bearer {Token.new().text}"})
        assert (await desk.ask("GET", POST, None)).status == 429
        desk.clock.advance(seconds=60)  # what was found good is looked up anew, and is no stranger's yet
        assert (await desk.ask("GET", POST)).status == 200


async def test_strangers_who_come_at_once_are_held_to_their_rate(
    settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(settle, regions=(IRELAND,)) as desk:
        monkeypatch.setattr(desk.app[DESK], "stranger_rate", RateLimit(2, standing_still))
        tokens = [Token.new().text for _ in range(20)]
        asked = (desk.ask("GET", POST, headers={"Authorization": f"Bearer {each}"}) for each in tokens)
        answers = [answer.status for answer in await asyncio.gather(*asked)]
        assert sorted(answers) == [401] * 2 + [429] * 18
        assert len(await desk.log()) == 2


async def test_two_tokens_of_one_person_have_one_rate(
    settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(settle, regions=(IRELAND,)) as desk:
        monkeypatch.setattr(desk.app[DESK], "operator_rate", RateLimit(3, standing_still))
        await desk.employ("ina's other", [Role.AUDITOR], [IRELAND], called=" INA ")
        answers = [(await desk.ask("GET", POST, who)).status for who in ("ina", "ina's other") * 2]
        assert answers == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("remote", "who"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::7%eth0", "2001:db8:0:1::/64"),
        ("", "unknown"),
    ],
    ids=["IPv4", "IPv4 in IPv6", "IPv6", "a neighbour's, with a scope", "none"],
)
def test_a_customers_addresses_are_one_stranger(remote: str, who: str) -> None:
    assert peer_of(make_mocked_request("GET", "/").clone(remote=remote)) == who
