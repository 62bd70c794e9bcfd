"""STARTTLS (RFC 3207), implicit TLS (RFC 8314), and a certificate that is renewed under way."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.ingress.limits import ListenerSettings
from gateway.ingress.tls import BadCertificate, Certificate
from tests.ingress.certificates import client_context, write_certificate
from tests.ingress.conftest import House, OpenDoor
from tests.ingress.transcripts import Peer

DELIVERY = """
    C: EHLO c
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250 CHUNKING
    C: MAIL FROM:<>
    S: 250 *
    C: RCPT TO:<aoife@example.ie>
    S: 250 *
    C: DATA
    S: 354 *
    C: .
    S: 250 2.6.0 *
"""


async def encrypted(house: House) -> tuple[Peer, ssl.SSLObject]:
    """A peer after STARTTLS, and what its side of TLS knows."""
    peer = await house.peer()
    await peer.play("S: 220 *\nC: STARTTLS\nS: 220 2.0.0 ready to start TLS")
    await peer.writer.start_tls(client_context())
    tls: ssl.SSLObject = peer.writer.get_extra_info("ssl_object")
    return peer, tls


async def test_starttls_is_offered_until_it_is_used(open_door: OpenDoor, tmp_path: Path) -> None:
    house = await open_door(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    peer, _ = await encrypted(house)
    async with peer:
        await peer.play(DELIVERY)
        await peer.play("C: STARTTLS\nS: 503 5.5.1 *\nC: QUIT\nS: 221 *\n-- closed")
    assert house.post.copies[0].envelope.protocol == "ESMTPS"


async def test_nothing_said_before_tls_counts_after_it(open_door: OpenDoor, tmp_path: Path) -> None:
    """RFC 3207 4.2."""
    house = await open_door(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    peer = await house.peer()
    async with peer:
        await peer.play("""
            S: 220 *
            C: HELO c
            S: 250 *
            C: MAIL FROM:<forged@example.ie>
            S: 250 *
            C: STARTTLS
            S: 220 2.0.0 ready to start TLS
        """)
        await peer.writer.start_tls(client_context())
        await peer.play(
            "C: RCPT TO:<aoife@example.ie>\nS: 503 5.5.1 *\nC: MAIL FROM:<>\nS: 503 5.5.1 say hello first"
        )


async def test_what_is_sent_behind_starttls_in_the_clear_ends_the_session(
    open_door: OpenDoor, tmp_path: Path
) -> None:
    """CVE-2011-0411: a command put behind STARTTLS by somebody on the path is never obeyed under TLS."""
    house = await open_door(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    async with await house.peer() as peer:
        await peer.play("""
            S: 220 *
            C: STARTTLS
            C: HELO attacker.example
            S: 554 5.5.1 *
            -- closed
        """)


async def test_a_handshake_that_fails_ends_the_session_and_no_other(
    open_door: OpenDoor, tmp_path: Path
) -> None:
    house = await open_door(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    async with await house.peer() as broken:
        await broken.play("S: 220 *\nC: STARTTLS\nS: 220 *")
        await broken.send(b"EHLO this is no TLS\r\n")
        await broken.closed()
    peer, _ = await encrypted(house)
    async with peer:
        await peer.play(DELIVERY)
    assert house.reception.admission.connected <= 1


async def test_a_door_may_demand_tls(open_door: OpenDoor, tmp_path: Path) -> None:
    settings = ListenerSettings(certificate=write_certificate(tmp_path), require_tls=True)
    house = await open_door(settings=settings)
    async with await house.peer() as peer:
        await peer.play("S: 220 *\nC: HELO c\nS: 250 *\nC: MAIL FROM:<>\nS: 530 5.7.0 *")
    peer, _ = await encrypted(house)
    async with peer:
        await peer.play(DELIVERY)


async def test_implicit_tls(open_door: OpenDoor, tmp_path: Path) -> None:
    settings = ListenerSettings(certificate=write_certificate(tmp_path), implicit_tls=True)
    house = await open_door(settings=settings)
    streams = await asyncio.open_connection("127.0.0.1", house.door.port, ssl=client_context())
    async with Peer(*streams) as peer:
        await peer.play("S: 220 *" + DELIVERY + "C: QUIT\nS: 221 *\n-- closed")


async def test_a_renewed_certificate_serves_the_next_handshake(open_door: OpenDoor, tmp_path: Path) -> None:
    house = await open_door(settings=ListenerSettings(certificate=write_certificate(tmp_path)))
    before, tls = await encrypted(house)
    first = tls.getpeercert(binary_form=True)
    files = write_certificate(tmp_path)
    after, tls = await encrypted(house)
    second = tls.getpeercert(binary_form=True)
    assert first != second
    files.certificate.write_text("half of a renewal")
    again, tls = await encrypted(house)
    assert tls.getpeercert(binary_form=True) == second
    for peer in (before, after, again):
        async with peer:
            await peer.play("C: NOOP\nS: 250 2.0.0 ok")


def test_a_certificate_that_cannot_be_used_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    files.certificate.write_text("no PEM")
    with pytest.raises(BadCertificate, match=r"cert\.pem .*a PEM certificate and its key are expected"):
        Certificate(files)
    files.certificate.unlink()
    with pytest.raises(BadCertificate, match=r"cert\.pem: No such file"):
        Certificate(files)


@pytest.mark.parametrize("door", ["mail", "gateway"])
def test_a_key_under_a_passphrase_is_refused_and_not_asked_for(tmp_path: Path, door: str) -> None:
    """OpenSSL would ask whoever sits at the terminal, and wait: at a start, and at each renewal."""
    files = write_certificate(tmp_path)
    key = load_pem_private_key(files.key.read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    make = (
        "Certificate(files)" if door == "mail" else "GatewayTls(files.certificate, files.key, None).context()"
    )
    script = (
        "from pathlib import Path\n"
        "from gateway.disclosure.tls import GatewayTls\n"
        "from gateway.ingress.limits import CertificateFiles\n"
        "from gateway.ingress.tls import BadCertificate, Certificate\n"
        f"files = CertificateFiles(Path({str(files.certificate)!r}), Path({str(files.key)!r}))\n"
        f"try:\n    {make}\nexcept BadCertificate as error:\n    print(error)\n"
    )
    # In a session of its own it has no terminal: then OpenSSL asks at standard error.
    asked = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, timeout=60,
    )  # fmt: skip
    assert "key.pem" in asked.stdout
    assert asked.stderr == ""


def test_tls_settings_without_a_certificate_are_refused() -> None:
    with pytest.raises(ValueError, match="need a certificate"):
        ListenerSettings(implicit_tls=True)
