"""The form of a signed order: a JWS, compact or general JSON (RFC 7515 7.1 and 7.2.1).

This module reads the form and nothing else. Nothing here is believed yet. The form is held
to one spelling: every header parameter protected and known, base64url without padding or
stray bits, no name twice, no detached payload; what is left over for a second reader to read
differently is what forgeries are made of.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from policy.order import SignatureRole
from policy.strict_json import JsonFault, parse

TYPE: Final = "lawful-order+jws"
MAX_ORDER: Final = 256 * 1024  # octets, as received
MAX_HEADER: Final = 48 * 1024  # octets of one protected header, encoded: six large certificates
MAX_PAYLOAD: Final = 64 * 1024  # octets, encoded
MAX_SIGNATURE: Final = 2 * 1024  # octets, encoded: RSA of 8192 bits is 1366
MAX_SIGNATURES: Final = 16
MAX_CHAIN: Final = 6  # certificates in x5c

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*\Z")
_HEADER_PARAMETERS: Final = ("alg", "role", "typ", "x5c")


class MalformedOrder(ValueError):
    """Not an order at all. `field` is where, `rule` what was expected there."""

    def __init__(self, field: str, rule: str) -> None:
        # Parts of the order stand in both: they go into logs and onto terminals.
        self.field: Final = one_line(field, 128)
        self.rule: Final = one_line(rule, 400)
        super().__init__(f"{self.field}: {self.rule}")


@final
@dataclass(frozen=True, slots=True)
class SignatureForm:
    """One signature as it is written: its protected header, read and as it was encoded, and its octets."""

    algorithm: str
    role: SignatureRole
    chain: tuple[x509.Certificate, ...]
    protected: str
    signature: bytes


@final
@dataclass(frozen=True, slots=True)
class OrderForm:
    """A JWS as it is written. `payload` is decoded, `encoded_payload` is what was signed."""

    payload: bytes
    encoded_payload: str
    signatures: tuple[SignatureForm, ...]


def one_line(text: str, limit: int) -> str:
    """A stranger's text made fit to be shown: no control characters, no more than `limit`."""
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[:limit])
    return shown if len(text) <= limit else f"{shown}..."


def read_form(raw: bytes) -> OrderForm:
    """An order as received -> its form. Raises MalformedOrder."""
    if len(raw) > MAX_ORDER:  # before anything looks inside
        raise MalformedOrder("order", f"at most {MAX_ORDER} octets are read")
    text = raw.strip(b" \t\r\n")
    encoded_payload, signatures = _general_json(text) if text.startswith(b"{") else _compact(text)
    if not encoded_payload:  # RFC 7515 appendix F
        raise MalformedOrder("payload", "a detached payload is not accepted")
    if len(encoded_payload) > MAX_PAYLOAD:
        raise MalformedOrder("payload", f"at most {MAX_PAYLOAD} octets are read")
    return OrderForm(
        _base64url(encoded_payload, "payload"),
        encoded_payload,
        tuple(
            _signature_form(protected, signature, f"signatures[{index}]")
            for index, (protected, signature) in enumerate(signatures)
        ),
    )


def encode_base64url(octets: bytes) -> str:
    """RFC 7515 2: base64url, all trailing `=` left out."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _compact(text: bytes) -> tuple[str, list[tuple[str, str]]]:
    parts = text.split(b".", 3)
    if len(parts) != 3 or not text.isascii():
        raise MalformedOrder(
            "order", "a compact JWS has three parts, header.payload.signature (RFC 7515 7.1)"
        )
    header, payload, signature = (part.decode("ascii") for part in parts)
    return payload, [(header, signature)]


def _general_json(text: bytes) -> tuple[str, list[tuple[str, str]]]:
    try:
        outer = parse(text)
    except JsonFault as fault:
        raise MalformedOrder("order", str(fault)) from None
    if "signature" in outer or "protected" in outer:
        raise MalformedOrder("order", "write the flattened form as general JSON (RFC 7515 7.2.1)")
    _only(outer, ("payload", "signatures"), "order")
    entries = outer["signatures"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_SIGNATURES:
        raise MalformedOrder("signatures", f"a list of 1 to {MAX_SIGNATURES} signatures is expected")
    pairs = []
    for index, entry in enumerate(entries):
        place = f"signatures[{index}]"
        if not isinstance(entry, dict):
            raise MalformedOrder(place, "a JSON object is expected")
        _only(entry, ("protected", "signature"), place)  # RFC 7515 7.2.1: `header` is not protected
        pairs.append((_text(entry, "protected", place), _text(entry, "signature", place)))
    return _text(outer, "payload", "order"), pairs


def _signature_form(protected: str, signature: str, place: str) -> SignatureForm:
    where = f"{place}.header"
    if len(protected) > MAX_HEADER:
        raise MalformedOrder(where, f"at most {MAX_HEADER} octets are read")
    if len(signature) > MAX_SIGNATURE:
        raise MalformedOrder(f"{place}.signature", f"at most {MAX_SIGNATURE} octets are read")
    octets = _base64url(signature, f"{place}.signature")
    try:
        header = parse(_base64url(protected, where))
    except JsonFault as fault:
        raise MalformedOrder(where, str(fault)) from None
    if not isinstance(header, dict):
        raise MalformedOrder(where, "a JSON object is expected")
    # RFC 7515 4.1: jwk, jku and x5u would let the signer choose the key; RFC 7797's b64 and
    # whatever `crit` names would change what was signed. None of them has a use here.
    _only(header, _HEADER_PARAMETERS, where)
    if header["typ"] != TYPE:
        raise MalformedOrder(f"{where}.typ", f"{TYPE!r} is expected")
    try:
        role = SignatureRole(header["role"])
    except ValueError:
        raise MalformedOrder(f"{where}.role", f"one of {', '.join(SignatureRole)} is expected") from None
    return SignatureForm(
        _text(header, "alg", where), role, _chain(header["x5c"], f"{where}.x5c"), protected, octets
    )


def _chain(value: object, place: str) -> tuple[x509.Certificate, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CHAIN:
        raise MalformedOrder(place, f"a list of 1 to {MAX_CHAIN} certificates is expected (RFC 7515 4.1.6)")
    chain = []
    for index, text in enumerate(value):
        try:
            if not isinstance(text, str):
                raise TypeError
            der = base64.b64decode(text, validate=True)  # RFC 7515 4.1.6: base64, not base64url
            if base64.b64encode(der).decode("ascii") != text:
                raise ValueError
            chain.append(_certificate(der))
        except (TypeError, ValueError):
            raise MalformedOrder(f"{place}[{index}]", "a certificate in base64 DER is expected") from None
    return tuple(chain)


@lru_cache(maxsize=512)  # the same few authorities sign again and again
def _certificate(der: bytes) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(der)
    if certificate.public_bytes(serialization.Encoding.DER) != der:
        raise ValueError
    return certificate


def _base64url(text: str, place: str) -> bytes:
    rule = "base64url without padding is expected (RFC 7515 2)"
    if not _BASE64URL.match(text):
        raise MalformedOrder(place, rule)
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise MalformedOrder(place, rule) from None
    if encode_base64url(octets) != text:  # RFC 4648 3.5: the unused bits are zero, or there are two spellings
        raise MalformedOrder(place, f"the unused bits of the last character are not zero; {rule}")
    return octets


def _only(values: object, names: tuple[str, ...], place: str) -> None:
    if not isinstance(values, dict):
        raise MalformedOrder(place, "a JSON object is expected")
    for name in values:
        if name not in names:
            raise MalformedOrder(f"{place}.{name}", f"only {', '.join(names)} may stand here")
    for name in names:
        if name not in values:
            raise MalformedOrder(f"{place}.{name}", "this member is required")


def _text(values: dict[str, Any], name: str, place: str) -> str:
    value = values[name]
    if not isinstance(value, str):
        raise MalformedOrder(f"{place}.{name}", "a text is expected")
    return value
