"""How an authority signs an order: pure cryptography, for authorities' own tools and for tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from policy.jose import SigningKey, sign_compact
from policy.jws import MAX_SIGNATURES, TYPE, OrderForm, encode_base64url, read_form
from policy.keys import algorithms_for
from policy.order import Order, SignatureRole


class SigningFault(ValueError):
    """What was given cannot make a signature; the message says why."""


def sign_order(
    claims: Mapping[str, Any],
    cert: x509.Certificate,
    key: SigningKey,
    chain: Sequence[x509.Certificate] = (),
    role: SignatureRole = SignatureRole.ISSUE,
) -> str:
    """Claims -> a compact JWS. `chain` goes from the certificate's issuer upwards.

    Raises ClaimError for claims that no gateway would read, SigningFault, KeyRefused.
    """
    Order.parse(claims)
    payload = json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return sign_payload(payload, cert, key, chain, role)


def add_signature(
    order_text: str | bytes,
    cert: x509.Certificate,
    key: SigningKey,
    chain: Sequence[x509.Certificate] = (),
    role: SignatureRole = SignatureRole.VALIDATE,
) -> str:
    """A signed order, and one more signature over the same payload -> general JSON (RFC 7515 7.2.1).

    Raises MalformedOrder, SigningFault, KeyRefused. The signatures that are there are not checked.
    """
    raw = order_text.encode("utf-8") if isinstance(order_text, str) else order_text
    form = read_form(raw)
    if len(form.signatures) == MAX_SIGNATURES:
        raise SigningFault(f"an order bears at most {MAX_SIGNATURES} signatures")
    protected, _, signature = sign_payload(form.payload, cert, key, chain, role).split(".")
    return _general_json(form, {"protected": protected, "signature": signature})


def sign_payload(
    payload: bytes,
    cert: x509.Certificate,
    key: SigningKey,
    chain: Sequence[x509.Certificate],
    role: SignatureRole,
) -> str:
    """Octets -> a compact JWS over them, by the algorithm that follows from the key."""
    if key.public_key() != cert.public_key():
        raise SigningFault("the key is not the one that the certificate certifies")
    header = {
        "alg": min(algorithms_for(cert)),  # PS256 before RS256: RFC 8725 3.2 points away from PKCS #1 v1.5
        "typ": TYPE,
        "role": str(role),
        "x5c": [base64.b64encode(each.public_bytes(Encoding.DER)).decode("ascii") for each in (cert, *chain)],
    }
    return sign_compact(header, payload, key)


def _general_json(form: OrderForm, added: dict[str, str]) -> str:
    signatures = [
        {"protected": each.protected, "signature": encode_base64url(each.signature)}
        for each in form.signatures
    ]
    whole = {"payload": form.encoded_payload, "signatures": [*signatures, added]}
    return json.dumps(whole, separators=(",", ":"))
