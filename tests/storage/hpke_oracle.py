"""HPKE written a second time, from the texts: what sealed mail needs to be opened without our code.

RFC 9180 5.1 (key schedule, base mode) over X-Wing (draft-connolly-cfrg-xwing-kem 5.3), with HKDF-SHA256 and
AES-256-GCM. Used to open what `storage.sealing` made, and to know which secrets a writer had for
a moment.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEM: Final = 0x647A  # MLKEM768-X25519, also called X-Wing
_SUITE: Final = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (_KEM, 0x0001, 0x0002))
_XWING_LABEL: Final = b"\\.//^\\"
_MLKEM_CIPHERTEXT: Final = 1088


@dataclass(frozen=True)
class Secrets:
    """What a sender had in memory while it sealed one frame."""

    mlkem: bytes
    x25519: bytes
    shared: bytes
    key: bytes
    nonce: bytes

    def all(self) -> tuple[bytes, ...]:
        return (self.mlkem, self.x25519, self.shared, self.key)


def secrets_of(seeds: bytes, encapsulated: bytes, info: bytes) -> Secrets:
    """From the recipient's 96 octets of seeds and a frame's first 1,120 octets."""
    x25519 = X25519PrivateKey.from_private_bytes(seeds[64:])
    mlkem_part, x25519_part = encapsulated[:_MLKEM_CIPHERTEXT], encapsulated[_MLKEM_CIPHERTEXT:]
    mlkem_secret = MLKEM768PrivateKey.from_seed_bytes(seeds[:64]).decapsulate(mlkem_part)
    x25519_secret = x25519.exchange(X25519PublicKey.from_public_bytes(x25519_part))
    public = x25519.public_key().public_bytes_raw()
    shared = hashlib.sha3_256(mlkem_secret + x25519_secret + x25519_part + public + _XWING_LABEL).digest()
    context = b"\0" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key, nonce = _expand(secret, b"key", context, 32), _expand(secret, b"base_nonce", context, 12)
    return Secrets(mlkem_secret, x25519_secret, shared, key, nonce)


def open_frame(seeds: bytes, frame: bytes, info: bytes) -> bytes:
    """A whole frame, `enc || ct`. Raises InvalidTag."""
    found = secrets_of(seeds, frame[:1120], info)
    return AESGCM(found.key).decrypt(found.nonce, frame[1120:], b"")


def _extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt, b"HPKE-v1" + _SUITE + label + ikm, hashlib.sha256).digest()


def _expand(prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    # One block of HKDF-Expand (RFC 5869 2.3) is enough for 32 octets.
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + _SUITE + label + info
    return hmac.new(prk, labelled + b"\x01", hashlib.sha256).digest()[:length]
