"""Content-Type, Content-Disposition and their kin (RFC 2045 5.1, RFC 2183), as IMAP tells them.

What breaks the grammar is read as far as it goes: mail that no parser of 1996 would take is shown
to its owner all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

# RFC 2045 5.1: a token is any of ASCII but blanks, controls and tspecials. Octets above are let through.
_TOKEN: Final = re.compile(rb'[^\x00-\x20()<>@,;:\\"/\[\]?=\x7f]+')
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_BARE: Final = re.compile(rb"[^;\x00-\x20]+")
_BLANK: Final = re.compile(rb"[ \t\r\n]+")
_MOST_PARAMETERS: Final = 100

Parameters = tuple[tuple[bytes, bytes], ...]


@final
@dataclass(frozen=True, slots=True)
class ContentType:
    """Type and subtype in lower case; parameters as they stand, names in lower case."""

    type: bytes
    subtype: bytes
    parameters: Parameters

    def parameter(self, name: bytes) -> bytes | None:
        return next((value for one, value in self.parameters if one == name), None)

    @property
    def is_message(self) -> bool:
        """RFC 2046 5.2.1, and RFC 6532 3.7 for one with UTF-8 in its header."""
        return self.type == b"message" and self.subtype in (b"rfc822", b"global")


@final
@dataclass(frozen=True, slots=True)
class Disposition:
    """RFC 2183 2."""

    kind: bytes
    parameters: Parameters


# RFC 2045 5.2: what says nothing, or nothing that can be read, is this.
_DEFAULT: Final = ContentType(b"text", b"plain", ((b"charset", b"us-ascii"),))


def content_type(value: bytes | None) -> ContentType:
    """What a Content-Type field says."""
    if value is None:
        return _DEFAULT
    reading = _Reading(value)
    kind = reading.token()
    if kind is None or not reading.skip(b"/"):
        return _DEFAULT
    subtype = reading.token()
    if subtype is None:
        return _DEFAULT
    parameters = reading.parameters()
    if kind.lower() == b"text" and not any(name == b"charset" for name, _ in parameters):
        parameters = (*parameters, (b"charset", b"us-ascii"))
    return ContentType(kind.lower(), subtype.lower(), parameters)


def disposition(value: bytes | None) -> Disposition | None:
    """What a Content-Disposition field says; None where there is none that can be read."""
    reading = _Reading(value or b"")
    kind = reading.token()
    return None if kind is None else Disposition(kind.lower(), reading.parameters())


def words(value: bytes | None) -> tuple[bytes, ...]:
    """The tokens of a list such as Content-Language's (RFC 3282 2)."""
    reading, found = _Reading(value or b""), list[bytes]()
    while (word := reading.token()) is not None:
        found.append(word)
        if not reading.skip(b","):
            break
    return tuple(found)


def single(value: bytes | None) -> bytes | None:
    """The first token, such as a Content-Transfer-Encoding's; None where there is none."""
    return _Reading(value or b"").token()


@final
class _Reading:
    """Reads one field's value from left to right, over blanks and comments (RFC 5322 3.2.2)."""

    def __init__(self, value: bytes) -> None:
        self._value: Final = value
        self._at = 0

    def token(self) -> bytes | None:
        return self._take(_TOKEN)

    def skip(self, octet: bytes) -> bool:
        self._blanks()
        if self._value[self._at : self._at + 1] == octet:
            self._at += 1
            return True
        return False

    def parameters(self) -> Parameters:
        found: list[tuple[bytes, bytes]] = []
        while self._next_parameter() and len(found) < _MOST_PARAMETERS:
            name = self.token()
            if name is None or not self.skip(b"="):
                continue
            value = self._parameter_value()
            if value is not None:
                found.append((name.lower(), value))
        return tuple(found)

    def _next_parameter(self) -> bool:
        at = self._value.find(b";", self._at)
        self._at = len(self._value) if at < 0 else at + 1
        return at >= 0

    def _parameter_value(self) -> bytes | None:
        self._blanks()
        quoted = _QUOTED.match(self._value, self._at)
        if quoted is not None:
            self._at = quoted.end()
            return _ESCAPED.sub(rb"\1", quoted.group(1))
        # Unquoted values with a "/" or "=" in them are common, and clear all the same.
        return self._take(_BARE)

    def _take(self, pattern: re.Pattern[bytes]) -> bytes | None:
        self._blanks()
        found = pattern.match(self._value, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found.group()

    def _blanks(self) -> None:
        while True:
            blank = _BLANK.match(self._value, self._at)
            if blank is not None:
                self._at = blank.end()
            elif self._value[self._at : self._at + 1] == b"(":
                self._at = past_comment(self._value, self._at)
            else:
                return


def past_comment(value: bytes, at: int) -> int:
    """Where the comment that begins at `at` ends; they nest (RFC 5322 3.2.2)."""
    depth = 0
    while at < len(value):
        octet = value[at]
        if octet == 0x5C:  # a backslash
            at += 1
        elif octet == 0x28:
            depth += 1
        elif octet == 0x29:
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return len(value)
