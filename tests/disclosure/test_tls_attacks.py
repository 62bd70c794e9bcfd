"""Certificates that must not count, connections that outlive what let them in, and renewal under way."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs
from yarl import URL

from gateway.disclosure.tls import GatewayTls
from policy.trust import spki_sha256
from storage.operators import HeldKey, OperatorRegister
from tests.disclosure.desk import NOW, Gateway
from tests.disclosure.test_tls import Holder, asked, employ, holder, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)


@dataclass
class House:
    """A gateway that asks for certificates of `authority`; kay's is one, and names an operator."""

    desk: Gateway
    authority: Holder
    tls: GatewayTls
    kay: Holder
    url: str
    where: Path

    async def knock(self, client: Holder) -> int | None:
        """The status for who shows that certificate; None where the handshake ends it."""
        try:
            return await asked(self.url, self.authority, client)
        except (aiohttp.ClientError, ssl.SSLError):
            return None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Callable[[], aiohttp.client._RequestContextManager]]:
        """One connection of kay's, for as long as it is used."""
        context = ssl.create_default_context(cafile=self.authority.cert)
        context.load_cert_chain(self.kay.cert, self.kay.key)
        connector = aiohttp.TCPConnector(limit=1, ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield lambda: session.get(self.url)


@pytest_asyncio.fixture(loop_scope="module")
async def house(desk: Gateway, tmp_path: Path) -> AsyncIterator[House]:
    """With an authority, a certificate and files of its own; the clock goes back to where it was."""
    authority = holder(tmp_path, "authority")
    server, kay = holder(tmp_path, "server", authority), holder(tmp_path, "kay", authority)
    vouching = tmp_path / "operators.pem"
    shutil.copy(authority.cert, vouching)
    tls = GatewayTls(server.cert, server.key, vouching)
    async with served(desk, tls) as url:
        await employ(desk, kay, lasts=timedelta(days=10_000))
        yield House(desk, authority, tls, kay, url, tmp_path)
    desk.clock.now = NOW


async def test_a_handshake_lets_in_who_was_certified_for_this_and_now(house: House) -> None:
    def made(name: str, issuer: Holder | None, **how: object) -> Holder:
        return holder(house.where, name, issuer, called="kay", **how)  # type: ignore[arg-type]

    others = holder(house.where, "others", called="authority")  # the same name, and another key
    refused = {
        "another authority's": made("strange", others),
        "its own": made("selfsigned", None),
        "expired": made("expired", house.authority, since=PAST, until=PAST + timedelta(days=1)),
        "not yet valid": made("early", house.authority, since=FUTURE - timedelta(days=1), until=FUTURE),
        "a server's": made("aserver", house.authority, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "a mail signer's": made("smime", house.authority, usages=(ExtendedKeyUsageOID.EMAIL_PROTECTION,)),
        "issued by an operator": made("minted", house.kay),
    }
    assert await house.knock(house.kay) == 200
    assert {why: await house.knock(each) for why, each in refused.items()} == dict.fromkeys(refused)


@pytest.mark.parametrize(
    "name",
    ["kay", "Kay", "kay\x00.example", "\u212aay", "kay\n", "CN=kay"],
    ids=["the same", "the record's", "NUL", "Kelvin sign", "line end", "a name in a name"],
)
async def test_what_a_certificate_calls_somebody_counts_for_nothing(house: House, name: str) -> None:
    """The record names a key. Certified by our own authority, under her own name, another key is nobody's."""
    assert await house.knock(holder(house.where, "eve", house.authority, called=name)) == 401
    assert await house.knock(house.authority) == 401  # nor is the authority itself an operator


async def test_a_certificate_in_a_header_is_a_text(house: House) -> None:
    """No proxy is configured, so whoever writes these is a client: over TLS, and on a door without it."""
    pem = house.kay.cert.read_text()
    der = house.kay.certificate.public_bytes(Encoding.DER)
    named = ("X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "SSL-Client-Cert", "X-SSL-Cert")
    headers = dict.fromkeys(named, pem.replace("\n", "")) | {
        "Client-Cert": f":{b64encode(der).decode()}:",  # RFC 9440 2.2
        "X-SSL-Client-Verify": "SUCCESS",
        "X-SSL-Client-S-DN": "CN=kay",
        "X-Forwarded-For": "127.0.0.1",
        "X-Remote-User": "Kay",
    }
    assert (await house.desk.ask("GET", "/v1/disclosures", None, headers=headers)).status == 401
    context = ssl.create_default_context(cafile=house.authority.cert)
    async with (
        aiohttp.ClientSession() as session,
        session.get(house.url, ssl=context, headers=headers) as reply,
    ):
        assert reply.status == 401


async def test_a_connection_outlives_its_certificate_and_is_nobodys_then(house: House) -> None:
    """The handshake looked once. A client that goes on asking would otherwise stay for ever."""
    async with house.connection() as ask:
        for moment, status in (
            (NOW, 200),
            (FUTURE - timedelta(seconds=1), 200),
            (FUTURE + timedelta(seconds=1), 401),
            (PAST - timedelta(seconds=1), 401),
        ):
            house.desk.clock.now = moment
            async with ask() as reply:
                assert reply.status == status, moment


async def test_a_connection_outlives_its_operator_by_fifteen_seconds(house: House) -> None:
    async with house.connection() as ask:
        async with ask() as reply:
            assert reply.status == 200
        register = OperatorRegister(house.desk.chamber().vault)
        await register.revoke(HeldKey(spki_sha256(house.kay.certificate)).id, NOW)
        house.desk.clock.advance(seconds=15)
        async with ask() as reply:
            assert reply.status == 401


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "status"),
    [(ssl.TLSVersion.TLSv1, None), (ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1_2, 200)],
    ids=["1.0", "1.1", "1.2"],
)
async def test_older_tls_is_not_spoken(house: House, version: ssl.TLSVersion, status: int | None) -> None:
    """RFC 8996. What is offered is the same but for the version."""
    context = client(house, version)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or the client itself would not try
    shaken = await tried(house, context)
    assert (shaken and shaken.status) == status


@dataclass
class Handshake:
    """What a client saw: the server's certificate, the answer's status, and how to go on from here."""

    certificate: bytes
    status: int
    session: ssl.SSLSession | None
    resumed: bool


def client(house: House, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Kay's side, of that version alone."""
    context = ssl.create_default_context(cafile=house.authority.cert)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(house.kay.cert, house.kay.key)
    return context


async def tried(
    house: House, context: ssl.SSLContext, before: ssl.SSLSession | None = None
) -> Handshake | None:
    """`shake_hands`; None where the server ends it, with an alert or without."""
    try:
        return await shake_hands(house, context, before)
    except (ssl.SSLError, ConnectionError):
        return None


async def shake_hands(
    house: House, context: ssl.SSLContext, before: ssl.SSLSession | None = None
) -> Handshake:
    """A connection and one request on it, going on with the session `before` where the server lets it."""
    return await asyncio.to_thread(_shake_hands, URL(house.url), context, before)


def _shake_hands(url: URL, context: ssl.SSLContext, before: ssl.SSLSession | None) -> Handshake:
    assert url.host is not None
    assert url.port is not None
    with (
        socket.create_connection((url.host, url.port), 30) as plain,
        context.wrap_socket(plain, server_hostname=url.host, session=before) as sock,
    ):
        certificate = sock.getpeercert(binary_form=True)
        assert certificate is not None
        sock.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
        if not answer:
            raise ConnectionError("closed without an answer")
        return Handshake(certificate, int(answer.split()[1]), sock.session, bool(sock.session_reused))


def take_over(tls: GatewayTls, other: Holder) -> None:
    """Another certificate in the files that stand in the configuration, as a renewal puts it there."""
    for new, old in ((other.cert, tls.certificate), (other.key, tls.key)):
        shutil.copy(new, old.with_suffix(".new"))
        old.with_suffix(".new").replace(old)


async def test_the_gateways_certificate_is_renewed_under_it(house: House) -> None:
    first = (await shake_hands(house, client(house))).certificate
    renewed = holder(house.where, "renewed", house.authority)
    async with house.connection() as ask:
        async with ask() as reply:
            assert reply.status == 200
        take_over(house.tls, renewed)
        shaken = await shake_hands(house, client(house))
        assert (shaken.certificate, shaken.status) == (renewed.certificate.public_bytes(Encoding.DER), 200)
        assert shaken.certificate != first
        async with ask() as reply:  # whoever was connected stays so
            assert reply.status == 200


@pytest.mark.parametrize("fault", ["the key of another", "no key", "no certificate", "no authority"])
async def test_a_renewal_that_went_half_way_closes_no_door(house: House, fault: str) -> None:
    first = (await shake_hands(house, client(house))).certificate
    renewed = holder(house.where, "renewed", house.authority)
    assert house.tls.client_ca is not None
    match fault:
        case "the key of another":
            shutil.copy(renewed.key, house.tls.key)
        case "no key":
            house.tls.key.unlink()
        case "no certificate":
            house.tls.certificate.write_text("")
        case _:
            house.tls.client_ca.write_text("")
    with capture_logs() as said:
        shaken = await shake_hands(house, client(house))
    assert (shaken.certificate, shaken.status) == (first, 200)
    assert [each["event"] for each in said if each["log_level"] == "error"] == [
        "certificate not usable, the last one stays"
    ]
    shutil.copy(house.authority.cert, house.tls.client_ca)
    take_over(house.tls, renewed)
    assert (await shake_hands(house, client(house))).certificate != first


async def test_an_authority_that_is_taken_out_certifies_nobody_from_then_on(house: House) -> None:
    """By name and by key: a new authority of the same name does not vouch for the old one's certificates."""
    assert house.tls.client_ca is not None
    successor = holder(house.where, "successor", called="authority")
    kim = holder(house.where, "kim", successor)
    await employ(house.desk, kim)
    assert (await house.knock(house.kay), await house.knock(kim)) == (200, None)
    shutil.copy(successor.cert, house.tls.client_ca)
    assert (await house.knock(house.kay), await house.knock(kim)) == (None, 200)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_session_from_before_is_not_gone_on_with(house: House, version: ssl.TLSVersion) -> None:
    """A resumed session shows no certificate anew: with it, one would count whose authority is gone."""
    assert house.tls.client_ca is not None
    context = client(house, version)
    first = await shake_hands(house, context)
    second = await shake_hands(house, context, first.session)
    assert (second.status, second.resumed) == (200, True)
    shutil.copy(holder(house.where, "successor").cert, house.tls.client_ca)
    assert await tried(house, context, first.session) is None
