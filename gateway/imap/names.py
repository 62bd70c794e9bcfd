"""Mailbox names on the wire: modified UTF-7 (RFC 3501 5.1.3) to Unicode and back."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final

DELIMITER: Final = "/"
_SHIFTED: Final = re.compile(r"&([A-Za-z0-9+,]*)-")
# What has to be encoded: everything but printable ASCII. "&" itself is written "&-".
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")


class BadName(ValueError):
    """No mailbox name in modified UTF-7. The message names the rule."""


def decode_name(octets: bytes) -> str:
    """`Entw&APw-rfe` -> `Entwürfe`; `inbox` in any case -> `INBOX`. Raises BadName."""
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError:
        raise BadName("a mailbox name is 7-bit: modified UTF-7 (RFC 3501 5.1.3)") from None
    if _UNPRINTABLE.search(text):
        raise BadName("a mailbox name holds no control characters (RFC 3501 5.1.2)")
    name = _SHIFTED.sub(_decode_run, text)
    # One name has one form on the wire: else two clients would see two mailboxes of one name.
    if encode_name(name) != octets:
        raise BadName("the mailbox name is not modified UTF-7 (RFC 3501 5.1.3)")
    first, slash, rest = name.partition(DELIMITER)
    return f"INBOX{slash}{rest}" if first.upper() == "INBOX" else name  # RFC 3501 5.1


def encode_name(name: str) -> bytes:
    """`Entwürfe` -> `Entw&APw-rfe`."""
    return _UNPRINTABLE.sub(_encode_run, name.replace("&", "&-")).encode("ascii")


def _decode_run(found: re.Match[str]) -> str:
    run = found.group(1)
    if not run:
        return "&"
    padded = run.replace(",", "/") + "=" * (-len(run) % 4)
    try:
        return b64decode(padded, validate=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise BadName("the mailbox name is not modified UTF-7 (RFC 3501 5.1.3)") from None


def _encode_run(found: re.Match[str]) -> str:
    run = b64encode(found.group().encode("utf-16-be")).decode("ascii")
    return f"&{run.rstrip('=').replace('/', ',')}-"
