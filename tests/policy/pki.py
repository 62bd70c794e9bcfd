"""Authorities for tests, in memory: built from the demo's certification authority, and bendable.

A `Realm` is one jurisdiction with a root and an issuing CA; `signer` makes an authority in it.
Keys are on P-256 unless a test asks for others; `trust` lists realms as a gateway would.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.demo.certificates import CertificateAuthority, PrivateKey
from policy.geography import Jurisdiction
from policy.jws import TYPE
from policy.keys import algorithms_for
from policy.order import IssuerRole, SignatureRole
from policy.signing import add_signature, sign_order
from policy.trust import spki_sha256
from policy.verification import Authority, JurisdictionTrust, Trust, VerifiedOrder, read_order, verify_order

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
MADE: Final = NOW - timedelta(days=30)  # when the realms' certificates were made

JUDGE: Final = frozenset({IssuerRole.JUDGE})
POLICE: Final = frozenset({IssuerRole.POLICE})


@dataclass(frozen=True)
class Signer:
    """An authority: its certificate, its key, and the chain below the anchor."""

    name: str
    roles: frozenset[IssuerRole]
    cert: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...]

    def listed(self) -> Authority:
        return Authority(self.name, spki_sha256(self.cert), self.roles)

    def sign(self, claims: Mapping[str, Any], role: SignatureRole = SignatureRole.ISSUE) -> str:
        return sign_order(claims, self.cert, self.key, self.chain, role)

    def add(self, order: str, role: SignatureRole) -> str:
        return add_signature(order, self.cert, self.key, self.chain, role)

    def header(self, role: SignatureRole = SignatureRole.ISSUE) -> dict[str, Any]:
        """The protected header as it should be, to be bent by a test."""
        return {
            "alg": min(algorithms_for(self.cert)),
            "typ": TYPE,
            "role": str(role),
            "x5c": [x5c(each) for each in (self.cert, *self.chain)],
        }


@dataclass(frozen=True)
class Realm:
    """One jurisdiction's root and issuing CA."""

    jurisdiction: Jurisdiction
    root: CertificateAuthority
    issuing: CertificateAuthority

    def signer(
        self,
        name: str,
        roles: frozenset[IssuerRole] = JUDGE,
        *,
        key: PrivateKey | None = None,
        issuing: CertificateAuthority | None = None,
        **bent: Any,
    ) -> Signer:
        key = key or ec.generate_private_key(ec.SECP256R1())
        ca = issuing or self.issuing
        return Signer(name, roles, ca.issue(name, key, MADE, **bent), key, (ca.certificate,))

    def crls(
        self, *, root: Iterable[x509.RevokedCertificate] = (), issuing: Iterable[x509.RevokedCertificate] = ()
    ) -> tuple[x509.CertificateRevocationList, ...]:
        return (self.root.revocation_list(NOW, root), self.issuing.revocation_list(NOW, issuing))

    def lists(
        self, *signers: Signer, crls: Sequence[x509.CertificateRevocationList] | None = None
    ) -> JurisdictionTrust:
        return JurisdictionTrust(
            (self.root.certificate,),
            self.crls() if crls is None else tuple(crls),
            tuple(signer.listed() for signer in signers),
        )


@cache
def realm(code: str) -> Realm:
    """The jurisdiction's CAs, the same ones throughout a test run's process."""
    root = CertificateAuthority.root(f"{code} root", MADE)
    return Realm(Jurisdiction.parse(code), root, root.subordinate(f"{code} issuing", MADE))


@cache
def judge(code: str) -> Signer:
    return realm(code).signer(f"{code} court")


@cache
def police(code: str) -> Signer:
    return realm(code).signer(f"{code} police", POLICE)


@cache
def usual_trust() -> Trust:
    """IE, US and DE, each with its judge and its police."""
    return Trust(
        {
            realm(code).jurisdiction: realm(code).lists(judge(code), police(code))
            for code in ("IE", "US", "DE")
        }
    )


def trust(lists: JurisdictionTrust, code: str = "IE") -> Trust:
    return Trust({Jurisdiction.parse(code): lists})


def claims(**changes: Any) -> dict[str, Any]:
    """An Irish production order as `NOW` sees it."""
    usual: dict[str, Any] = {
        "jti": "DC-2026-0042",
        "iss": "IE court",
        "iat": int((NOW - timedelta(hours=1)).timestamp()),
        "exp": int((NOW + timedelta(days=10)).timestamp()),
        "instrument": "ie.production-order",
        "issuing_state": "IE",
        "issuer_role": "judge",
        "target": {"address": "aoife@example.ie"},
        "categories": ["subscriber", "traffic", "content"],
    }
    return usual | changes


def verify(order: str | bytes, listed: Trust, now: datetime = NOW) -> VerifiedOrder:
    return verify_order(read_order(order), listed, now)


def x5c(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")


def b64(octets: bytes | str) -> str:
    raw = octets.encode() if isinstance(octets, str) else octets
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def forge(header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, signer: Signer) -> str:
    """A compact JWS, truly signed under whatever header: what a hostile insider could make."""
    head = b64(header if isinstance(header, bytes) else json.dumps(header))
    body = b64(payload if isinstance(payload, bytes) else json.dumps(payload))
    return f"{head}.{body}.{b64(raw_signature(f'{head}.{body}'.encode(), signer.key))}"


def raw_signature(signed: bytes, key: PrivateKey) -> bytes:
    """RFC 7518 3.3 to 3.5 and RFC 8037 3.1, written without joserfc."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return key.sign(signed, pss, hashes.SHA256())
    size = (key.curve.key_size + 7) // 8
    digest = hashes.SHA256() if size == 32 else hashes.SHA384()
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def general(payload: str, *signatures: tuple[str, str]) -> str:
    """General JSON from encoded parts."""
    entries = [{"protected": protected, "signature": signature} for protected, signature in signatures]
    return json.dumps({"payload": payload, "signatures": entries})


def parts(compact: str) -> tuple[str, str, str]:
    header, payload, signature = compact.split(".")
    return header, payload, signature
