"""The first four promises, seen from outside: real SMTP clients in, the S3 engines' own answers and
`openssl cms` out. Nothing here imports the server."""

from __future__ import annotations

import hashlib
import io
import json
import smtplib
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from gateway.demo.card import Card, CardAuthority
from gateway.demo.scenes import AMERICA, GERMANY, IRELAND, make_order
from tests.corpus import REFUSED, corpus
from tests.gateway.demos import RunningDemo, running_demo, situs
from tests.peers import require

SENDER = "marked-sender-7c41@elsewhere.example"
MARKED = b"marked-subject-7c41", b"marked-content-7c41", b"marked-sender-7c41"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    with running_demo(tmp_path_factory.mktemp("whole-way") / "state") as running:
        yield running


@pytest.fixture
def card(demo: RunningDemo) -> Card:
    return demo.card


def objects(card: Card, region: str, prefix: str = "mail/") -> dict[str, bytes]:
    """All current objects of a region's mail bucket, as its own server gives them."""
    ground = card.regions[region]
    client = boto3.client(
        "s3",
        endpoint_url=ground.endpoint,
        region_name=region,
        aws_access_key_id=ground.access_key_id,
        aws_secret_access_key=ground.secret_access_key,
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=ground.bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return {key: client.get_object(Bucket=ground.bucket, Key=key)["Body"].read() for key in keys}


def counts(card: Card) -> Counter[str]:
    return Counter({region: len(objects(card, region)) for region in card.regions})


def connect(card: Card) -> smtplib.SMTP:
    host, port = card.smtp.split(":")
    return smtplib.SMTP(host, int(port), timeout=60)


def next_millisecond() -> datetime:
    """Waits for it: when mail came in is kept to the millisecond, and this lies between two mails."""
    now = datetime.now(UTC)
    tick = now.replace(microsecond=now.microsecond // 1000 * 1000) + timedelta(milliseconds=1)
    while datetime.now(UTC) < tick:
        pass
    return tick


def ask(card: Card, path: str, token: str, body: object = None) -> tuple[int, bytes]:
    """A GET, or a POST where there is a body."""
    request = urllib.request.Request(
        f"{card.gateway}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def decrypted(part: bytes, authority: CardAuthority, directory: Path) -> bytes:
    """What the authority's own `openssl cms -decrypt` makes of a part."""
    (directory / "part").write_bytes(part)
    command = [require("openssl"), "cms", "-decrypt", "-inform", "DER", "-in", str(directory / "part")]
    command += ["-recip", authority.cert, "-inkey", authority.key, "-out", str(directory / "plain")]
    subprocess.run(command, check=True, timeout=60)
    return (directory / "plain").read_bytes()


def disclosed(
    card: Card, order: str, region: str, authority: CardAuthority, directory: Path
) -> dict[str, bytes]:
    """Ask, have it approved, fetch, decrypt: the messages by the path they have in the package."""
    asker = card.operator("intake", region)
    status, body = ask(card, "/v1/disclosures", asker.token, {"order": order, "requested": ["content"]})
    assert status == 201, body
    path = f"/v1/disclosures/{json.loads(body)['id']}"
    approver = card.operator("approver", region, other_than=asker.name)
    status, body = ask(card, f"{path}:approve", approver.token, {})
    assert status == 200, body
    status, body = ask(card, f"{path}/package", asker.token)
    assert status == 200, body
    manifest: dict[str, Any] = json.loads(body)
    plain = {}
    for part in manifest["parts"]:
        status, sealed = ask(card, f"{path}/package/{part['name']}", asker.token)
        assert status == 200
        plain[part["name"]] = decrypted(sealed, authority, directory)
        assert hashlib.sha256(plain[part["name"]]).hexdigest() == part["sha256"]
    messages = {}
    for row in manifest["messages"]:
        with zipfile.ZipFile(io.BytesIO(plain[row["part"]])) as volume:
            messages[row["path"]] = volume.read(row["path"])
        assert hashlib.sha256(messages[row["path"]]).hexdigest() == row["sha256"]
    assert manifest["counts"]["messages"] == len(messages)
    return messages


def test_one_message_to_three_regions_is_one_object_in_each(card: Card) -> None:
    before = counts(card)
    with connect(card) as client:
        refused = client.sendmail(
            SENDER,
            [account.address for account in card.accounts],
            b"Subject: marked-subject-7c41\r\n\r\nmarked-content-7c41\r\n",
        )
    assert refused == {}
    assert counts(card) - before == Counter(dict.fromkeys(card.regions, 1))


@pytest.mark.parametrize("client", ["swaks", "smtp-source"])
def test_other_peoples_smtp_clients_are_served(card: Card, client: str) -> None:
    before, target = counts(card), card.home(GERMANY).address
    command = {
        "swaks": ["--server", card.smtp, "--from", SENDER, "--to", target, "--body", "marked-content-7c41"],
        "smtp-source": ["-m", "20", "-s", "4", "-l", "2000", "-f", SENDER, "-t", target, card.smtp],
    }[client]
    subprocess.run([require(client), *command], check=True, capture_output=True, timeout=60)
    assert counts(card) - before == Counter({GERMANY: 20 if client == "smtp-source" else 1})


def test_lmtp_is_served_too(card: Card) -> None:
    before = counts(card)
    command = [
        require("smtp-source"),
        "-L",
        "-m",
        "5",
        "-f",
        SENDER,
        "-t",
        card.home(IRELAND).address,
        card.lmtp,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert counts(card) - before == Counter({IRELAND: 5})


def test_postmaster_without_a_domain_has_a_mailbox(card: Card) -> None:
    """RFC 5321 4.5.1. By the duty of a domain's first mailbox: the configuration names no person."""
    before = counts(card)
    with connect(card) as client:
        assert client.sendmail(SENDER, ["postmaster"], b"Subject: x\r\n\r\nx\r\n") == {}
    assert counts(card) - before == Counter({IRELAND: 1})


def test_nobody_gets_no_mail(card: Card) -> None:
    before = counts(card)
    with connect(card) as client:
        client.ehlo("elsewhere.example")
        client.mail(SENDER)
        for nobody in ("nobody@example.ie", "=?utf-8?q?aoife?=@example.ie", "aoife@elsewhere.example"):
            code, text = client.rcpt(nobody)
            assert (code, text[:5]) == (550, b"5.1.1"), text
    assert counts(card) == before


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_not_stored(card: Card, name: str) -> None:
    before = counts(card)
    with connect(card) as client:
        client.ehlo("elsewhere.example")
        client.mail(SENDER)
        client.rcpt(card.home(IRELAND).address)
        client.docmd("DATA")
        client.send(REFUSED[name] + b".\r\n")
        code, _ = client.getreply()
        assert 500 <= code < 600
        assert client.noop()[0] == 250  # still in step
    assert counts(card) == before


def test_each_mail_of_the_corpus_comes_back_octet_for_octet(card: Card, tmp_path: Path) -> None:
    """Sent by a real client, sealed, disclosed to the Irish court, decrypted with its own openssl."""
    target, sent = card.home(IRELAND).address, []
    start = next_millisecond()
    with connect(card) as client:
        client.ehlo("elsewhere.example")
        for mail in corpus():
            options = ["BODY=8BITMIME", *(["SMTPUTF8"] if mail.smtputf8 else [])]
            assert client.mail(mail.sender, options)[0] == 250, mail.name
            assert client.rcpt(target)[0] == 250, mail.name
            assert client.docmd("DATA")[0] == 354, mail.name
            client.send(
                b"".join(
                    b"." + line if line.startswith(b".") else line for line in mail.content.splitlines(True)
                )
            )
            client.send(b".\r\n")
            assert client.getreply()[0] == 250, mail.name
            sent.append(mail)
    span = {"start": start.isoformat(), "end": next_millisecond().isoformat()}
    judge = card.authority("IE", "judge")
    order = make_order(judge, "ie.production-order", target, timespan=span, categories=["content"])
    messages = list(disclosed(card, order, IRELAND, judge, tmp_path).values())
    assert len(messages) == len(sent)
    for mail, message in zip(sent, messages, strict=True):
        trace, found = (
            message[: len(message) - len(mail.content)],
            message[len(message) - len(mail.content) :],
        )
        assert found == mail.content, mail.name
        assert trace.startswith(b"Return-Path: <"), mail.name
        assert trace.count(b"\r\nReceived: ") == 1, mail.name


def test_a_package_holds_exactly_the_messages_of_the_timespan(card: Card, tmp_path: Path) -> None:
    target, judge = card.home(AMERICA).address, card.authority("US", "judge")

    def send(text: bytes) -> datetime:
        with connect(card) as client:
            client.sendmail(SENDER, [target], b"Subject: x\r\n\r\n" + text + b"\r\n")
        return next_millisecond()

    after_first = send(b"first")
    after_second = send(b"second")
    send(b"third")
    span = {"start": after_first.isoformat(), "end": after_second.isoformat()}
    order = make_order(judge, "us.sca-warrant", target, timespan=span)
    (message,) = disclosed(card, order, AMERICA, judge, tmp_path).values()
    assert message.endswith(b"\r\nsecond\r\n")


def test_nothing_is_in_the_clear_anywhere(demo: RunningDemo) -> None:
    """Not in any region's objects, not on a disk, not in a line of log: neither mail nor addresses."""
    card = demo.card
    with connect(card) as client:
        client.sendmail(
            SENDER,
            [card.home(IRELAND).address],
            b"Subject: marked-subject-7c41\r\n\r\nmarked-content-7c41\r\n",
        )
    secrets = [*MARKED, *(account.address.encode() for account in card.accounts)]
    for region in card.regions:
        for key, body in objects(card, region, "").items():
            assert not [secret for secret in secrets if secret in body or secret.decode() in key], key
    # The card itself tells who the demo's people are, and so does the request that it offers to paste.
    told = {"demo.json", "us-warrant.json"}
    for path in [*demo.state.rglob("*"), demo.state.parent / f"{demo.state.name}.err"]:
        if path.is_file() and path.name not in told:
            body = path.read_bytes()
            assert not [secret for secret in secrets if secret in body], path


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows open files that have no name any more")
def test_nothing_is_in_an_open_file_without_a_name(demo: RunningDemo) -> None:
    """A temporary file that was unlinked at once is on a disk all the same."""
    card = demo.card
    with connect(card) as client:
        client.sendmail(SENDER, [card.home(IRELAND).address], b"Subject: x\r\n\r\nmarked-content-7c41\r\n")
    for process in (psutil.Process(card.pid), *demo.children()):
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            # What it prints goes into a file of the test's own, which another test has looked at.
            if descriptor.is_file() and not str(descriptor.readlink()).startswith(str(demo.state.parent)):
                assert b"7c41" not in descriptor.read_bytes(), descriptor.readlink()


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_an_unauthenticated_attempt_is_in_the_log(card: Card, verb: str) -> None:
    status, body = ask(card, f"/v1/disclosures/anything:{verb}", "situs_x_y", {})
    assert status == 401
    audit = json.loads(body)["audit"]
    listed = situs("audit", "verify", "--region", audit["region"], "--config", card.config)
    assert listed.returncode == 0, listed.stderr


def test_a_region_that_is_down_defers_its_own_mail_and_nothing_goes_elsewhere(tmp_path: Path) -> None:
    with running_demo(tmp_path / "state") as running:
        card = running.card
        running.engine(GERMANY).kill()
        alive = [region for region in card.regions if region != GERMANY]
        before = {region: len(objects(card, region)) for region in alive}
        with connect(card) as client:
            client.ehlo("elsewhere.example")
            client.mail(SENDER)
            assert client.rcpt(card.home(GERMANY).address)[0] in (250, 451)
            code, text = client.data(b"Subject: x\r\n\r\nx\r\n")
            assert code in (451, 503), text
            client.rset()
            client.sendmail(SENDER, [card.home(IRELAND).address], b"Subject: y\r\n\r\ny\r\n")
        grown = {region: len(objects(card, region)) - before[region] for region in alive}
        assert grown == {IRELAND: 1, AMERICA: 0}


def test_without_the_log_nothing_is_released(tmp_path: Path) -> None:
    """The region's server is gone, its audit bucket with it: 503, and no word of the mailbox."""
    with running_demo(tmp_path / "state") as running:
        card = running.card
        order = make_order(card.authority("US", "judge"), "us.sca-warrant", card.home(AMERICA).address)
        running.engine(AMERICA).kill()
        token = card.operator("intake", AMERICA).token
        status, body = ask(card, "/v1/disclosures", token, {"order": order, "requested": ["content"]})
        assert status == 503, body
        assert json.loads(body)["type"].startswith("https://situs.example/problems/")
