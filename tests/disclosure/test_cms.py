"""What is enveloped for an authority opens with `openssl cms -decrypt`, and for nobody else."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import cms as asn1_cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.disclosure.cms import CannotReceive, Recipient, envelope

NOW = datetime(2026, 11, 24, tzinfo=UTC)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
KEYS: dict[str, Key] = {
    "RSA-2048": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
}


def certificate(key: Key, *, until: datetime = NOW + timedelta(days=1)) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "District Court, Áth Cliath")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0x80 << 120)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(until)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )


def opened(sealed: bytes, kind: str, where: Path) -> subprocess.CompletedProcess[bytes]:
    """Decrypt with openssl alone, as the holder of that key."""
    key = KEYS[kind]
    (where / "cert.pem").write_bytes(certificate(key).public_bytes(Encoding.PEM))
    (where / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (where / "part").write_bytes(sealed)
    command = "openssl cms -decrypt -inform DER -binary -in part -recip cert.pem -inkey key.pem"
    return subprocess.run(command.split(), cwd=where, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 111, 112, 127, 128, 65_519, 65_520, 65_536, 3_000_001])
def test_openssl_opens_it_octet_for_octet(kind: str, size: int, tmp_path: Path) -> None:
    # Sizes around a block, and around the lengths where a DER length takes one octet more.
    plaintext = bytes(range(256)) * (size // 256 + 1)
    recipient = Recipient(certificate(KEYS[kind]), NOW)
    done = opened(envelope(plaintext[:size], recipient), kind, tmp_path)
    assert (done.returncode, done.stdout) == (0, plaintext[:size]), done.stderr


@pytest.mark.parametrize("kind", KEYS)
def test_nobody_else_opens_it(kind: str, tmp_path: Path) -> None:
    other = next(each for each in KEYS if each != kind)
    done = opened(envelope(b"in confidence", Recipient(certificate(KEYS[kind]), NOW)), other, tmp_path)
    assert done.returncode != 0
    assert b"in confidence" not in done.stdout


@settings(max_examples=40, deadline=None)
@given(plaintext=st.binary(max_size=400))
def test_it_is_der_and_nothing_of_the_plaintext_shows(plaintext: bytes) -> None:
    sealed = envelope(plaintext, Recipient(certificate(KEYS["P-256"]), NOW))
    parsed = asn1_cms.ContentInfo.load(sealed, strict=True)
    assert parsed.dump(force=True) == sealed
    info = parsed["content"]["encrypted_content_info"]
    assert info["content_encryption_algorithm"]["algorithm"].native == "aes256_cbc"
    assert len(info["encrypted_content"].native) == len(plaintext) // 16 * 16 + 16
    assert len(plaintext) < 8 or plaintext not in sealed


def test_the_same_plaintext_never_looks_the_same() -> None:
    recipient = Recipient(certificate(KEYS["P-256"]), NOW)
    assert envelope(b"twice", recipient) != envelope(b"twice", recipient)


@pytest.mark.parametrize(
    ("key", "until", "rule"),
    [
        (ed25519.Ed25519PrivateKey.generate(), NOW + timedelta(days=1), "RSA key of at least 2048"),
        (rsa.generate_private_key(65537, 1024), NOW + timedelta(days=1), "RSA key of at least 2048"),
        (ec.generate_private_key(ec.SECP521R1()), NOW + timedelta(days=1), "P-256 or P-384"),
        (KEYS["P-256"], NOW - timedelta(seconds=1), "not valid now"),
    ],
    ids=["Ed25519", "RSA-1024", "P-521", "expired"],
)
def test_a_certificate_that_cannot_receive_is_refused_by_its_rule(
    key: Key, until: datetime, rule: str
) -> None:
    with pytest.raises(CannotReceive, match=rule):
        Recipient(certificate(key, until=until), NOW)


@pytest.mark.parametrize("pem", ["", "not a certificate", "two"])
def test_deliver_to_is_one_pem_certificate(pem: str) -> None:
    one = certificate(KEYS["P-256"]).public_bytes(Encoding.PEM).decode()
    with pytest.raises(CannotReceive, match="one PEM certificate"):
        Recipient.from_pem(one + one if pem == "two" else pem, NOW)
    assert Recipient.from_pem(one, NOW).fingerprint.startswith("sha256:")
