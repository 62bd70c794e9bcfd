"""What is in a package, what was read to make it, and what cannot get out through its names and cells."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.package import package as package_command
from gateway.disclosure.models import Manifest
from gateway.disclosure.receipt import check_package
from gateway.disclosure.terms import Terms
from policy.geography import RegionCode
from storage.mailbox import message_key
from storage.sealing import TRAFFIC_READ
from storage.tombstones import hide
from tests.disclosure.desk import AOIFE, IRELAND, NOW, Gateway, Package, gateway, noise, order
from tests.engines import Settle
from tests.faults import Request
from tests.policy import pki

pytestmark = pytest.mark.asyncio(loop_scope="module")
MAIL = b"From: Brendan <brendan@elsewhere.test>\r\nSubject: The accounts\r\n\r\nHere they are.\r\n"
# Days of the past, one for each test: all of them share aoife's mailbox.
DAYS: Iterator[int] = iter(range(100, 10_000, 30))


def a_day() -> tuple[Any, dict[str, str]]:
    start = NOW - timedelta(days=next(DAYS))
    return start, {"start": start.isoformat(), "end": (start + timedelta(days=1)).isoformat()}


def reads(desk: Gateway) -> list[Request]:
    seen = desk.world.place(IRELAND).proxy.requests
    found = [r for r in seen if r.method == "GET" and "mail/" in r.key and "list-type" not in r.query]
    seen.clear()
    return found


async def package_of(desk: Gateway, where: Path, *categories: str, **claims: Any) -> Package:
    claims.setdefault("categories", list(categories))
    disclosure = await desk.granted(order(**claims), requested=categories)
    return await desk.package(disclosure, pki.judge("IE"), where)


async def test_content_costs_what_it_selects(desk: Gateway, tmp_path: Path) -> None:
    """Of a mailbox with mail before and after, the timespan's messages are fetched and no others."""
    start, span = a_day()
    located = await desk.world.directory.find(AOIFE)
    for hours in (-1, 24, 240):
        await desk.deliver(MAIL, at=start + timedelta(hours=hours))
    wanted = [await desk.deliver(MAIL, at=start + timedelta(hours=hours)) for hours in (0, 1, 23)]
    reads(desk)
    package = await package_of(desk, tmp_path, "content", timespan=span)
    assert sorted(request.key for request in reads(desk)) == [message_key(located.account, m) for m in wanted]
    assert [row["message_id"] for row in package.manifest["messages"]] == [str(m) for m in wanted]


async def test_traffic_is_read_without_its_content(desk: Gateway, tmp_path: Path) -> None:
    start, span = a_day()
    message = await desk.deliver(MAIL + b"x" * 100_000, at=start)
    reads(desk)
    package = await package_of(desk, tmp_path, "traffic", timespan=span)
    assert [request.range for request in reads(desk)] == [f"bytes=0-{TRAFFIC_READ - 1}"]
    assert not [name for name in package.plain if name.startswith("content")]
    (record,) = [json.loads(line) for line in package.plain["traffic-0001.jsonl"].splitlines()]
    assert record["id"] == str(message)
    assert b"The accounts" not in b"".join(package.plain[n] for n in package.plain if n.startswith("traffic"))


async def test_subscriber_data_reads_no_mail(desk: Gateway, tmp_path: Path) -> None:
    reads(desk)
    package = await package_of(desk, tmp_path, "subscriber")
    assert reads(desk) == []
    assert json.loads(package.plain["subscriber.json"])["address"] == "aoife@example.ie"
    assert "password" not in package.plain["subscriber.json"].decode()
    assert set(package.plain) == {
        "decision.json", "order.jws", "audit.json", "audit.tlog-proof", "subscriber.json", "custody.json",
    }  # fmt: skip


async def test_no_more_is_released_than_was_asked_for(desk: Gateway, tmp_path: Path) -> None:
    """The order carries everything; the operator asks for traffic."""
    start, span = a_day()
    await desk.deliver(MAIL, at=start)
    package = await package_of(
        desk, tmp_path, "traffic", categories=["subscriber", "traffic", "content"], timespan=span
    )
    assert package.manifest["categories"] == ["traffic"]
    assert "subscriber.json" not in package.plain


async def test_nothing_found_is_a_result(desk: Gateway, tmp_path: Path) -> None:
    _, span = a_day()
    presented = await desk.present(order(timespan=span))
    approved = await desk.approve(presented.json["id"])
    assert (approved.status, approved.json["status"]) == (200, "DisclosureNotAvailable")
    package = await desk.package(presented.json["id"], pki.judge("IE"), tmp_path)
    assert package.manifest["counts"] == {"messages": 0, "traffic_records": 0, "errors": 0}
    assert (await desk.log())[-1].event  # fetched, and logged
    outcomes = [entry.outcome for entry in await desk.log() if entry.disclosure == presented.json["id"]]
    assert "no-data" in outcomes


async def test_a_message_that_cannot_be_opened_is_listed_and_the_others_are_not_owed_less(
    desk: Gateway, tmp_path: Path
) -> None:
    start, span = a_day()
    located = await desk.world.directory.find(AOIFE)
    broken, whole = (
        await desk.deliver(MAIL, at=start),
        await desk.deliver(MAIL, at=start + timedelta(hours=1)),
    )
    store = desk.world.store(IRELAND)
    key = message_key(located.account, broken)
    body = bytearray((await store.mail.get(key)).body)
    body[-1] ^= 1
    await store.mail.put(key, bytes(body))
    package = await package_of(desk, tmp_path, "content", timespan=span)
    assert [row["message_id"] for row in package.manifest["messages"]] == [str(whole)]
    (omission,) = package.manifest["errors"]
    assert (omission["message_id"], omission["code"]) == (str(broken), "unreadable")
    outcomes = [e.outcome for e in await desk.log() if e.disclosure == package.manifest["disclosure"]]
    assert "part" in outcomes


async def test_damage_to_one_frame_of_a_message_withholds_nothing_of_the_other(
    desk: Gateway, tmp_path: Path
) -> None:
    start, span = a_day()
    located = await desk.world.directory.find(AOIFE)
    damaged = await desk.deliver(MAIL, at=start)
    store = desk.world.store(IRELAND)
    key = message_key(located.account, damaged)
    body = bytearray((await store.mail.get(key)).body)
    body[TRAFFIC_READ // 2] ^= 1
    await store.mail.put(key, bytes(body))
    package = await package_of(desk, tmp_path, "traffic", "content", timespan=span)
    assert [row["message_id"] for row in package.manifest["messages"]] == [str(damaged)]
    assert package.manifest["counts"]["traffic_records"] == 0
    (omission,) = package.manifest["errors"]
    assert (omission["message_id"], omission["code"]) == (str(damaged), "unreadable")
    assert "traffic frame" in omission["detail"]


async def test_parts_are_split_at_their_size_and_lose_nothing(settle: Settle, tmp_path: Path) -> None:
    async with gateway(settle, regions=(IRELAND,), terms=Terms(part_size=64 * 1024)) as desk:
        start, span = a_day()
        for minute in range(12):
            await desk.deliver(MAIL + noise(20_000, minute), at=start + timedelta(minutes=minute))
        alone = await desk.deliver(MAIL + noise(70_000, 12), at=start + timedelta(hours=2))
        package = await package_of(desk, tmp_path, "content", "traffic", timespan=span)
        volumes = sorted(name for name in package.plain if name.startswith("content"))
        assert volumes == [f"content-{number:04}.zip" for number in range(1, 6)]
        assert [len(package.plain[name]) <= 64 * 1024 for name in volumes] == [True] * 4 + [False]
        rows = package.manifest["messages"]
        assert [row["size"] for row in rows] == [len(MAIL) + 20_000] * 12 + [len(MAIL) + 70_000]
        # One message is never in two parts: a larger one has a part of its own, up to 64 MiB.
        assert (rows[-1]["message_id"], rows[-1]["part"]) == (str(alone), volumes[-1])
        assert package.manifest["errors"] == []


async def test_a_receiver_can_check_it_with_nothing_of_the_providers(desk: Gateway, tmp_path: Path) -> None:
    start, span = a_day()
    await desk.deliver(MAIL, at=start)
    (tmp_path / "keys").mkdir()
    package = await package_of(desk, tmp_path / "keys", "traffic", "content", timespan=span)
    received = tmp_path / "received"
    received.mkdir()
    (received / "manifest.json").write_text(json.dumps(package.manifest))
    for name, body in package.plain.items():
        (received / name).write_bytes(body)
    key = desk.chamber().log.key
    assert [check for check in check_package(received, key) if not check.ok] == []
    run = CliRunner().invoke(package_command, ["verify", str(received), "--key", str(key), "--json"])
    assert (run.exit_code, json.loads(run.output)["ok"]) == (0, True)


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "manifest.json", "..%2f..%2fsitus%2fregion.json", "order.jws%00", "ORDER.JWS"]
)
async def test_no_part_name_leads_out_of_the_package(desk: Gateway, name: str) -> None:
    disclosure = await desk.granted(order(categories=["subscriber"]), requested=["subscriber"])
    answer = await desk.ask("GET", f"/v1/disclosures/{disclosure}/package/{name}")
    assert (answer.status, answer.problem) == (404, "not-found")


async def test_mail_that_its_owner_has_deleted_is_included_and_marked(desk: Gateway, tmp_path: Path) -> None:
    start, span = a_day()
    located = await desk.world.directory.find(AOIFE)
    gone, there = await desk.deliver(MAIL, at=start), await desk.deliver(MAIL, at=start + timedelta(hours=1))
    await hide(desk.world.store(IRELAND).mail, located.account, gone)
    package = await package_of(desk, tmp_path, "traffic", "content", timespan=span)
    marks = {row["message_id"]: row["deleted_by_owner"] for row in package.manifest["messages"]}
    assert marks == {str(gone): True, str(there): False}
    records = [json.loads(line) for line in package.plain["traffic-0001.jsonl"].splitlines()]
    assert {record["id"]: record["deleted_by_owner"] for record in records} == marks


async def test_content_comes_as_mbox_too_where_it_is_asked_for(desk: Gateway, tmp_path: Path) -> None:
    start, span = a_day()
    await desk.deliver(MAIL, at=start)
    body = {"order": order(timespan=span), "requested": ["content"], "renditions": ["mbox"]}
    presented = await desk.ask("POST", "/v1/disclosures", json=body)
    assert presented.json["renditions"] == ["mbox"]
    await desk.approve(presented.json["id"])
    package = await desk.package(presented.json["id"], pki.judge("IE"), tmp_path)
    assert package.plain["content-0001.mbox"].count(b"The accounts") == 1
    assert len(package.manifest["messages"]) == 1


async def test_the_manifest_is_what_its_model_says(desk: Gateway, tmp_path: Path) -> None:
    start, span = a_day()
    await desk.deliver(MAIL, at=start)
    package = await package_of(desk, tmp_path, "content", timespan=span)
    manifest = Manifest.model_validate(package.manifest)
    assert RegionCode.parse(manifest.region) == IRELAND.code
    assert manifest.custody.asked_by == "ina"
    assert manifest.custody.approved_by == "art"


async def test_the_page_for_authorities_works_as_it_stands(desk: Gateway, tmp_path: Path) -> None:
    """The commands of deploy/package.md, run by a shell that has nothing of ours."""
    page = (Path(__file__).parents[2] / "deploy" / "package.md").read_text()
    (script,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    start, span = a_day()
    await desk.deliver(MAIL, at=start)
    (tmp_path / "keys").mkdir()
    package = await package_of(desk, tmp_path / "keys", "traffic", "content", timespan=span)
    received = tmp_path / "received"
    received.mkdir()
    (received / "manifest.json").write_text(json.dumps(package.manifest))
    for name, body in package.encrypted.items():
        (received / f"{name}.p7m").write_bytes(body)
    places = {"CERT": str(tmp_path / "keys" / "cert.pem"), "KEY": str(tmp_path / "keys" / "key.pem")}
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=received,
        env={"PATH": os.environ["PATH"], **places},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(package.encrypted)} parts and 1 messages agree with the manifest\n"


async def test_the_page_for_authorities_names_every_part(desk: Gateway, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "deploy" / "package.md").read_text()
    start, span = a_day()
    await desk.deliver(MAIL, at=start)
    every = ("subscriber", "identification", "traffic", "content")
    package = await package_of(desk, tmp_path, *every, timespan=span)
    assert {name for name in package.plain if f"`{name}`" not in page} == set()
