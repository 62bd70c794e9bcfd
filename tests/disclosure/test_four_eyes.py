"""Four eyes are two people's: whatever credentials one of them has, and whatever else happens meanwhile."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from multidict import CIMultiDict

from gateway.disclosure.app import make_app, make_runner
from gateway.disclosure.attempt import Attempt
from gateway.disclosure.desk import DESK
from gateway.disclosure.oidc import IssuerSettings
from gateway.disclosure.tls import GatewayTls, RenewedContext
from policy.clearance import Role
from policy.trust import spki_sha256
from storage.audit.entry import Event
from storage.operators import HeldKey, OperatorRecord, OperatorRegister, Subject, Token
from tests.console.eyes import SAME, signed_in
from tests.disclosure.desk import GERMANY, IRELAND, NOW, Answer, Gateway, order
from tests.disclosure.test_oidc import AUDIENCE, Idp, issuing
from tests.disclosure.test_preservation import german
from tests.disclosure.test_tls import Holder, holder
from tests.policy import pki

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORDS = "what only Ireland may know"


@dataclass
class Door:
    """The gateway over TLS, where people come with tokens, certificates and from elsewhere."""

    desk: Gateway
    idp: Idp
    authority: Holder
    where: Path
    url: str

    async def employ(self, credential: Token | Subject | HeldKey, called: str, *roles: Role) -> None:
        kept = credential.hash() if isinstance(credential, Token) else credential.kept
        record = OperatorRecord(
            credential.id, called, frozenset(roles), frozenset({IRELAND.code}), kept, NOW,
            NOW + timedelta(days=90), hint=credential.hint,
        )  # fmt: skip
        await OperatorRegister(self.desk.chamber().vault).add(record)

    async def ask(self, who: Token | str | Holder, method: str, path: str, **body: Any) -> Answer:
        """With a token, a sign-in elsewhere (by its `sub`), or a certificate."""
        context = ssl.create_default_context(cafile=self.authority.cert)
        headers = {}
        match who:
            case Token():
                headers["Authorization"] = f"Bearer {who.text}"
            case str():
                headers["Authorization"] = f"Bearer {self.idp.token(sub=who)}"
            case Holder():
                context.load_cert_chain(who.cert, who.key)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, ssl=context, headers=headers, **body) as reply,
        ):
            return Answer(reply.status, CIMultiDict(reply.headers), await reply.read())


@pytest_asyncio.fixture(loop_scope="module")
async def door(desk: Gateway, tmp_path: Path) -> AsyncIterator[Door]:
    authority = holder(tmp_path, "authority")
    server = holder(tmp_path, "server", authority)
    async with issuing() as idp:
        office = replace(desk.office, oidc=IssuerSettings(idp.issuer, AUDIENCE))
        runner = make_runner(make_app(office))
        await runner.setup()
        try:
            context = RenewedContext.of(GatewayTls(server.cert, server.key, authority.cert))
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            yield Door(desk, idp, authority, tmp_path, f"https://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()


@dataclass
class Wearer:
    """One person with three credentials, each with a record of its own under another spelling of one name."""

    token: Token
    subject: str
    certificate: Holder

    @property
    def hats(self) -> dict[str, Token | str | Holder]:
        return {"token": self.token, "sign-in": self.subject, "certificate": self.certificate}


async def wearer(door: Door, number: str, *roles: Role) -> Wearer:
    made = Wearer(Token.new(), f"sub-{number}", holder(door.where, f"o{number}", door.authority))
    held = HeldKey(spki_sha256(made.certificate.certificate))
    await door.employ(made.token, f"Siobhán O'Brien-Ó {number}", *roles)
    await door.employ(
        Subject(door.idp.issuer, made.subject), f" SIOBHÁN  O\u2019BRIEN\u2010Ó {number}", *roles
    )
    await door.employ(held, f"Siobha\u0301n\u034f O\u02bcBrien-Ó {number}\ufe0f", *roles)
    return made


async def test_three_credentials_are_one_pair_of_eyes(door: Door) -> None:
    """Brought with one, approved or rejected with none of the others; and a second person may."""
    person = await wearer(door, "1", Role.INTAKE, Role.APPROVER)
    for brought in person.hats.values():
        body = {"order": order(), "requested": ["content"]}
        asked = await door.ask(brought, "POST", "/v1/disclosures", json=body)
        assert asked.status == 201, asked.body
        path = f"/v1/disclosures/{asked.json['id']}"
        for hat, who in person.hats.items():
            for verb in ("approve", "reject"):
                answer = await door.ask(who, "POST", f"{path}:{verb}")
                assert (answer.status, answer.problem) == (403, "same-person"), hat
        assert (await door.desk.ask("POST", f"{path}:reject", "art")).status == 200


async def test_three_credentials_release_no_hold(door: Door) -> None:
    person = await wearer(door, "2", Role.CUSTODIAN)
    body = {"address": "aoife@example.ie", "basis": {"litigation": "4 HC 12"}}
    placed = await door.ask(person.token, "POST", "/v1/holds", json=body)
    assert placed.status == 201, placed.body
    path = f"/v1/holds/{placed.json['id']}:release"
    proposed = await door.ask(person.subject, "POST", path, json={"reason": "over"})
    assert proposed.status == 200, proposed.body
    for hat, who in person.hats.items():
        answer = await door.ask(who, "POST", path, json={"reason": "over"})
        assert (answer.status, answer.problem) == (403, "same-person"), hat


async def test_what_the_issuer_calls_somebody_makes_nobody_of_them(door: Door) -> None:
    """A `sub` that is another's name, record id, key or token is a stranger's: four eyes go by the record."""
    person = await wearer(door, "3", Role.APPROVER)
    for sub in ("art", "ina", person.token.id, person.token.text, "tls sha256:" + "0" * 64):
        assert (await door.ask(sub, "GET", "/v1/disclosures")).status == 401, sub


@pytest.mark.parametrize(
    "header",
    ['["alg"]', '{"alg":"ES256","crit":5}', '{"alg":"ES256","kid":"\\ud800"}', "[" * 300],
    ids=["a list", "crit", "half a character", "deep"],
)
async def test_a_strangers_header_is_a_401_and_an_entry_and_no_fault_of_ours(door: Door, header: str) -> None:
    forged = f"{pki.b64(header)}.{pki.b64('{}')}.{pki.b64(b'x' * 64)}"
    context = ssl.create_default_context(cafile=door.authority.cert)
    sent = {"Authorization": f"Bearer {forged}"}
    url = f"{door.url}/v1/disclosures"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context, headers=sent) as reply:
        answer = Answer(reply.status, CIMultiDict(reply.headers), await reply.read())
    assert (answer.status, answer.problem) == (401, "unauthenticated")
    assert answer.json["audit"]["region"] == "eu-west-1"


async def test_an_order_that_lapses_while_its_approval_drips_in_has_lapsed(
    desk: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body may take its time; the moment that counts is the one at which it was whole."""
    lapses = int((NOW + timedelta(hours=1)).timestamp())
    asked = (await desk.present(order(exp=lapses))).json["id"]
    begun, go_on = asyncio.Event(), asyncio.Event()
    office = desk.app[DESK]
    attempt = office.attempt

    def beginning() -> Attempt:
        begun.set()
        return attempt()

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await go_on.wait()
        yield b"}"

    desk.clock.now = NOW + timedelta(minutes=59)
    monkeypatch.setattr(office, "attempt", beginning)
    try:
        approving = asyncio.create_task(
            desk.approve(asked, data=drip(), headers={"Content-Type": "application/json"})
        )
        await begun.wait()
        desk.clock.now = NOW + timedelta(hours=1)
        go_on.set()
        answer = await approving
        assert (answer.status, answer.problem, answer.json["disclosure_status"]) == (409, "state", "Expired")
    finally:
        desk.clock.now = NOW


async def test_an_objection_that_races_an_approval_leaves_one_state_that_the_log_explains(
    desk: Gateway,
) -> None:
    """Reg. (EU) 2023/1543 Art. 12: whoever comes second is told so, or speaks of what the first has left."""
    for _ in range(3):
        asked = (await desk.present(german("eu.epoc"))).json["id"]
        path = f"/v1/disclosures/{asked}"
        objection = {"enforcing_authority": "objected", "note": "immunity"}
        approved, objected = await asyncio.gather(
            desk.approve(asked), desk.ask("POST", f"{path}:answer", json=objection)
        )
        status = (await desk.ask("GET", path)).json["status"]
        events = [entry.event for entry in await desk.log() if entry.disclosure == asked]
        assert {approved.status, objected.status} <= {200, 409}
        assert status == ("Cancelled" if objected.status == 200 else "AwaitingDisclosure")
        assert 200 in (approved.status, objected.status)
        for answer, event in (
            (approved, Event.DISCLOSURE_APPROVED),
            (objected, Event.DISCLOSURE_CANCELLED),
        ):
            assert event in events if answer.status == 200 else Event.ATTEMPT_FAILED in events
        assert Event.DISCLOSURE_RELEASED not in events


BODIES: dict[str, dict[str, object]] = {
    ":answer": {"enforcing_authority": "cleared"},
    ":confirm": {"production": "DC-1"},
    ":prolong": {"until": (NOW + timedelta(days=400)).isoformat()},
    ":release": {"reason": "over"},
}
FORMS: dict[str, dict[str, str]] = {
    "approve": {"decision": "sha256:" + "0" * 64},
    "answer": {"enforcing_authority": "cleared"},
    "release": {"reason": "over"},
}
# Open to anybody, and the way out of the session that asks.
ASIDE = ("/checkpoint", "/{tile}", "/static/{name}", "/sign-out")


async def test_whoever_is_cleared_for_germany_finds_nothing_irish_by_any_route(desk: Gateway) -> None:
    """Every route that there is, and will be, with an Irish id in it; and each list, and each page."""
    roles = (Role.INTAKE, Role.APPROVER, Role.CUSTODIAN, Role.AUDITOR)
    await desk.employ("gerd", roles, [GERMANY])
    await desk.employ("cora", [Role.CUSTODIAN], [IRELAND])
    disclosure = await desk.granted(order(matter=WORDS, categories=["subscriber"]), ["subscriber"])
    body = {"address": "aoife@example.ie", "basis": {"litigation": WORDS}, "matter": WORDS}
    hold = await desk.ask("POST", "/v1/holds", "cora", json=body)
    held = hold.json["id"]
    orders = (await desk.ask("GET", "/v1/orders")).json["orders"]
    (brought,) = [each["id"] for each in orders if each["matter"] == WORDS]
    irish = {"order": brought, "region": "eu-west-1", "index": "0", "part": "decision.json", "version": "1"}
    session = await signed_in(desk, "gerd")
    shown = await desk.ask("GET", "/console/disclosures", None, headers=session)
    csrf = re.search(r'name="csrf" value="([^"]+)"', shown.body.decode())
    assert csrf is not None
    before = await desk.ask("GET", f"/v1/disclosures/{disclosure}")
    bodies = BODIES | {":validate": {"order": order()}}
    asked = 0
    for route in desk.app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        named = set(re.findall(r"{(\w+)}", path))
        if route.method not in ("GET", "POST") or path.endswith(ASIDE):
            continue
        assert named <= {"id", *irish}, f"{path}: what would be Irish here?"
        url = path.format(**irish, id=held if "/holds/" in path else disclosure)
        if path.startswith("/console"):
            filled = {"csrf": csrf.group(1)} | FORMS.get(path.rpartition("/")[2], {})
            form = filled if route.method == "POST" else None
            answer = await desk.ask(
                route.method, url, None, headers=session | SAME, data=form, allow_redirects=False
            )
        else:
            sent = bodies.get(path[path.rfind(":") :], {}) if route.method == "POST" else None
            answer = await desk.ask(route.method, url, "gerd", json=sent)
        assert WORDS.encode() not in answer.body, path
        assert answer.status < 500, path
        if named:
            asked += 1
            # A form is understood before anything is looked for; nothing is changed by it either.
            misread = path.startswith("/console") and route.method == "POST" and answer.status == 422
            assert misread or answer.status in (403, 404), (path, answer.status, answer.body)
    assert asked > 20
    assert (await desk.ask("GET", f"/v1/disclosures/{disclosure}")).body == before.body
    assert (await desk.ask("GET", f"/v1/holds/{held}", "cora")).json == hold.json
