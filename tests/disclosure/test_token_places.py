"""Where a token may stand, which is one place, and where it is never written down."""

from __future__ import annotations

import logging
from base64 import b64encode

import pytest
from structlog.testing import capture_logs

from storage.operators import Token
from tests.disclosure.desk import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v1/disclosures"


async def test_a_token_elsewhere_than_in_its_header_is_none(desk: Gateway) -> None:
    """RFC 6750 2.2 and 2.3 have it in forms and queries as well: logs and histories keep those."""
    token = desk.tokens["ina"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    basic = b64encode(f"ina:{token}".encode()).decode()
    answers = [
        await desk.ask("GET", f"{PATH}?access_token={token}", None),
        await desk.ask("GET", f"{PATH}?token={token}", None),
        await desk.ask("POST", PATH, None, data=f"access_token={token}", headers=form),
        await desk.ask("POST", PATH, None, json={"token": token}),
        await desk.ask("GET", PATH, None, headers={"Authorization": f"Basic {basic}"}),
        await desk.ask("GET", PATH, None, headers={"Authorization": token}),
        await desk.ask("GET", PATH, None, headers={"Authorization": f"Token {token}"}),
        await desk.ask("GET", PATH, None, headers={"Cookie": f"token={token}; situs-console={token}"}),
        *[await desk.ask("GET", PATH, None, headers={name: token}) for name in ("X-Api-Key", "X-Auth-Token")],
    ]
    assert [answer.status for answer in answers] == [401] * 10
    assert (await desk.ask("GET", f"{PATH}?access_token={token}")).status == 422  # nor beside a good one


async def test_a_token_is_written_nowhere(desk: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """Good or wrong, in its place or not: in no log line, answer, metric or entry."""
    good = desk.tokens["ina"]
    wrong = Token(good.split("_")[1], Token.new().secret).text
    caplog.set_level(logging.DEBUG)
    told = b""
    with capture_logs() as said:
        for token in (good, wrong, Token.new().text):
            for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": f"Bearer {token}x"}):
                for path in (PATH, f"{PATH}?access_token={token}", f"/{token}", f"{PATH}/{token}"):
                    told += (await desk.ask("GET", path, None, headers=headers)).body
    told += (await desk.ask("GET", "/metrics", None)).body
    entries = "".join(map(repr, await desk.log()))
    for text in (repr(said), caplog.text, told.decode(), entries):
        assert good.split("_")[2] not in text
        assert wrong.split("_")[2] not in text
    assert any(each["event"] == "unauthenticated" for each in said)
