"""One compact JWS signed or checked by joserfc, with the registry that an order needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from joserfc import jws
from joserfc.errors import JoseError
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


def is_genuine(compact: str, key: CertificatePublicKeyTypes, algorithm: str) -> bool:
    """Whether the signature is the key's, by `algorithm` and by no other."""
    try:
        jws.deserialize_compact(compact, _joserfc_key(key), registry=_OrderRegistry(_ROLE, [algorithm]))
    except JoseError:
        return False
    return True


def _joserfc_key(key: SigningKey | CertificatePublicKeyTypes) -> Key:
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return RSAKey.import_key(key)
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return ECKey.import_key(key)
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return OKPKey.import_key(key)
    raise TypeError("no JWS algorithm that an order may use signs with this key")
