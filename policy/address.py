"""A mailbox address, read byte for byte as RFC 5321 writes it.

One strict grammar serves SMTP, the directory and the law. Nothing is decoded, stripped
or guessed: an encoded word, a comment or a display name is not part of an address, and
reading one could turn one recipient into another, in another country.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, final

import idna

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"  # RFC 5322 3.2.3, RFC 6531 3.3
_DOT_STRING: Final = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*\Z")
# RFC 5321 4.1.2: qtextSMTP is 32-33, 35-91, 93-126; a quoted pair is "\" and 32-126.
_QUOTED_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])+)"\Z')
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LABELS: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")


class AddressError(ValueError):
    """A text that RFC 5321 4.1.2 does not call a Mailbox. The message names the rule."""


@final
@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox. Two spellings of the same mailbox compare equal.

    `local` is the local part with quoting removed, in NFC and lower case; `domain` is the
    lower-case A-label form, or an address literal in brackets.

    RFC 5321 2.4 leaves the local part's case to the receiving host: this one ignores it,
    since two accounts that differ in case alone would be a trap for the law and for people.
    """

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """`"Aoife@example.ie"` -> Address. Raises AddressError naming the rule broken."""
        local, at, domain = text.rpartition("@")
        if not at:
            raise AddressError("an address is local-part@domain (RFC 5321 4.1.2)")
        return cls(_local_part(local), parse_domain(domain))

    @property
    def is_internationalised(self) -> bool:
        """True where writing the address needs SMTPUTF8 (RFC 6531)."""
        return not self.local.isascii()

    def __str__(self) -> str:
        if _DOT_STRING.match(self.local):
            return f"{self.local}@{self.domain}"
        quoted = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"@{self.domain}'


def _local_part(text: str) -> str:
    if quoted := _QUOTED_STRING.match(text):
        text = re.sub(r"\\(.)", r"\1", quoted.group(1))  # RFC 5321 4.1.2: "\a" means "a"
    elif not _DOT_STRING.match(text):
        raise AddressError("the local part is neither a dot-string nor a quoted string (RFC 5321 4.1.2)")
    elif text.isascii() and len(text) <= 64:
        return text.lower()  # printable, as the grammar has it, and its own NFC
    if len(text.encode()) > 64:
        raise AddressError("the local part is longer than 64 octets (RFC 5321 4.5.3.1.1)")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise AddressError("the local part has a control character (RFC 6532 3.2)")
    return unicodedata.normalize("NFC", text.lower())


def parse_domain(text: str) -> str:
    """A domain, or an address literal, as `Address.domain` writes it. Raises AddressError."""
    if text.startswith("["):
        return _address_literal(text)
    try:
        ascii_form = text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise AddressError(f"the domain is not an internationalised name (RFC 5890): {error}") from None
    if len(ascii_form) > 255:
        raise AddressError("the domain is longer than 255 octets (RFC 5321 4.5.3.1.2)")
    if not _LABELS.match(ascii_form):
        raise AddressError("the domain is not a sequence of letter-digit-hyphen labels (RFC 5321 4.1.2)")
    return ascii_form.lower()


def _address_literal(text: str) -> str:
    if not text.endswith("]"):
        raise AddressError("an address literal ends with ']' (RFC 5321 4.1.3)")
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:]).compressed}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        raise AddressError("not an IPv4 or IPv6 address literal (RFC 5321 4.1.3)") from None
