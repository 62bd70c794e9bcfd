"""An order as a lawyer reads it: what it claims, and by which certificates it was signed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.disclosure.lifecycle import Case
from policy.order import Order
from policy.verification import read_order


@final
@dataclass(frozen=True, slots=True)
class Certificate:
    """One step of a path: who, by whose word, until when. `fingerprint`: SHA-256, in hexadecimal."""

    subject: str
    issuer: str
    until: str
    fingerprint: str


@final
@dataclass(frozen=True, slots=True)
class Signed:
    """One signature: the part that it plays and its certificates, the signer's own first."""

    role: str
    algorithm: str
    path: tuple[Certificate, ...]


@final
@dataclass(frozen=True, slots=True)
class OrderRead:
    """The order of a case. `claims` is the payload as it was signed, laid out."""

    order: Order
    signed: tuple[Signed, ...]
    claims: str


def read(case: Case) -> OrderRead:
    """The order was verified before it became a case: here it is only shown."""
    unverified = read_order(case.order)
    signed = tuple(
        Signed(str(each.role), each.algorithm, tuple(map(_certificate, each.chain)))
        for each in unverified.form.signatures
    )
    claims = json.dumps(json.loads(unverified.form.payload), indent=2, ensure_ascii=False)
    return OrderRead(unverified.order, signed, claims)


def is_emergency(case: Case) -> bool:
    """Whether its issuer says so."""
    return read_order(case.order).order.emergency


def _certificate(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        until=f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        fingerprint=certificate.fingerprint(SHA256()).hex(),
    )
