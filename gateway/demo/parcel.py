"""The receiving side of the demo: decrypt a package's parts, check every digest, take the messages out."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization.pkcs7 import pkcs7_decrypt_der
from cryptography.x509 import Certificate

from policy.jose import SigningKey


class ParcelDamaged(ValueError):
    """A digest of the manifest is not that of what came; names the part or message."""


def open_parcel(
    manifest: Mapping[str, Any], parts: Mapping[str, bytes], certificate: Certificate, key: SigningKey
) -> list[bytes]:
    """The messages of a package. Raises ParcelDamaged; ValueError where the key does not open a part."""
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the demo's authorities decrypt with RSA keys")
    plain: dict[str, bytes] = {}
    for part in manifest["parts"]:
        name = part["name"]
        _must_match(name, part["encrypted_sha256"], parts[name])
        plain[name] = pkcs7_decrypt_der(parts[name], certificate, key, [])
        _must_match(name, part["sha256"], plain[name])
    messages = []
    for row in manifest["messages"]:
        with zipfile.ZipFile(io.BytesIO(plain[row["part"]])) as volume:
            messages.append(volume.read(row["path"]))
        _must_match(row["path"], row["sha256"], messages[-1])
    return messages


def _must_match(name: str, expected: str, body: bytes) -> None:
    if hashlib.sha256(body).hexdigest() != expected:
        raise ParcelDamaged(f"{name} does not have the digest that the manifest gives")
