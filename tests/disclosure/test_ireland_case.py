"""The Ireland case at the gateway, over HTTP, on real S3 servers, opened by openssl."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from policy.order import SignatureRole
from storage.audit.entry import Event, Result
from tests.disclosure.desk import IRELAND, NOW, Gateway, judge_with_rsa, order, warrant
from tests.policy import pki

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL = b"From: Brendan <brendan@elsewhere.test>\r\nSubject: The accounts\r\n\r\nHere they are.\r\n"


async def test_an_american_warrant_does_not_open_an_irish_mailbox(desk: Gateway) -> None:
    answer = await desk.present(warrant())
    assert (answer.status, answer.problem) == (403, "refused")
    decision = answer.json["decision"]
    assert decision["outcome"] == "refuse"
    assert "storage-law" in {finding["code"] for finding in decision["findings"] if not finding["ok"]}
    ways = {remedy["instrument"] for remedy in decision["remedies"]}
    assert {"ie.production-order", "eu.epoc", "mla.request"} <= ways
    assert "2713" in decision["conflict"]["law"]
    audit = answer.json["audit"]
    entry = (await desk.log())[audit["index"]]
    assert (audit["region"], entry.event, entry.outcome) == (
        "eu-west-1",
        Event.DISCLOSURE_DECIDED,
        Result.REFUSE,
    )
    assert "storage-law" in entry.findings


@pytest.mark.parametrize("signer", [pki.judge("IE"), judge_with_rsa()], ids=["P-256", "RSA"])
async def test_an_irish_order_opens_it_once_somebody_else_has_approved(
    desk: Gateway, tmp_path: Path, signer: pki.Signer
) -> None:
    year = NOW.year - len(signer.name)  # a day of its own: the tests share a mailbox
    day = NOW.replace(year=year)
    before = await desk.deliver(b"Subject: too old\r\n\r\n", at=day - timedelta(milliseconds=1))
    first = await desk.deliver(MAIL, at=day)
    last = await desk.deliver(MAIL + b"more\r\n", at=day + timedelta(days=1, milliseconds=-1))
    after = await desk.deliver(b"Subject: too new\r\n\r\n", at=day + timedelta(days=1))
    start = len(await desk.log())
    span = {"start": day.isoformat(), "end": (day + timedelta(days=1)).isoformat()}
    presented = await desk.present(order(signer, iss=signer.name, timespan=span))
    assert presented.status == 201, presented.body
    assert presented.json["status"] == "AwaitingApproval"
    assert (await desk.ask("GET", f"{presented.headers['Location']}/package")).problem == "state"
    approved = await desk.approve(presented.json["id"])
    assert (approved.status, approved.json["status"]) == (200, "Disclosed")

    package = await desk.package(presented.json["id"], signer, tmp_path)
    for part in package.manifest["parts"]:
        plain, sealed = package.plain[part["name"]], package.encrypted[part["name"]]
        assert (len(plain), hashlib.sha256(plain).hexdigest()) == (part["size"], part["sha256"])
        assert (len(sealed), hashlib.sha256(sealed).hexdigest()) == (
            part["encrypted_size"],
            part["encrypted_sha256"],
        )
    messages = {}
    for row in package.manifest["messages"]:
        with zipfile.ZipFile(io.BytesIO(package.plain[row["part"]])) as volume:
            messages[row["message_id"]] = volume.read(row["path"])
        assert hashlib.sha256(messages[row["message_id"]]).hexdigest() == row["sha256"]
    assert messages == {str(first): MAIL, str(last): MAIL + b"more\r\n"}
    assert not {str(before), str(after)} & {row["message_id"] for row in package.manifest["messages"]}
    traffic = [json.loads(line) for line in package.plain["traffic-0001.jsonl"].splitlines()]
    assert [record["id"] for record in traffic] == [str(first), str(last)]
    events = [entry.event for entry in (await desk.log())[start:]]
    assert events[:5] == [
        Event.DISCLOSURE_DECIDED,
        Event.ATTEMPT_FAILED,
        Event.DISCLOSURE_APPROVED,
        Event.DISCLOSURE_RELEASED,
        Event.DISCLOSURE_COMPLETED,
    ]
    assert set(events[5:]) == {Event.PACKAGE_FETCHED}
    assert len(events[5:]) == 1 + len(package.manifest["parts"])


async def test_the_american_request_opens_it_once_an_irish_court_has_taken_it_up(
    desk: Gateway, tmp_path: Path
) -> None:
    await desk.deliver(MAIL, at=NOW - timedelta(hours=1))
    request = warrant(jti="US-1")
    assert (await desk.present(request)).problem == "refused"
    # The same request, with one signature more: an order that was refused is not used up.
    taken_up = pki.judge("IE").add(request, SignatureRole.RECOGNISE)
    disclosure = await desk.granted(taken_up)
    package = await desk.package(disclosure, pki.judge("US"), tmp_path)
    (row,) = package.manifest["messages"]
    with zipfile.ZipFile(io.BytesIO(package.plain[row["part"]])) as volume:
        assert [volume.read(name) for name in volume.namelist()] == [MAIL]
    assert (await desk.present(taken_up)).problem == "replay"


async def test_the_proof_in_the_package_holds_without_the_provider(desk: Gateway, tmp_path: Path) -> None:
    disclosure = await desk.granted(order())
    package = await desk.package(disclosure, pki.judge("IE"), tmp_path)
    log = desk.chamber().log
    proof = await log.prove(package.manifest["audit"]["index"])
    assert json.loads(package.plain["audit.json"])["entry"] == proof.to_json()["entry"]
    proof.verify(log.key)
    assert package.manifest["region"] == str(IRELAND.code)
