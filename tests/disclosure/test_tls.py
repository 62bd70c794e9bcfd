"""The gateway's own TLS: a key that an operator has proven to hold counts in place of a token."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.disclosure.app import make_app, make_runner
from gateway.disclosure.tls import GatewayTls, RenewedContext
from gateway.ingress.tls import BadCertificate
from policy.clearance import Role
from policy.trust import spki_sha256
from storage.operators import HeldKey, OperatorRecord, OperatorRegister
from tests.disclosure.desk import IRELAND, Gateway, gateway
from tests.engines import Settle


@dataclass(frozen=True)
class Holder:
    """A certificate and its key, as PEM files."""

    certificate: x509.Certificate
    cert: Path
    key: Path


def holder(
    where: Path,
    name: str,
    issuer: Holder | None = None,
    *,
    called: str | None = None,
    since: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    until: datetime = datetime(2049, 1, 1, tzinfo=UTC),
    usages: tuple[x509.ObjectIdentifier, ...] = (
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ),
) -> Holder:
    """Somebody's certificate: a CA's own, or one that it has signed. `called`: its common name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called or name)])
    signer = key
    if issuer is not None:
        found = load_pem_private_key(issuer.key.read_bytes(), None)
        assert isinstance(found, ec.EllipticCurvePrivateKey)
        signer = found
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    made = builder.sign(signer, hashes.SHA256())
    cert_path, key_path = where / f"{name}.pem", where / f"{name}.key"
    cert_path.write_bytes(made.public_bytes(Encoding.PEM))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Holder(made, cert_path, key_path)


@asynccontextmanager
async def served(desk: Gateway, tls: GatewayTls) -> AsyncIterator[str]:
    runner = make_runner(make_app(desk.office))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=RenewedContext.of(tls)).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/v1/disclosures"
    finally:
        await runner.cleanup()


async def asked(url: str, authority: Holder, client: Holder | None, token: str | None = None) -> int:
    context = ssl.create_default_context(cafile=authority.cert)
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context, headers=headers) as reply:
        return reply.status


async def test_a_client_certificate_counts_for_whom_a_record_names(settle: Settle, tmp_path: Path) -> None:
    authority, strangers = holder(tmp_path, "authority"), holder(tmp_path, "strangers")
    server, kay = holder(tmp_path, "server", authority), holder(tmp_path, "kay", authority)
    eve, mallory = holder(tmp_path, "eve", authority), holder(tmp_path, "mallory", strangers)
    async with gateway(settle, regions=(IRELAND,)) as desk:
        await employ(desk, kay)
        async with served(desk, GatewayTls(server.cert, server.key, authority.cert)) as url:
            assert await asked(url, authority, kay) == 200
            assert await asked(url, authority, eve) == 401  # certified, and nobody's record
            assert await asked(url, authority, None) == 401
            assert await asked(url, authority, None, desk.tokens["ina"]) == 200
            assert await asked(url, authority, kay, "nonsense") == 401  # what is said out loud comes first
            with pytest.raises(aiohttp.ClientError):
                await asked(url, authority, mallory)
        async with served(desk, GatewayTls(server.cert, server.key, None)) as url:
            assert await asked(url, authority, kay) == 401  # nobody asked for it, so nothing was proven


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, missing: str) -> None:
    server = holder(tmp_path, "server")
    files = {"certificate": server.cert, "key": server.key, "client_ca": server.cert}
    files[missing] = tmp_path / "nowhere.pem"
    with pytest.raises(BadCertificate, match=r"nowhere\.pem"):
        GatewayTls(**files).context()
    files[missing] = tmp_path / "empty.pem"
    files[missing].write_text("")
    with pytest.raises(BadCertificate, match=r"empty\.pem"):
        GatewayTls(**files).context()


async def test_the_console_signs_in_with_a_certificate_and_each_page_asks_for_it_again(
    settle: Settle, tmp_path: Path
) -> None:
    authority = holder(tmp_path, "authority")
    server, kay, eve = (holder(tmp_path, name, authority) for name in ("server", "kay", "eve"))
    async with gateway(settle, regions=(IRELAND,)) as desk:
        await employ(desk, kay)
        async with served(desk, GatewayTls(server.cert, server.key, authority.cert)) as url:
            console = url.replace("/v1/disclosures", "/console")
            asked = "Sign in with the certificate"
            assert asked in (await _page(f"{console}/sign-in", authority, kay))[1]
            assert asked not in (await _page(f"{console}/sign-in", authority, None))[1]
            for refused in (eve, None):
                status, _, cookie = await _page(f"{console}/sign-in", authority, refused, sign_in=True)
                assert (status, cookie) == (401, "")
            status, _, cookie = await _page(f"{console}/sign-in", authority, kay, sign_in=True)
            assert status == 303
            assert cookie.startswith("__Host-situs-console=")
            for who, expected in ((kay, 200), (eve, 401), (None, 401)):
                assert (await _page(f"{console}/disclosures", authority, who, cookie))[0] == expected
            # Neither the certificate by itself nor a form that asks for nothing signs anybody in.
            assert (await _page(f"{console}/disclosures", authority, kay))[0] == 401
            assert (await _page(f"{console}/sign-in", authority, kay, sign_in=True, form={"x": "y"}))[
                0
            ] == 401


async def employ(desk: Gateway, someone: Holder, *, lasts: timedelta = timedelta(days=1)) -> HeldKey:
    """Kay, of the intake, by the key of that certificate."""
    held, now = HeldKey(spki_sha256(someone.certificate)), desk.clock()
    roles, regions = frozenset({Role.INTAKE}), frozenset({IRELAND.code})
    record = OperatorRecord(held.id, "Kay", roles, regions, held.kept, now, now + lasts)
    await OperatorRegister(desk.chamber().vault).add(record)
    return held


async def _page(
    url: str,
    authority: Holder,
    client: Holder | None,
    cookie: str = "",
    *,
    sign_in: bool = False,
    form: dict[str, str] | None = None,
) -> tuple[int, str, str]:
    """Status, page and cookie, on a connection of its own."""
    context = ssl.create_default_context(cafile=authority.cert)
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    headers = {"Sec-Fetch-Site": "same-origin"} | ({"Cookie": cookie} if cookie else {})
    data = (form or {"certificate": "yes"}) if sign_in else None
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.request(
            "POST" if sign_in else "GET", url, ssl=context, headers=headers, data=data, allow_redirects=False
        ) as reply,
    ):
        set_cookie = reply.headers.get("Set-Cookie", "").partition(";")[0]
        return reply.status, await reply.text(), set_cookie if not set_cookie.endswith('=""') else ""
