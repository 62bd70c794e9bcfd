"""Which keys may sign, and with what: an allow-list, since a path check looks at neither.

The JWS algorithm follows from the certified key and from nothing else: an order that names
another is refused, which leaves no room for `none`, nor for a public key used as a secret.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

MIN_RSA_BITS: Final = 2048  # NIST SP 800-57 part 1, table 2: 112 bits of strength
MAX_RSA_BITS: Final = 8192  # a larger one only costs the verifier time
_RSA_EXPONENTS: Final = range(65537, 2**32)  # FIPS 186-5 5.1: greater than 2**16

_BY_CURVE: Final = {"secp256r1": frozenset({"ES256"}), "secp384r1": frozenset({"ES384"})}  # RFC 7518 3.4
_BY_RSA: Final = frozenset({"PS256", "RS256"})  # RFC 7518 3.3, 3.5
_BY_ED25519: Final = frozenset({"Ed25519"})  # RFC 9864 2.2; it deprecates "EdDSA", which names no curve


class KeyRefused(Exception):
    """A key that may not be used; the message says which may."""


def algorithms_for(leaf: x509.Certificate) -> frozenset[str]:
    """The JWS `alg` values that the leaf's key may sign with. Raises KeyRefused."""
    key = _public_key(leaf)
    if isinstance(key, rsa.RSAPublicKey):
        _admit_rsa(key)
        return _BY_RSA
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _BY_ED25519
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _BY_CURVE:
        return _BY_CURVE[key.curve.name]
    raise KeyRefused("a key on P-256, P-384 or Ed25519, or RSA of 2048 bits and more, is expected")


def issuer_key(ca: x509.Certificate) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """The key of a CA. Raises KeyRefused if it is not on P-256, P-384 or P-521, or RSA."""
    key = _public_key(ca)
    if isinstance(key, rsa.RSAPublicKey):
        _admit_rsa(key)
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in (*_BY_CURVE, "secp521r1"):
        return key
    raise KeyRefused("a CA key on P-256, P-384 or P-521, or RSA of 2048 bits and more, is expected")


def _admit_rsa(key: rsa.RSAPublicKey) -> None:
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise KeyRefused(f"RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits is expected, not {key.key_size}")
    if key.public_numbers().e not in _RSA_EXPONENTS:
        raise KeyRefused("an RSA exponent of at least 65537 is expected")


def _public_key(certificate: x509.Certificate) -> object:
    try:
        return certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        raise KeyRefused("the certificate's key cannot be read") from None
