"""The log over HTTP: byte for byte for anybody, by index for auditors."""

from __future__ import annotations

import base64

import pytest

from policy.clearance import Role
from storage.audit.entry import Entry
from storage.audit.tiles import TileName
from storage.audit.view import Proof
from storage.errors import Unavailable
from tests.disclosure.desk import IRELAND, Gateway, order

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUDIT = "/v1/audit/eu-west-1"


async def test_tiles_and_checkpoint_are_what_lies_in_the_bucket(desk: Gateway) -> None:
    await desk.present(order())
    size = await desk.chamber().log.size()
    await desk.chamber().log.published(size)
    checkpoint = await desk.ask("GET", f"{AUDIT}/checkpoint", None)
    assert checkpoint.body == (await desk.world.store(IRELAND).audit.get("log/checkpoint")).body
    published = int(checkpoint.body.split(b"\n")[1])
    for level in (0, None):
        name = TileName(level, 0, published)
        tile = await desk.ask("GET", f"{AUDIT}/{name.path}", None)
        assert tile.body == (await desk.world.store(IRELAND).audit.get(f"log/{name.path}")).body
        assert "immutable" in tile.headers["Cache-Control"]
    assert checkpoint.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        f"{AUDIT}/tile/0/000.p/255",
        f"{AUDIT}/tile/0/../../../situs/region.json",
        f"{AUDIT}/tile/0/%2e%2e%2flock",
        f"{AUDIT}/tile/9/x",
        f"{AUDIT}/lock",
        "/v1/audit/eu-north-1/checkpoint",
        "/v1/audit/Ireland/checkpoint",
    ],
)
async def test_nothing_but_the_log_is_served(desk: Gateway, path: str) -> None:
    answer = await desk.ask("GET", path, None)
    assert (answer.status, answer.problem) == (404, "not-found")


async def test_an_auditor_reads_entries_and_their_proofs(desk: Gateway) -> None:
    await desk.employ("audrey", [Role.AUDITOR], [IRELAND])
    for _ in range(4):
        await desk.present(order())
    page = (await desk.ask("GET", f"{AUDIT}/entries", "audrey", params={"from": "1", "pageSize": "2"})).json
    assert [entry["index"] for entry in page["entries"]] == [1, 2]
    assert page["next"] == 3
    log = await desk.log()
    assert [entry["entry"] for entry in page["entries"]] == [log[1].to_json(), log[2].to_json()]
    told = (await desk.ask("GET", f"{AUDIT}/entries/1/proof", "audrey")).json
    proof = Proof(
        told["index"],
        base64.b64decode(told["entry"]),
        tuple(base64.b64decode(each) for each in told["path"]),
        told["checkpoint"].encode(),
    )
    proof.verify(desk.chamber().log.key)
    assert Entry.decode(proof.entry) == log[1]


async def test_entries_by_index_are_for_auditors(desk: Gateway) -> None:
    await desk.employ("auden", [Role.AUDITOR], [IRELAND])
    for path in (f"{AUDIT}/entries", f"{AUDIT}/entries/0/proof"):
        assert (await desk.ask("GET", path, None)).problem == "unauthenticated"
        assert (await desk.ask("GET", path, "ina")).problem == "role"
    for index in ("999999", "-1", "01", "x"):
        assert (await desk.ask("GET", f"{AUDIT}/entries/{index}/proof", "auden")).problem == "not-found"
    assert (await desk.ask("GET", "/v1/audit/eu-central-1/entries", "auden")).problem == "clearance"
    assert (await desk.ask("GET", f"{AUDIT}/entries?from=-1", "auden")).problem == "invalid-request"


async def test_the_house_is_public_where_it_can_be(desk: Gateway) -> None:
    law = (await desk.ask("GET", "/v1/law", None)).json
    assert law["lawbook"] == desk.office.lawbook.digest
    assert "ie.production-order" in {i["id"] for j in law["jurisdictions"] for i in j["instruments"]}
    assert (await desk.ask("GET", "/healthz/live", None)).status == 200
    assert (await desk.ask("GET", "/healthz/ready", None)).status == 200


@pytest.mark.parametrize("what", ["mail bucket", "audit log"])
async def test_who_cannot_work_is_not_ready_and_says_where(
    desk: Gateway, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def no_answer(*_: object, **__: object) -> bytes:
        raise Unavailable("its own words are for the operator's log")

    chamber = desk.chamber()
    of, asked = (chamber.store.mail, "get") if what == "mail bucket" else (chamber.log, "size")
    monkeypatch.setattr(of, asked, no_answer)
    answer = await desk.ask("GET", "/healthz/ready", None)
    assert (answer.status, answer.json["detail"]) == (503, f"eu-west-1: its {what} does not answer")
    monkeypatch.undo()
    assert (await desk.ask("GET", "/healthz/ready", None)).status == 200
