"""Content-Transfer-Encoding (RFC 2045 6), undone for those who search in what was written."""

from __future__ import annotations

import binascii
import quopri
import re
from typing import Final

_NO_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")


def decoded(octets: bytes, encoding: bytes | None) -> bytes:
    """What was encoded; broken encodings as far as they go, unknown ones as they are."""
    match (encoding or b"").lower():
        case b"base64":
            # RFC 2045 6.8: what is not of the alphabet is passed over.
            letters = _NO_BASE64.sub(b"", octets)
            whole = letters[: len(letters) - len(letters) % 4]
            rest = letters[len(whole) :]
            if len(rest) > 1:
                whole += rest + b"=" * (4 - len(rest))
            return binascii.a2b_base64(whole)
        case b"quoted-printable":
            return quopri.decodestring(octets)
        case _:
            return octets
