"""Key pairs of an account or a region: three to a generation, one for each purpose.

A private key is written down as its two seeds alone, 96 octets: ML-KEM's 64 (FIPS 203 7.1) and
X25519's 32 (RFC 7748 5). A public key is 1,216 octets: ML-KEM's encapsulation key, then X25519's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

_MLKEM_SEED: Final = 64
_MLKEM_PUBLIC: Final = 1184
_PRIVATE_SIZE: Final = _MLKEM_SEED + 32
_PUBLIC_SIZE: Final = _MLKEM_PUBLIC + 32


class KeyFormatError(ValueError):
    """Octets or JSON that are no key; the message says what was expected, never what was found."""


class Purpose(StrEnum):
    """What a key pair is for: the two categories that the law tells apart, and our own records."""

    TRAFFIC = "traffic"
    CONTENT = "content"
    RECORD = "record"


@final
@dataclass(frozen=True)
class PublicKey:
    """Seals, and cannot open."""

    raw: bytes

    @classmethod
    def parse(cls, text: object) -> PublicKey:
        """Base64 of 1,216 octets -> PublicKey. Raises KeyFormatError."""
        try:
            key = cls(base64.b64decode(text if isinstance(text, str) else "", validate=True))
            key.hpke  # noqa: B018  (a key that cannot be used is found here, not at the first mail)
        except (binascii.Error, ValueError):
            raise KeyFormatError(f"a public key is {_PUBLIC_SIZE} octets in base64") from None
        return key

    @cached_property
    def hpke(self) -> MLKEM768X25519PublicKey:
        if len(self.raw) != _PUBLIC_SIZE:
            raise KeyFormatError(f"a public key is {_PUBLIC_SIZE} octets")
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC:]),
        )

    def __str__(self) -> str:
        return base64.b64encode(self.raw).decode("ascii")


@final
@dataclass(frozen=True)
class PrivateKey:
    """Opens what was sealed to one purpose of one generation. Its seeds are never printed."""

    generation: int
    purpose: Purpose
    seeds: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seeds) != _PRIVATE_SIZE:
            raise KeyFormatError(f"a private key is {_PRIVATE_SIZE} octets of seeds")

    @classmethod
    def generate(cls, generation: int, purpose: Purpose) -> PrivateKey:
        seeds = MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls(generation, purpose, seeds + X25519PrivateKey.generate().private_bytes_raw())

    @cached_property
    def _parts(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        return (
            MLKEM768PrivateKey.from_seed_bytes(self.seeds[:_MLKEM_SEED]),
            X25519PrivateKey.from_private_bytes(self.seeds[_MLKEM_SEED:]),
        )

    @cached_property
    def hpke(self) -> MLKEM768X25519PrivateKey:
        return MLKEM768X25519PrivateKey(*self._parts)

    @cached_property
    def public(self) -> PublicKey:
        mlkem, x25519 = self._parts
        return PublicKey(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw())


@final
@dataclass(frozen=True)
class PublicKeys:
    """One generation's public keys: all that a process needs in order to write, and no more."""

    generation: int
    traffic: PublicKey
    content: PublicKey
    record: PublicKey

    def to_json(self) -> dict[str, object]:
        return {
            "generation": self.generation,
            "traffic": str(self.traffic),
            "content": str(self.content),
            "record": str(self.record),
        }

    @classmethod
    def from_json(cls, value: object) -> PublicKeys:
        """Raises KeyFormatError for anything that `to_json` does not write."""
        fields: Mapping[Any, object] = value if isinstance(value, Mapping) else {}
        generation = fields.get("generation")
        if not isinstance(generation, int) or isinstance(generation, bool) or not 0 < generation < 1 << 32:
            raise KeyFormatError("a key generation is a number from 1")
        return cls(generation, *(PublicKey.parse(fields.get(purpose)) for purpose in Purpose))
