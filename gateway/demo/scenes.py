"""The Ireland case, played over the real protocols: SMTP in, HTTP and the S3 engines' own answers out.

Each scene does one thing as an outsider would and says what it found; a scene that did not
find what it should raises `Unexpected`. Nothing here looks inside the server.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import smtplib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, final

import aiohttp
import boto3
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificate, load_pem_x509_certificates

from gateway.demo.card import Card, CardAuthority
from gateway.demo.parcel import open_parcel
from policy.jose import SigningKey
from policy.order import SignatureRole
from policy.signing import add_signature, sign_order

IRELAND, GERMANY, AMERICA = "eu-west-1", "eu-central-1", "us-east-1"


class Unexpected(Exception):
    """A scene did not end as it should; the text says what was found instead."""


@final
@dataclass(frozen=True, slots=True)
class Step:
    """What one scene found. `ok` is False where it is not what the promise says."""

    name: str
    ok: bool
    found: str


@final
@dataclass
class Stage:
    """What the scenes share: the card, an HTTP session, and the mail that was sent."""

    card: Card
    http: aiohttp.ClientSession
    marker: str = field(default_factory=lambda: secrets.token_hex(8))
    sent: bytes = b""
    objects_before: dict[str, frozenset[str]] = field(default_factory=dict)

    async def post(self, path: str, token: str, body: object = None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.post(f"{self.card.gateway}{path}", json=body, headers=headers) as reply:
            return reply.status, await reply.json(content_type=None)

    async def get(self, path: str, token: str) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.get(f"{self.card.gateway}{path}", headers=headers) as reply:
            return reply.status, await reply.read()

    def mail_objects(self, region: str) -> frozenset[str]:
        """The keys of all sealed messages in a region's bucket, by that region's own answer."""
        ground = self.card.regions[region]
        client = boto3.client(
            "s3",
            endpoint_url=ground.endpoint,
            region_name=region,
            aws_access_key_id=ground.access_key_id,
            aws_secret_access_key=ground.secret_access_key,
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=ground.bucket, Prefix="mail/")
        return frozenset(entry["Key"] for page in pages for entry in page.get("Contents", ()))


def make_order(authority: CardAuthority, instrument: str, target: str, **claims: object) -> str:
    """An order for everything since yesterday, signed by that authority."""
    now = datetime.now(UTC)
    whole = {
        "jti": f"demo-{secrets.token_hex(6)}",
        "iss": authority.name,
        "iat": int(now.timestamp()) - 5,
        "exp": int((now + timedelta(days=14)).timestamp()),
        "instrument": instrument,
        "issuing_state": authority.jurisdiction,
        "issuer_role": authority.roles[0],
        "target": {"address": target},
        "categories": ["traffic", "content"],
        "timespan": {
            "start": (now - timedelta(days=1)).isoformat(),
            "end": (now + timedelta(days=1)).isoformat(),
        },
        "offence": {"max_custodial_years": 5},
        "matter": "the Ireland case",
        **claims,
    }
    return sign_order(whole, *signing_material(authority), SignatureRole.ISSUE)


def signing_material(authority: CardAuthority) -> tuple[Certificate, SigningKey, list[Certificate]]:
    """What an authority signs with: its certificate, its key, and the chain above it."""
    key = load_pem_private_key(Path(authority.key).read_bytes(), password=None)
    if not isinstance(key, SigningKey):
        raise TypeError(f"{authority.key}: not a key that signs orders")
    certificate = load_pem_x509_certificate(Path(authority.cert).read_bytes())
    return certificate, key, load_pem_x509_certificates(Path(authority.chain).read_bytes())


def _expect(condition: bool, found: object) -> None:
    if not condition:
        raise Unexpected(str(found)[:2000])


async def mail_comes_home(stage: Stage) -> str:
    """One message to three people in three countries: one sealed object in each, and no more."""
    for region in stage.card.regions:
        stage.objects_before[region] = await asyncio.to_thread(stage.mail_objects, region)
    message = EmailMessage()
    message["From"], message["Subject"] = (
        "Brendan <brendan@elsewhere.example>",
        f"The accounts {stage.marker}",
    )
    message["To"] = ", ".join(stage.card.home(region).address for region in stage.card.regions)
    message["Message-ID"] = f"<{stage.marker}@elsewhere.example>"
    message.set_content(f"Here they are.\n.\nA line that was one dot stands above. {stage.marker}\n")
    stage.sent = message.as_bytes().replace(b"\n", b"\r\n")

    def send() -> None:
        host, port = stage.card.smtp.split(":")
        with smtplib.SMTP(host, int(port), timeout=30) as client:
            client.sendmail(
                "brendan@elsewhere.example",
                [stage.card.home(region).address for region in stage.card.regions],
                stage.sent,
            )

    await asyncio.to_thread(send)
    grown = {
        region: len(await asyncio.to_thread(stage.mail_objects, region) - stage.objects_before[region])
        for region in stage.card.regions
    }
    _expect(all(count == 1 for count in grown.values()), f"new objects by region: {grown}")
    return "250 for all; one new sealed object in each of " + ", ".join(sorted(grown))


async def stranger_is_refused(stage: Stage) -> str:
    """Mail for nobody is refused at RCPT with 550 5.1.1."""

    def send() -> tuple[int, bytes]:
        host, port = stage.card.smtp.split(":")
        with smtplib.SMTP(host, int(port), timeout=30) as client:
            client.ehlo("elsewhere.example")
            client.mail("brendan@elsewhere.example")
            return client.rcpt("nobody@example.ie")

    code, text = await asyncio.to_thread(send)
    _expect(code == 550 and text.startswith(b"5.1.1"), f"{code} {text!r}")
    return f"{code} {text.decode()}"


async def foreign_warrant_is_refused(stage: Stage) -> str:
    """A valid US warrant does not open an Irish mailbox; the refusal teaches what would."""
    order = make_order(
        stage.card.authority("US", "judge"), "us.sca-warrant", stage.card.home(IRELAND).address
    )
    status, problem = await _ask(stage, order, IRELAND)
    _expect(status == 403 and problem["type"].endswith("/refused"), (status, problem))
    decision = problem["decision"]
    failed = {finding["code"] for finding in decision["findings"] if not finding["ok"]}
    ways = {remedy["instrument"] for remedy in decision["remedies"]}
    _expect("storage-law" in failed, decision["findings"])
    _expect({"ie.production-order", "eu.epoc", "mla.request"} <= ways, decision["remedies"])
    _expect("2713" in decision["conflict"]["law"], decision["conflict"])
    audit = problem["audit"]
    return (
        f"403 storage-law; conflict {decision['conflict']['law']}; remedies {', '.join(sorted(ways))}; "
        f"audit entry {audit['index']} of {audit['region']}"
    )


async def irish_order_opens_it(stage: Stage) -> str:
    """An Irish production order does, once somebody else has approved."""
    order = make_order(
        stage.card.authority("IE", "judge"), "ie.production-order", stage.card.home(IRELAND).address
    )
    return await _granted(stage, order, IRELAND, stage.card.authority("IE", "judge"))


async def recognised_request_opens_it(stage: Stage) -> str:
    """The US request does, once an Irish court has taken it up and signed it too."""
    american, irish = stage.card.authority("US", "judge"), stage.card.authority("IE", "judge")
    request = make_order(american, "us.sca-warrant", stage.card.home(IRELAND).address)
    recognised = add_signature(request, *signing_material(irish), SignatureRole.RECOGNISE)
    return await _granted(stage, recognised, IRELAND, american)


async def american_warrant_opens_american_mailbox(stage: Stage) -> str:
    """The same warrant is good law where the mailbox is American."""
    judge = stage.card.authority("US", "judge")
    order = make_order(judge, "us.sca-warrant", stage.card.home(AMERICA).address)
    return await _granted(stage, order, AMERICA, judge)


async def replay_is_refused(stage: Stage) -> str:
    """The same order a second time is a replay, and recorded as one."""
    order = make_order(
        stage.card.authority("IE", "judge"), "ie.production-order", stage.card.home(IRELAND).address
    )
    first, _ = await _ask(stage, order, IRELAND)
    second, problem = await _ask(stage, order, IRELAND)
    _expect((first, second) == (201, 409) and problem["audit"]["region"] == IRELAND, (first, second, problem))
    return f"201, then 409; audit entry {problem['audit']['index']}"


async def nonsense_and_strangers_are_recorded(stage: Stage) -> str:
    """What is no order at all, and who is no operator at all, stands in the log too."""
    token = stage.card.operator("intake", IRELAND).token
    malformed, one = await stage.post(
        "/v1/disclosures", token, {"order": "not.an.order", "requested": ["content"]}
    )
    stranger, two = await stage.post(
        "/v1/disclosures", "situs_nobody_nothing", {"order": "x", "requested": ["content"]}
    )
    _expect((malformed, stranger) == (422, 401), (malformed, stranger, one, two))
    _expect(isinstance(one["audit"]["index"], int) and isinstance(two["audit"]["index"], int), (one, two))
    return f"422 and 401; audit entries {one['audit']['index']} and {two['audit']['index']}"


async def log_proves_it(stage: Stage) -> str:
    """`situs audit verify` rebuilds each region's root from the entries in its bucket."""
    return await _command(stage, "audit", "verify", "--region", *stage.card.regions)


async def every_object_is_home(stage: Stage) -> str:
    """`situs fence verify` finds each object under an account whose home this is."""
    status, output = await _situs("fence", "verify", "--config", stage.card.config)
    _expect(status == 0, output)
    return "every object is at home"


SCENES: Final[tuple[Callable[[Stage], Awaitable[str]], ...]] = (
    mail_comes_home,
    stranger_is_refused,
    foreign_warrant_is_refused,
    irish_order_opens_it,
    recognised_request_opens_it,
    american_warrant_opens_american_mailbox,
    replay_is_refused,
    nonsense_and_strangers_are_recorded,
    log_proves_it,
    every_object_is_home,
)


async def play(card: Card) -> AsyncIterator[Step]:
    """Plays all scenes against a running demo, each step as it ends. Goes on after a failed one."""
    async with _stage(card) as stage:
        for scene in SCENES:
            name = scene.__name__.replace("_", " ")
            try:
                yield Step(name, True, await scene(stage))
            except Unexpected as error:
                yield Step(name, False, str(error))
            except (
                aiohttp.ClientError,
                OSError,
                smtplib.SMTPException,
                LookupError,
                ValueError,
                TypeError,
            ) as error:
                # An answer of another shape, or none: the scene failed, and the others still tell something.
                yield Step(name, False, f"{type(error).__name__}: {error}")


@asynccontextmanager
async def _stage(card: Card) -> AsyncIterator[Stage]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield Stage(card, http)


async def _ask(stage: Stage, order: str, region: str) -> tuple[int, dict[str, Any]]:
    token = stage.card.operator("intake", region).token
    form: object = json.loads(order) if order.lstrip().startswith("{") else order
    return await stage.post("/v1/disclosures", token, {"order": form, "requested": ["traffic", "content"]})


async def _granted(stage: Stage, order: str, region: str, authority: CardAuthority) -> str:
    """Ask, be refused by oneself, be approved by another, fetch, decrypt, compare."""
    asker = stage.card.operator("intake", region)
    status, disclosure = await _ask(stage, order, region)
    _expect(status == 201 and disclosure["status"] == "AwaitingApproval", (status, disclosure))
    path = f"/v1/disclosures/{disclosure['id']}"
    own, _ = await stage.post(f"{path}:approve", asker.token)
    _expect(own == 403, f"the one who asked approved with {own}")
    approver = stage.card.operator("approver", region, other_than=asker.name)
    status, approved = await stage.post(f"{path}:approve", approver.token)
    _expect(status == 200 and approved["status"] == "Disclosed", (status, approved))
    status, manifest = await stage.get(f"{path}/package", asker.token)
    _expect(status == 200, (status, manifest))
    parts: dict[str, bytes] = {}
    for part in json.loads(manifest)["parts"]:
        status, parts[part["name"]] = await stage.get(f"{path}/package/{part['name']}", asker.token)
        _expect(status == 200, (status, part))
    certificate, key, _ = signing_material(authority)
    messages = open_parcel(json.loads(manifest), parts, certificate, key)
    sent = sum(message.endswith(stage.sent) for message in messages)
    _expect(sent == 1, f"the message that was sent is {sent} times among the {len(messages)} in the package")
    return f"201, approved by {approver.name}, the package opens, its digests agree"


async def _command(stage: Stage, *words: str) -> str:
    group, verb, option, *regions = words
    for region in regions:
        status, output = await _situs(group, verb, option, region, "--config", stage.card.config)
        _expect(status == 0, output)
    return f"{', '.join(regions)}: every root agrees with its signed checkpoint"


async def _situs(*words: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode(errors="replace").strip()
