"""Signing in elsewhere: tokens of a real OpenID Connect issuer, which the tests start on loopback."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from gateway.disclosure.authentication import Authentication, Presented, Unauthenticated
from gateway.disclosure.oidc import Issuer, IssuerSettings
from policy.clearance import Role
from policy.geography import RegionCode
from storage.errors import AlreadyExists, Unavailable
from storage.operators import HeldKey, OperatorRecord, OperatorRegister, Subject
from tests.disclosure.desk import MovableClock
from tests.disclosure.documents import Documents
from tests.policy import pki
from tests.policy.pki import NOW

IE = RegionCode("eu-west-1")
AUDIENCE = "situs-gateway"
Key = RSAKey | ECKey | OKPKey


@dataclass
class Idp:
    """An issuer: discovery, key set, and tokens as they should be or as a test bends them.

    `beside`: what stands among its keys besides; `instead`: the body of one of its answers; `moved`: where
    every question is sent to; `waits`: what each answer waits for, and `asked` is set when a question comes.
    """

    server: BaseTestServer | None = None
    keys: list[Key] = field(default_factory=lambda: [ECKey.generate_key("P-256", {"kid": "one"})])
    calls: list[str] = field(default_factory=list)
    down: bool = False
    bent: dict[str, Any] = field(default_factory=dict)
    beside: list[object] = field(default_factory=list)
    instead: dict[str, bytes] = field(default_factory=dict)
    moved: str | None = None
    waits: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def issuer(self) -> str:
        assert self.server is not None
        return str(self.server.make_url("/realm"))

    async def discovery(self, request: web.Request) -> web.Response:
        return await self._answer(
            request, {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"} | self.bent
        )

    async def key_set(self, request: web.Request) -> web.Response:
        public = KeySet(list(self.keys)).as_dict(private=False)
        return await self._answer(request, {"keys": [*self.beside, *public["keys"]]})

    async def _answer(self, request: web.Request, document: dict[str, Any]) -> web.Response:
        self.calls.append(request.path)
        self.asked.set()
        if self.waits is not None:
            await self.waits.wait()
        if self.moved is not None:
            return web.Response(status=302, headers={"Location": self.moved})
        if self.down:
            return web.Response(status=503)
        body = self.instead.get(request.path.rpartition("/")[2], json.dumps(document).encode())
        return web.Response(body=body, content_type="application/json")

    def token(self, key: Key | None = None, *, alg: str = "ES256", **changes: Any) -> str:
        key = key or self.keys[0]
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "ina@idp",
            "iat": int(NOW.timestamp()),
            "exp": int((NOW + timedelta(minutes=5)).timestamp()),
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": key.kid}, claims, key, algorithms=[alg])


@asynccontextmanager
async def issuing() -> AsyncIterator[Idp]:
    """An issuer that listens."""
    made = Idp()
    app = web.Application()
    app.router.add_get("/realm/.well-known/openid-configuration", made.discovery)
    app.router.add_get("/realm/keys", made.key_set)
    async with TestServer(app, host="127.0.0.1") as server:
        made.server = server
        yield made


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    async with issuing() as made:
        yield made


@dataclass
class Gate:
    clock: MovableClock
    register: OperatorRegister
    authentication: Authentication

    async def knock(self, token: str) -> str:
        asker = await self.authentication.authenticate(Presented(f"Bearer {token}"))
        return asker.cleared(Role.INTAKE, IE).operator.name


def record_of(credential: Subject | HeldKey) -> OperatorRecord:
    regions, roles = frozenset({IE}), frozenset({Role.INTAKE})
    return OperatorRecord(
        credential.id, "Ína", roles, regions, credential.kept, NOW, NOW + timedelta(days=90)
    )


@pytest.fixture
async def gate(idp: Idp) -> Gate:
    clock, register = MovableClock(NOW), OperatorRegister(Documents())
    issuer = Issuer(IssuerSettings(idp.issuer, AUDIENCE), clock)
    await register.add(record_of(Subject(idp.issuer, "ina@idp")))
    return Gate(clock, register, Authentication({IE: register}, clock, issuer=issuer))


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (ECKey.generate_key("P-256", {"kid": "ec"}), "ES256"),
        (RSAKey.generate_key(2048, {"kid": "rsa"}), "RS256"),
        (RSAKey.generate_key(2048, {"kid": "pss"}), "PS256"),
        (OKPKey.generate_key("Ed25519", {"kid": "ed"}), "Ed25519"),
    ],
    ids=["ES256", "RS256", "PS256", "Ed25519"],
)
async def test_somebody_whom_the_issuer_knows_is_who_the_record_says(
    idp: Idp, gate: Gate, key: Key, alg: str
) -> None:
    idp.keys = [key]
    assert await gate.knock(idp.token(alg=alg)) == "ína"


async def test_an_issuer_with_much_to_say_of_itself_is_heard_to_the_end(idp: Idp, gate: Gate) -> None:
    idp.bent = {"scopes_supported": ["x" * 200_000]}  # more than one packet brings
    assert await gate.knock(idp.token()) == "ína"


async def test_somebody_without_a_record_is_nobody(idp: Idp, gate: Gate) -> None:
    with pytest.raises(Unauthenticated):
        await gate.knock(idp.token(sub="eve@idp"))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://127.0.0.1:1/other"},
        {"aud": "another-client"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"exp": None},
        {"exp": int((NOW - timedelta(minutes=1)).timestamp())},
        {"nbf": int((NOW + timedelta(minutes=5)).timestamp())},
        {"iat": int((NOW + timedelta(minutes=5)).timestamp())},
    ],
    ids=lambda changes: "-".join(changes),
)
async def test_a_token_that_is_not_for_us_now_is_nobodys(
    idp: Idp, gate: Gate, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        await gate.knock(idp.token(**changes))


async def test_a_forged_token_is_nobodys(idp: Idp, gate: Gate) -> None:
    stranger = ECKey.generate_key("P-256", {"kid": "one"})
    head, payload, _ = idp.token().split(".")
    shared = pki.b64('{"alg":"HS256","kid":"one"}')  # the public key as a shared secret
    secret = idp.keys[0].as_pem(private=False)
    mac = pki.b64(hmac.digest(secret, f"{shared}.{payload}".encode(), "sha256"))
    for forged in (
        idp.token(stranger),
        f"{shared}.{payload}.{mac}",
        f"eyJhbGciOiJub25lIn0.{payload}.",
        f"{head}.{payload}.",
        f"{head}.{payload}.AAAA",
        "a.b.c",
        "..",
    ):
        with pytest.raises(Unauthenticated):
            await gate.knock(forged)


async def test_keys_are_fetched_once_and_again_when_they_rotate(idp: Idp, gate: Gate) -> None:
    await gate.knock(idp.token())
    await gate.knock(idp.token())
    assert len(idp.calls) == 2
    idp.keys = [ECKey.generate_key("P-256", {"kid": "two"})]
    gate.clock.advance(seconds=30)
    assert await gate.knock(idp.token()) == "ína"
    assert len(idp.calls) == 4


async def test_invented_key_ids_fetch_nothing_more(idp: Idp, gate: Gate) -> None:
    await gate.knock(idp.token())
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await gate.knock(idp.token(ECKey.generate_key("P-256", {"kid": f"x{number}"})))
    assert len(idp.calls) == 2


async def test_while_the_issuer_is_down_its_keys_serve_for_an_hour(idp: Idp, gate: Gate) -> None:
    await gate.knock(idp.token())
    idp.down = True
    gate.clock.advance(minutes=59)
    assert await gate.knock(idp.token(exp=int((NOW + timedelta(hours=2)).timestamp()))) == "ína"
    gate.clock.advance(minutes=2)
    with pytest.raises(Unavailable):
        await gate.knock(idp.token(exp=int((NOW + timedelta(hours=2)).timestamp())))


@pytest.mark.parametrize(
    "bent",
    [
        {"issuer": "http://127.0.0.1:1/realm"},
        {"jwks_uri": "http://idp.example/keys"},
        {"jwks_uri": 5},
        {"jwks_uri": "http://127.0.0.1:1/keys"},
    ],
    ids=["another issuer", "in the clear", "no text", "nobody there"],
)
async def test_an_issuer_that_describes_itself_wrongly_vouches_for_nobody(
    idp: Idp, gate: Gate, bent: dict[str, Any]
) -> None:
    idp.bent = bent
    with pytest.raises(Unavailable):
        await gate.knock(idp.token())


@pytest.mark.parametrize("issuer", ["http://idp.example", "ftp://127.0.0.1", "idp.example", ""])
def test_an_issuer_is_reached_over_tls(issuer: str) -> None:
    with pytest.raises(ValueError, match="https is expected"):
        IssuerSettings(issuer, AUDIENCE)


async def test_a_clearance_that_has_ended_can_be_given_again_and_not_twice(gate: Gate, idp: Idp) -> None:
    subject = Subject(idp.issuer, "ina@idp")
    with pytest.raises(AlreadyExists):
        await gate.register.add(record_of(subject))
    await gate.register.revoke(subject.id, NOW)
    with pytest.raises(Unauthenticated):
        await gate.knock(idp.token())
    await gate.register.add(replace(record_of(subject), created=NOW + timedelta(seconds=1)))
    assert await gate.knock(idp.token()) == "ína"


async def test_a_proven_key_is_somebody_and_a_header_comes_first(gate: Gate) -> None:
    held = HeldKey("ab" * 32)
    await gate.register.add(record_of(held))
    asker = await gate.authentication.authenticate(Presented(None, held.spki))
    assert asker.name == "Ína"
    for presented in (Presented(None, "cd" * 32), Presented("Bearer x", held.spki), Presented(None)):
        with pytest.raises(Unauthenticated):
            await gate.authentication.authenticate(presented)


async def test_a_record_of_one_kind_is_no_proof_of_another(gate: Gate, idp: Idp) -> None:
    """The record's own words, sent as a token's secret or a subject, open nothing."""
    held = HeldKey("ab" * 32)
    await gate.register.add(replace(record_of(held), id=Subject(idp.issuer, "mallory").id))
    with pytest.raises(Unauthenticated):
        await gate.knock(idp.token(sub="mallory"))
