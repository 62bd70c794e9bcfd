"""The signature of a JWS, made and checked by joserfc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.registry import HeaderParameter

from policy.jws import MAX_HEADER, MAX_PAYLOAD, MAX_SIGNATURE

SigningKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class _OrderRegistry(jws.JWSRegistry):
    """joserfc's own bounds are too small for x5c (512 octets of header)."""

    max_header_length = MAX_HEADER
    max_payload_length = MAX_PAYLOAD
    max_signature_length = MAX_SIGNATURE


_ROLE: Final = {"role": HeaderParameter("What the signature does to the order", "str", True)}


def sign_compact(header: Mapping[str, Any], payload: bytes, key: SigningKey) -> str:
    """A compact JWS. `header["alg"]` must be one that the key signs with."""
    registry = _OrderRegistry(_ROLE, [header["alg"]])
    return jws.serialize_compact(dict(header), payload, _joserfc_key(key), registry=registry)


def is_genuine(signed: bytes, signature: bytes, leaf: x509.Certificate, algorithm: str) -> bool:
    """Whether the signature is that of the leaf's key, by `algorithm` and by no other.

    `signed` is the JWS signing input, `header.payload` as they are encoded (RFC 7515 5.2 (8)): the
    header has been read already, more strictly than joserfc would, and is not read a second time.
    """
    return _check_with(leaf, algorithm)(signed, signature)


@lru_cache(maxsize=512)  # as many as policy.jws keeps certificates
def _check_with(leaf: x509.Certificate, algorithm: str) -> Callable[[bytes, bytes], bool]:
    model = jws.JWSRegistry(algorithms=[algorithm]).get_alg(algorithm)
    key = _joserfc_key(leaf.public_key())
    model.check_key(key)
    return lambda signed, signature: bool(model.verify(signed, signature, key))


def _joserfc_key(key: SigningKey | CertificatePublicKeyTypes) -> Key:
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return RSAKey.import_key(key)
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return ECKey.import_key(key)
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return OKPKey.import_key(key)
    raise TypeError("no JWS algorithm that an order may use signs with this key")
