"""A whole gateway under test: regions on real S3 servers, people with tokens, authorities with keys.

Every request to a region goes through its fault proxy, which records it. The clock stands still
until a test moves it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from multidict import CIMultiDict

from gateway.disclosure.app import make_app, make_runner
from gateway.disclosure.office import Chamber, Office
from gateway.disclosure.terms import Terms
from gateway.law import packaged_lawbook
from policy.address import Address
from policy.clearance import Role
from policy.geography import Jurisdiction, Region, RegionCode
from policy.lawbook import Lawbook
from policy.verification import Trust
from storage.audit.entry import Entry
from storage.audit.log import AuditLog
from storage.audit.note import Signer
from storage.audit.pseudonym import Pseudonyms
from storage.identity import Clock, MessageId
from storage.mailbox import append
from storage.operators import OperatorRecord, OperatorRegister, Token
from storage.vault import Vault
from tests.engines import GERMANY, IRELAND, Settle
from tests.policy import pki
from tests.policy.pki import NOW
from tests.storage.grounds import AOIFE, BORIS, World, envelope, world

__all__ = ["AOIFE", "BORIS", "GERMANY", "IRELAND", "NOW", "Answer", "Gateway", "gateway", "order"]

_NUMBERS: Final = itertools.count(1)
ALL_ROLES: Final = (Role.INTAKE, Role.APPROVER, Role.CUSTODIAN, Role.AUDITOR)


class MovableClock:
    """Stands at `now` until a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@cache
def judge_with_rsa() -> pki.Signer:
    """An Irish judge whose key is RSA, as most authorities' still are."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return pki.realm("IE").signer("IE High Court", key=key)


@cache
def lawbook() -> Lawbook:
    return packaged_lawbook()


def usual_trust() -> Trust:
    """IE, US and DE with their judges and police, and an Irish judge with an RSA key."""
    listed = {
        code: [pki.judge(code), pki.police(code), *([judge_with_rsa()] if code == "IE" else [])]
        for code in ("IE", "US", "DE")
    }
    return Trust({Jurisdiction(code): pki.realm(code).lists(*signers) for code, signers in listed.items()})


@dataclass
class Answer:
    """An HTTP answer, read."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def problem(self) -> str:
        """The problem's code. Its document is checked on the way."""
        document = self.json
        assert self.headers["Content-Type"].split(";")[0] == "application/problem+json"
        assert document["status"] == self.status
        assert document["title"]
        assert document["detail"]
        assert document["instance"].startswith("urn:uuid:")
        base, _, code = str(document["type"]).rpartition("/")
        assert base == "https://situs.example/problems"
        return code


@cache
def _minted(name: str) -> tuple[Token, str]:
    """A token and its hash, which takes its time: once for each name in a test run."""
    token = Token.new()
    return token, token.hash()


class _Served(TestServer):
    """On the gateway's own connections: what aiohttp answers below an application is theirs to answer."""

    async def _make_runner(self, **_: Any) -> web.AppRunner:
        return make_runner(self.app)


@dataclass
class Gateway:
    """The gateway, and everybody around it. People's names are their tokens' keys."""

    world: World
    office: Office
    clock: MovableClock
    client: TestClient[Any, Any]
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> web.Application:
        assert isinstance(self.client.server, TestServer)
        return self.client.server.app

    def chamber(self, region: Region = IRELAND) -> Chamber:
        return self.office.chambers[region.code]

    async def employ(self, name: str, roles: Sequence[Role], regions: Sequence[Region], **bent: Any) -> Token:
        """A person with a token of their own, registered in each region."""
        token, phc = _minted(name)
        record = OperatorRecord(
            id=token.id,
            name=bent.get("called", name),
            roles=frozenset(roles),
            regions=frozenset(bent.get("claims", [region.code for region in regions])),
            credential=bent.get("credential", phc),
            created=self.clock(),
            expires=self.clock() + bent.get("lasts", timedelta(days=90)),
        )
        for region in regions:
            await OperatorRegister(self.chamber(region).vault).add(record)
        self.tokens[name] = token.text
        return token

    async def ask(
        self,
        method: str,
        path: str,
        who: str | None = "ina",
        *,
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> Answer:
        """One request as that person; nobody for None."""
        sent = dict(headers or {})
        if who is not None:
            sent.setdefault("Authorization", f"Bearer {self.tokens[who]}")
        async with self.client.request(method, path, headers=sent, **body) as reply:
            return Answer(reply.status, CIMultiDict(reply.headers), await reply.read())

    async def present(
        self,
        order: str,
        who: str | None = "ina",
        *,
        requested: Sequence[str] = ("traffic", "content"),
        **more: Any,
    ) -> Answer:
        form: object = json.loads(order) if order.startswith("{") else order
        return await self.ask(
            "POST", "/v1/disclosures", who, json={"order": form, "requested": list(requested)}, **more
        )

    async def approve(self, disclosure: str, who: str = "art", **more: Any) -> Answer:
        return await self.ask("POST", f"/v1/disclosures/{disclosure}:approve", who, **more)

    async def granted(self, order: str, requested: Sequence[str] = ("traffic", "content")) -> str:
        """Presented by ina, approved by art; the disclosure's id."""
        presented = await self.present(order, requested=requested)
        assert presented.status == 201, presented.body
        approved = await self.approve(presented.json["id"])
        assert approved.status == 200, approved.body
        return str(presented.json["id"])

    async def package(self, disclosure: str, signer: pki.Signer, where: Path) -> Package:
        """The whole package, fetched by ina and opened with openssl as the authority would."""
        manifest = await self.ask("GET", f"/v1/disclosures/{disclosure}/package")
        assert manifest.status == 200, manifest.body
        parts = {}
        for part in manifest.json["parts"]:
            fetched = await self.ask("GET", f"/v1/disclosures/{disclosure}/package/{part['name']}")
            assert fetched.status == 200, fetched.body
            parts[part["name"]] = fetched.body
        return Package(
            manifest.json, parts, {name: decrypt(body, signer, where) for name, body in parts.items()}
        )

    async def deliver(self, content: bytes, *, to: Address = AOIFE, at: datetime | None = None) -> MessageId:
        located = await self.world.directory.find(to)
        home = self.world.ground.home(located)
        # An order carries what was stored when it was received: by default, a minute ago.
        moment = at or self.clock() - timedelta(minutes=1)
        return await append(home, located, envelope(str(to), moment), content)

    async def log(self, region: Region = IRELAND) -> list[Entry]:
        log = self.chamber(region).log
        return await log.entries(0, await log.size())


@dataclass
class Package:
    """What an authority has in hand."""

    manifest: dict[str, Any]
    encrypted: dict[str, bytes]
    plain: dict[str, bytes]


def noise(octets: int, seed: int) -> bytes:
    """What no compression makes smaller: parts fill as they would with attachments."""
    return random.Random(seed).randbytes(octets)


def decrypt(body: bytes, signer: pki.Signer, where: Path) -> bytes:
    """`openssl cms -decrypt`, with nothing of ours."""
    certificate, key, sealed = where / "cert.pem", where / "key.pem", where / "part.p7m"
    certificate.write_bytes(signer.cert.public_bytes(Encoding.PEM))
    key.write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    sealed.write_bytes(body)
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-binary", "-in", str(sealed)]
    command += ["-recip", str(certificate), "-inkey", str(key)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def order(signer: pki.Signer | None = None, **changes: Any) -> str:
    """A fresh Irish production order for aoife's last day, signed."""
    return (signer or pki.judge("IE")).sign(claims(**changes))


def bent(**changes: Any) -> str:
    """An order truly signed, with claims that no signing tool would let through."""
    signer = pki.judge("IE")
    return pki.forge(signer.header(), claims(**changes), signer)


def claims(**changes: Any) -> dict[str, Any]:
    usual = pki.claims(
        jti=f"DC-{next(_NUMBERS)}",
        timespan={
            "start": (NOW - timedelta(days=1)).isoformat(),
            "end": (NOW + timedelta(days=1)).isoformat(),
        },
        offence={"max_custodial_years": 5},
        matter="the Ireland case",
    )
    return usual | changes


def warrant(**changes: Any) -> str:
    """A valid US warrant for the same mailbox."""
    usual = claims(
        instrument="us.sca-warrant", issuing_state="US", iss="US court", categories=["traffic", "content"]
    )
    return pki.judge("US").sign(usual | changes)


async def open_office(
    stack: contextlib.AsyncExitStack,
    placed: World,
    served: Sequence[Region],
    clock: Clock,
    terms: Terms | None,
    trust: Callable[[], Trust],
    deadline: float,
) -> Office:
    """An office seated in the first of the regions, as any process of the deployment would open it."""
    chambers: dict[RegionCode, Chamber] = {}
    for region in served:
        store = placed.store(region)
        signer = Signer(f"{region.code}.test/situs", region.code.value.ljust(32).encode())
        log = await stack.enter_async_context(
            await AuditLog.open(store.audit, region.code, signer, deadline=deadline)
        )
        chambers[region.code] = Chamber(store, Vault(store), log, Pseudonyms(b"p" * 32))
    return Office(
        chambers=chambers,
        directory=placed.directory,
        lawbook=lawbook(),
        trust=trust,
        provider_entities=frozenset({Jurisdiction("IE"), Jurisdiction("US")}),
        seat=served[0].code,
        clock=clock,
        gateways={GERMANY.code: "https://de.gateway.test"},
        terms=terms or Terms(),
    )


@contextlib.asynccontextmanager
async def gateway(
    settle: Settle,
    *,
    regions: Sequence[Region] = (IRELAND, GERMANY),
    serves: Sequence[Region] | None = None,
    terms: Terms | None = None,
    trust: Any = None,
    deadline: float = 2.0,
    standing: Callable[[], AbstractAsyncContextManager[World]] | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway seated in the first region served; ina asks, art and bea approve, cleared for all of them.

    `standing` gives the regions in place of fresh ones on moto behind fault proxies.
    """
    served = tuple(serves or regions)
    clock = MovableClock(NOW)
    async with contextlib.AsyncExitStack() as stack:
        ground = standing() if standing else world(settle, regions, deadline=deadline)
        placed = await stack.enter_async_context(ground)
        await placed.directory.create(AOIFE, IRELAND.code, display_name="Aoife Byrne")
        if GERMANY in regions:
            await placed.directory.create(BORIS, GERMANY.code)
        office = await open_office(stack, placed, served, clock, terms, trust or usual_trust, deadline)
        client = await stack.enter_async_context(TestClient(_Served(make_app(office), host="127.0.0.1")))
        built = Gateway(placed, office, clock, client)
        await built.employ("ina", [Role.INTAKE], served)
        await built.employ("art", [Role.APPROVER], served)
        await built.employ("bea", [Role.APPROVER], served)
        yield built
