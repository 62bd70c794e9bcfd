"""Where a list goes on is anybody's to write: what no list has given is refused, and is no fault of ours."""

from __future__ import annotations

import base64
import json

import pytest

from gateway.disclosure.pages import decode_token, encode_token
from policy.clearance import Role
from tests.disclosure.desk import GERMANY, IRELAND, Gateway, order

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTS = ("/v1/disclosures", "/v1/disclosures?orderBy=due", "/v1/orders", "/v1/holds")
ID = "0" * 32


def token(text: str | bytes) -> str:
    octets = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "sent",
    [
        token("[" * 4000),
        token('{"a":' * 900),
        token('["\\ud800"]'),
        token('["\\ud800","\\ud800"]'),
        token(b'["\xff"]'),
        token("[NaN]"),
        token("[" + "9" * 5000 + "]"),
        token('["a","b"]'),
        token(json.dumps(["never", "a"])),
        token(json.dumps(["yesterday", ID])),
        token(json.dumps(["2026-11-24T12:00:00", ID])),
        token(json.dumps(["9" * 4000, ID])),
        token(json.dumps(["never", ID, ID])),
        token(json.dumps([ID.replace("0", "\u0660")])),
        "\u00e9",
        "=",
        "%00",
    ],
    ids=[
        "deep", "deep objects", "half a character", "two halves", "not UTF-8", "NaN", "a long number",
        "two texts", "no id", "no moment", "a moment nowhere", "a long moment", "one too many",
        "other digits", "not base64", "padding", "NUL",
    ],
)  # fmt: skip
async def test_a_token_that_no_list_has_given_is_refused(desk: Gateway, path: str, sent: str) -> None:
    if "cora" not in desk.tokens:
        await desk.employ("cora", [Role.CUSTODIAN], [IRELAND])
    who = "cora" if path == "/v1/holds" else "ina"
    answer = await desk.ask("GET", f"{path}{'&' if '?' in path else '?'}pageToken={sent}", who)
    assert (answer.status, answer.problem) == (422, "invalid-request"), answer.body


async def test_another_operators_token_shows_nothing_that_is_not_ones_own(desk: Gateway) -> None:
    """It is a place and no right: Germany's people go on from it in Germany's list."""
    await desk.employ("gerd", [Role.INTAKE], [GERMANY])
    for _ in range(3):
        await desk.present(order(matter="Irish"))
    for path in LISTS[:3]:
        first = await desk.ask("GET", path, params={"pageSize": "1"})
        going_on = {"pageToken": first.json["nextPageToken"]}
        for params in (going_on, going_on | {"matter": "Irish"}) if path == LISTS[0] else (going_on,):
            answer = await desk.ask("GET", path, "gerd", params=params)
            assert (answer.status, b"Irish" in answer.body) == (200, False)


async def test_a_place_comes_back_as_it_was_given() -> None:
    assert decode_token(encode_token(["never", ID]), 2) == ["never", ID]
