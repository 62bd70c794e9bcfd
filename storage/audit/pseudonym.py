"""Names that mean something in one region only.

An account or operator stands in the log under HMAC-SHA-256 of its name with a key that the
region keeps: the same person gives the same pseudonym, so that a region's own auditor can
follow a case, while nobody outside can test a guess against it, and the pseudonyms of two
regions never meet. Destroying the key makes every one of them mean nothing.
"""

from __future__ import annotations

import hmac
from typing import Final, final

KEY_BYTES: Final = 32
_DIGITS: Final = 32  # 128 bits: no two accounts of a region ever share one


@final
class Pseudonyms:
    """One region's pseudonyms. The kind of name is part of what is hashed."""

    def __init__(self, key: bytes) -> None:
        """`key`: at least 32 bytes of the region's own. Raises ValueError."""
        if len(key) < KEY_BYTES:
            raise ValueError(f"a pseudonym key has at least {KEY_BYTES} bytes, not {len(key)}")
        self._key: Final = key

    def account(self, account: object) -> str:
        """An account id (anything that prints as one) -> 32 hexadecimal digits."""
        return self._pseudonym("account", str(account))

    def address(self, address: object) -> str:
        """An address that somebody asked for, whether or not there is such an account."""
        return self._pseudonym("address", str(address))

    def operator(self, name: str) -> str:
        """An operator's name -> 32 hexadecimal digits."""
        return self._pseudonym("operator", name)

    def _pseudonym(self, kind: str, name: str) -> str:
        return hmac.new(self._key, f"{kind}\x00{name}".encode(), "sha256").hexdigest()[:_DIGITS]
