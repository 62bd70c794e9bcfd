"""Every attempt is an entry, committed before anything is answered; what it says, and to whom nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from policy.clearance import Role
from policy.order import SignatureRole
from storage.audit.entry import Entry, Event
from tests.disclosure.desk import GERMANY, IRELAND, Answer, Gateway, bent, claims, order, warrant
from tests.policy import pki

pytestmark = pytest.mark.asyncio(loop_scope="module")
POST = "/v1/disclosures"


async def recorded(desk: Gateway, answer: Answer) -> Entry:
    """The entry that the problem names."""
    audit = answer.json["audit"]
    region = {str(region.code): region for region in (IRELAND, GERMANY)}[audit["region"]]
    entry: Entry = (await desk.log(region))[audit["index"]]
    return entry


async def sizes(desk: Gateway) -> dict[str, int]:
    return {str(code): await chamber.log.size() for code, chamber in desk.office.chambers.items()}


async def raw(desk: Gateway, body: bytes, **headers: str) -> Answer:
    return await desk.ask("POST", POST, data=body, headers={"Content-Type": "application/json"} | headers)


def request(**changes: Any) -> bytes:
    return json.dumps({"order": order(), "requested": ["content"]} | changes).encode()


MALFORMED: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "malformed-request"),
    "not JSON": (b"{", 400, "malformed-request"),
    "not UTF-8": (b'{"order": "\xff"}', 400, "malformed-request"),
    "a name twice": (b'{"order": "a", "order": "b", "requested": ["content"]}', 400, "malformed-request"),
    "NaN": (b'{"order": NaN, "requested": ["content"]}', 400, "malformed-request"),
    "nested too deep": (b"[" * 100_000, 400, "malformed-request"),
    "half a surrogate pair": (b'{"order": "\\ud800", "requested": ["content"]}', 400, "malformed-request"),
    "a list": (b"[]", 422, "invalid-request"),
    "null": (b"null", 422, "invalid-request"),
    "no order": (b'{"requested": ["content"]}', 422, "invalid-request"),
    "an order that is a number": (b'{"order": 5, "requested": ["content"]}', 422, "invalid-request"),
    "nothing requested": (request(requested=[]), 422, "invalid-request"),
    "a category that there is not": (request(requested=["everything"]), 422, "invalid-request"),
    "a category twice": (request(requested=["content", "content"]), 422, "invalid-request"),
    "an unknown member": (request(force=True), 422, "invalid-request"),
    "no JWS": (request(order="not.an.order"), 422, "malformed-order"),
    "an empty object": (request(order={}), 422, "malformed-order"),
    "an unknown claim": (request(order=bent(waiver="everything")), 422, "malformed-order"),
    "an address that is none": (request(order=bent(target={"address": "aoife"})), 422, "malformed-order"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_attempt_is_recorded_and_told_what_is_wrong(desk: Gateway, case: str) -> None:
    body, status, problem = MALFORMED[case]
    before = await sizes(desk)
    answer = await raw(desk, body)
    assert (answer.status, answer.problem) == (status, problem), answer.body
    assert (await recorded(desk, answer)).event is Event.ATTEMPT_MALFORMED
    assert sum((await sizes(desk)).values()) == sum(before.values()) + 1
    assert b"Traceback" not in answer.body


async def test_a_malformed_order_names_the_field_and_the_rule(desk: Gateway) -> None:
    answer = await desk.present(bent(timespan={"start": "2026-01-02", "end": "2026-01-01"}))
    assert answer.json["field"] == "timespan.start"
    assert "RFC 3339" in answer.json["rule"]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic aW5hOmluYQ==",
        "Bearer situs_0123456789abcdef_" + "0" * 64,
        "Bearer situs_nobody_nothing",
        "Bearer \u00e9",
    ],
)
async def test_a_stranger_is_recorded_at_the_seat_and_told_nothing(
    desk: Gateway, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (
        ("POST", POST),
        ("GET", POST),
        ("GET", f"{POST}/{'0' * 32}"),
        ("POST", f"{POST}/{'0' * 32}:approve"),
        ("POST", f"{POST}/{'0' * 32}:reject"),
        ("GET", f"{POST}/{'0' * 32}/package"),
        ("GET", f"{POST}/{'0' * 32}/package/x.zip"),
    ):
        answer = await desk.ask(method, path, None, headers=headers)
        assert (answer.status, answer.problem) == (401, "unauthenticated"), (method, path)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        entry = await recorded(desk, answer)
        assert (entry.event, entry.operator) == (Event.ATTEMPT_UNAUTHENTICATED, None)
        assert str(entry.region) == "eu-west-1"


async def test_two_authorization_headers_are_none(desk: Gateway) -> None:
    value = f"Bearer {desk.tokens['ina']}"
    async with desk.client.request(
        "GET", POST, headers=[("Authorization", value), ("Authorization", value)]
    ) as r:
        assert r.status == 401


async def test_not_cleared_and_no_such_mailbox_are_one_answer(desk: Gateway) -> None:
    """Same problem but for its instance and index, same log, same number of entries."""
    await desk.employ("dieter", [Role.INTAKE], [GERMANY])
    answers = []
    for target in ("aoife@example.ie", "nobody@example.ie", "nobody@nowhere.test"):
        before = await sizes(desk)
        answer = await desk.present(order(target={"address": target}), "dieter")
        grown = {code: size - before[code] for code, size in (await sizes(desk)).items()}
        assert grown == {"eu-west-1": 1, "eu-central-1": 0}
        entry = (await recorded(desk, answer)).to_json()
        document = answer.json
        del document["instance"], document["audit"]["index"]
        differs = {"id", "time", "operator", "account"}
        answers.append(
            (answer.status, document, {k: v for k, v in entry.items() if k not in differs}, set(entry))
        )
    assert answers[0][0] == 403
    assert answers[0][1]["type"].endswith("/clearance")
    assert answers[0] == answers[1] == answers[2]


async def test_nobody_learns_of_a_mailbox_that_there_is_not(desk: Gateway) -> None:
    """Not even somebody who is cleared everywhere."""
    answer = await desk.present(order(target={"address": "nobody@example.ie"}))
    assert answer.problem == "clearance"


async def test_an_operator_cleared_for_germany_gets_nowhere_with_an_irish_disclosure(desk: Gateway) -> None:
    await desk.employ("greta", [Role.INTAKE, Role.APPROVER], [GERMANY])
    disclosure = (await desk.present(order())).json["id"]
    for method, path in (
        ("GET", f"{POST}/{disclosure}"),
        ("GET", f"{POST}/{disclosure}/package"),
        ("GET", f"{POST}/{disclosure}/package/order.jws"),
        ("POST", f"{POST}/{disclosure}:approve"),
        ("POST", f"{POST}/{disclosure}:reject"),
        ("GET", f"{POST}?region=eu-west-1"),
    ):
        answer = await desk.ask(method, path, "greta")
        assert (answer.status, answer.problem) == (403, "clearance"), path
        assert (await recorded(desk, answer)).event is Event.ATTEMPT_NOT_CLEARED
    listed = await desk.ask("GET", POST, "greta")
    assert disclosure not in listed.body.decode()


async def test_a_role_opens_its_own_routes_and_no_others(desk: Gateway) -> None:
    await desk.employ("audrey", [Role.AUDITOR], [IRELAND])
    disclosure = (await desk.present(order())).json["id"]
    assert (await desk.present(order(), "art")).problem == "clearance"
    assert (await desk.approve(disclosure, "audrey")).problem == "role"
    assert (await desk.approve(disclosure, "ina")).problem == "role"
    assert (await desk.ask("GET", f"{POST}/{disclosure}/package", "art")).problem == "role"
    assert (await desk.ask("GET", f"{POST}/{disclosure}", "audrey")).status == 200


async def test_a_forged_order_is_recorded_and_decides_nothing(desk: Gateway) -> None:
    header, _, signature = order().split(".")
    payload = order(jti="another").split(".")[1]
    answer = await desk.present(f"{header}.{payload}.{signature}")
    assert (answer.status, answer.problem, answer.json["code"]) == (403, "refused", "signature")
    assert answer.json["decision"]["outcome"] == "refuse"
    assert [finding["code"] for finding in answer.json["decision"]["findings"]] == ["signature"]
    entry = await recorded(desk, answer)
    assert (entry.event, entry.findings, entry.issuer) == (Event.ATTEMPT_UNVERIFIED, ("signature",), None)


async def test_an_unsigned_order_is_recorded_and_decides_nothing(desk: Gateway) -> None:
    answer = await desk.present(order().rpartition(".")[0] + ".")
    assert (answer.status, answer.problem, answer.json["code"]) == (403, "refused", "signature")
    assert (await recorded(desk, answer)).event is Event.ATTEMPT_UNVERIFIED


async def test_police_may_sign_and_not_order(desk: Gateway) -> None:
    answer = await desk.present(order(pki.police("IE")))
    failed = {finding["code"] for finding in answer.json["decision"]["findings"] if not finding["ok"]}
    assert (answer.status, "issuer-role" in failed) == (403, True)


async def test_the_same_order_is_one_disclosure(desk: Gateway) -> None:
    text = order()
    first, second = await desk.present(text), await desk.present(text)
    assert (first.status, second.status, second.problem) == (201, 409, "replay")
    assert second.json["disclosure"] == first.json["id"]
    assert (await recorded(desk, second)).event is Event.ATTEMPT_REPLAYED


async def test_a_refused_order_presented_again_is_a_replay_too(desk: Gateway) -> None:
    text = warrant()
    assert [(await desk.present(text)).problem for _ in range(2)] == ["refused", "replay"]


async def test_of_many_that_bring_one_order_at_once_one_is_heard(desk: Gateway) -> None:
    text = order()
    answers = await asyncio.gather(*(desk.present(text) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


async def test_one_signature_more_makes_no_second_disclosure_of_a_granted_order(desk: Gateway) -> None:
    text = order()
    assert (await desk.present(text)).status == 201
    again = pki.judge("US").add(text, SignatureRole.RECOGNISE)
    assert (await desk.present(again)).problem == "replay"


async def test_an_order_nobody_could_decrypt_for_is_refused_before_anybody_approves(desk: Gateway) -> None:
    receiver = pki.realm("IE").signer("Ed", key=ed25519.Ed25519PrivateKey.generate())
    pem = receiver.cert.public_bytes(Encoding.PEM).decode()
    answer = await desk.present(order(deliver_to=pem))
    assert (answer.status, answer.problem, answer.json["field"]) == (422, "malformed-order", "deliver_to")


async def test_an_idempotency_key_brings_back_the_same_answer(desk: Gateway) -> None:
    body = json.dumps({"order": order(), "requested": ["content"]}).encode()
    key = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    first, second = await raw(desk, body, **key), await raw(desk, body, **key)
    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body
    other = await raw(desk, request(), **key)
    assert (other.status, other.problem) == (422, "idempotency")
    refused = json.dumps({"order": warrant(), "requested": ["content"]}).encode()
    key = {"Idempotency-Key": "another"}
    answers = [(await raw(desk, refused, **key)).json["decision"] for _ in range(2)]
    assert answers[0] == answers[1]


async def test_twins_under_one_key_are_decided_once(desk: Gateway) -> None:
    body = json.dumps({"order": order(), "requested": ["content"]}).encode()
    key = {"Idempotency-Key": "ten-at-once"}
    answers = await asyncio.gather(*(raw(desk, body, **key) for _ in range(10)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    ours = answers[0].json["id"].encode()
    noted = [entry.encode() for entry in await desk.log() if ours in entry.encode()]
    assert len([entry for entry in noted if b'"disclosure.decided"' in entry]) == 1


async def test_an_idempotency_key_is_its_operators_own(desk: Gateway) -> None:
    await desk.employ("ivor", [Role.INTAKE], [IRELAND])
    body, key = request(), {"Idempotency-Key": "shared"}
    assert (await raw(desk, body, **key)).status == 201
    headers = {"Content-Type": "application/json", **key}
    answer = await desk.ask("POST", POST, "ivor", data=body, headers=headers)
    assert answer.problem == "replay"


async def test_the_log_holds_no_address_and_no_name(desk: Gateway) -> None:
    await desk.present(order())
    whole = b"\n".join(entry.encode() for entry in await desk.log())
    assert whole
    for secret in (b"aoife", b"example.ie", b"ina", claims()["matter"].encode(), desk.tokens["ina"].encode()):
        assert secret not in whole
