"""ENVELOPE (RFC 3501 7.4.2): who wrote to whom, taken from a header block as it stands.

Nothing is decoded: encoded words (RFC 2047) are the client's to read. Addresses are read as far as
they make sense, since people's mail has every kind of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, final

from gateway.imap import replies as say
from gateway.imap.mime_fields import past_comment
from gateway.imap.structure import unfolded

_NIL: Final = b"NIL"
_LISTS: Final = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"))
# RFC 3501 7.4.2: the fields of an envelope, in the order in which it has them.
_IN_ORDER: Final = (
    b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id"
)  # fmt: skip
_MOST_ADDRESSES: Final = 5_000
# The fields that an envelope has, each with the lines that it is folded over (RFC 5322 2.2.3).
_FIELDS: Final = re.compile(
    rb"^(from|sender|reply-to|to|cc|bcc|date|subject|in-reply-to|message-id)[ \t]*:"
    rb"((?:[^\n]*\n(?=[ \t]))*[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
# An address as nearly all mail has it: a phrase, or none, and a dot-atom on either side (RFC 5322 3.4), in
# octets that IMAP's quoted strings hold as they are. A mailbox of many is told several times as fast so.
_ATOM: Final = rb"[A-Za-z0-9!#$%&'*+\-./=?^_`{|}~]{1,200}"
_USUAL: Final = re.compile(
    rb' *(?:(?:"([ !#-\[\]-~]{0,200})" *|(%(atom)b(?: %(atom)b){0,8}) *)?<(%(atom)b)@(%(atom)b)>'
    rb"|(%(atom)b)@(%(atom)b)) *(?:,|\Z)" % {b"atom": _ATOM}
)
# RFC 5322 3.2.3: atext, dots among it, and octets above ASCII (RFC 6532 3.2).
_WORD: Final = re.compile(rb'[^\x00-\x20()<>\[\]:;@,"\\]+')
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_LITERAL: Final = re.compile(rb"\[(?:[^\]\\]|\\.)*\]?", re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_BLANK: Final = re.compile(rb"[\x00-\x20\\]+|\]")

EDITION: Final = 1  # of what `envelope` gives: indexes keep it, and make it anew where this has changed

Address = tuple[bytes | None, bytes | None, bytes | None, bytes | None]  # name, route, local part, domain


def envelope(header: bytes) -> bytes:
    """The envelope of a message, or of one within a message, by its header block."""
    found: dict[bytes, bytes] = {}
    for field, folded in _FIELDS.findall(header):
        name, value = field.lower(), unfolded(folded)
        if name not in found:
            found[name] = value
        elif name in _LISTS:
            found[name] += b", " + value
    told = {name: _address_list(value) if name in _LISTS else nstring(value) for name, value in found.items()}
    # RFC 3501 7.4.2: the server answers with From where these are not there or hold nothing.
    sent_by = told.get(b"from", _NIL)
    for name in (b"sender", b"reply-to"):
        if told.get(name, _NIL) == _NIL:
            told[name] = sent_by
    return b"(" + b" ".join([told.get(name, _NIL) for name in _IN_ORDER]) + b")"


def nstring(octets: bytes | None) -> bytes:
    """RFC 3501 9: a string or NIL. No string of IMAP's holds a NUL."""
    if octets is None:
        return _NIL
    return say.string(octets.replace(b"\0", b"?") if b"\0" in octets else octets)


def addresses(value: bytes) -> Iterator[Address]:
    """The addresses of a field; a group stands between its name and its end (RFC 3501 7.4.2)."""
    reading = _Reading(value)
    for number, address in enumerate(reading.addresses()):
        if number >= _MOST_ADDRESSES:
            break
        yield address
    if reading.in_group:
        yield None, None, None, None


def _address_list(value: bytes) -> bytes:
    """A field's addresses as IMAP tells them."""
    told = _usual(value)
    if told is None:
        told = b"".join(b"(" + b" ".join(map(nstring, one)) + b")" for one in addresses(value))
    return b"(" + told + b")" if told else _NIL


def _usual(value: bytes) -> bytes | None:
    """The addresses of a field that has none but usual ones; None where each octet has to be looked at."""
    told: list[bytes] = []
    at = 0
    while at < len(value) and len(told) < _MOST_ADDRESSES:
        found = _USUAL.match(value, at)
        if found is None:
            return None
        quoted, phrase, local, domain, bare_local, bare_domain = found.groups()
        if local is None:
            told.append(b'(NIL NIL "%b" "%b")' % (bare_local, bare_domain))
        elif name := quoted or phrase:
            told.append(b'("%b" NIL "%b" "%b")' % (name, local, domain))
        else:
            told.append(b'(NIL NIL "%b" "%b")' % (local, domain))
        at = found.end()
    return b"".join(told)


@final
class _Reading:
    """One field's value, read from left to right (RFC 5322 3.4)."""

    def __init__(self, value: bytes) -> None:
        self._value: Final = value
        self._at = 0
        self._comment: bytes | None = None
        self.in_group = False

    def addresses(self) -> Iterator[Address]:
        while self._at < len(self._value):
            before = self._at
            phrase, local = self._words()
            match self._next():
                case b"<":
                    yield self._angle(phrase)
                case b"@":
                    yield self._commented((None, None, local, self._domain()))
                case b":" if not self.in_group:
                    self.in_group = True
                    yield None, None, phrase or b"", None
                    continue
                case b";":
                    if local:
                        yield self._commented((None, None, local, None))
                    if self.in_group:
                        self.in_group = False
                        yield None, None, None, None
                    self._comment = None
                    continue
                case _ if local:
                    # A name without a domain: some write that, and it is all there is to show.
                    yield self._commented((None, None, local, b""))
            self._to_the_comma()
            if self._at <= before:
                self._at = before + 1

    def _commented(self, address: Address) -> Address:
        """RFC 5322 3.4: older programs write the name as a comment behind the address."""
        self._blanks()
        name, _, local, domain = address
        return name or self._comment, None, local, domain

    def _angle(self, phrase: bytes) -> Address:
        """`<route:local@domain>` (RFC 5322 3.4, the route as in 4.4)."""
        route = None
        self._blanks()
        if self._value[self._at : self._at + 1] == b"@":
            colon = self._value.find(b":", self._at)
            close = self._value.find(b">", self._at)
            if 0 <= colon < close or (colon >= 0 and close < 0):
                route, self._at = self._value[self._at : colon].strip(), colon + 1
        _, local = self._words()
        domain = self._domain() if self._next() == b"@" else b""
        close = self._value.find(b">", self._at)
        if close >= 0:
            self._at = close + 1
        return phrase or None, route, local, domain

    def _words(self) -> tuple[bytes, bytes]:
        """Words up to the next special: with blanks between them (a phrase), and without (a local part)."""
        found: list[bytes] = []
        while True:
            self._blanks()
            quoted = _QUOTED.match(self._value, self._at)
            if quoted is not None:
                found.append(_ESCAPED.sub(rb"\1", quoted.group(1)))
                self._at = quoted.end()
                continue
            word = _WORD.match(self._value, self._at)
            if word is None:
                return b" ".join(found), b"".join(found)
            found.append(word.group())
            self._at = word.end()

    def _domain(self) -> bytes:
        self._blanks()
        literal = _LITERAL.match(self._value, self._at)
        if literal is not None:
            self._at = literal.end()
            return literal.group()
        return self._words()[1]

    def _next(self) -> bytes:
        """The special that comes next, passed over unless it divides addresses."""
        self._blanks()
        octet = self._value[self._at : self._at + 1]
        if octet and octet != b",":
            self._at += 1
        return octet

    def _to_the_comma(self) -> None:
        """Over whatever an address that is no address leaves behind."""
        while self._at < len(self._value):
            self._blanks()
            octet = self._value[self._at : self._at + 1]
            if octet == b";" and self.in_group:
                break
            quoted = _QUOTED.match(self._value, self._at)
            self._at = quoted.end() if quoted is not None else self._at + 1
            if octet == b",":
                break
        self._comment = None

    def _blanks(self) -> None:
        while True:
            blank = _BLANK.match(self._value, self._at)
            if blank is not None:
                self._at = blank.end()
            elif self._value[self._at : self._at + 1] == b"(":
                end = past_comment(self._value, self._at)
                self._comment = _ESCAPED.sub(rb"\1", self._value[self._at + 1 : end].removesuffix(b")"))
                self._at = end
            else:
                return
