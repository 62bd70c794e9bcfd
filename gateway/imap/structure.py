"""What a message is made of, octet for octet (RFC 2045, RFC 2046), and how IMAP tells it.

    message = parse(octets)
    body_structure(message)         # BODYSTRUCTURE, RFC 3501 7.4.2
    message.parts[0].body           # where the first part's octets begin and end

A walk over the message itself, since a parser that keeps words and forgets octets gives sizes that
do not fit what is then fetched. What is no MIME is plain text (RFC 2045 5.2), and a multipart whose
boundary never comes is too: a reader is shown what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from gateway.imap.mime_fields import ContentType, Disposition, content_type, disposition, words
from storage.header_block import header_end

# A message of boundaries alone must not cost more than one of text. Nothing sent by people comes near.
_DEEPEST: Final = 40
_MOST_PARTS: Final = 2_000
# RFC 5322 2.2 with the blanks of RFC 5322 4.5 before the colon.
_FIELD_NAME: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
_LINE_END: Final = re.compile(rb"\r?\n")
_UNFOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
# RFC 2046 5.1.1: what may follow a boundary; two hyphens close the multipart.
_DELIMITER_END: Final = re.compile(rb"(--)?[ \t]*(?:\r?\n|\Z)")

Span = tuple[int, int]


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One entity. `header` runs through its empty line, `body` is what follows; both are offsets into
    the whole message. `lines` of a text or a message; `message` is what a message/rfc822 holds."""

    header: Span
    body: Span
    type: ContentType
    fields: dict[bytes, bytes]  # the Content- fields, unfolded, by their lower-case names
    lines: int
    parts: tuple[Part, ...] = ()
    message: Part | None = None

    @property
    def size(self) -> int:
        """Octets of the body, encoded as it is."""
        return self.body[1] - self.body[0]

    @property
    def disposition(self) -> Disposition | None:
        return disposition(self.fields.get(b"content-disposition"))

    @property
    def languages(self) -> tuple[bytes, ...]:
        """RFC 3282."""
        return words(self.fields.get(b"content-language"))


def parse(message: bytes) -> Part:
    """Takes a message apart. Any octets are a message: this never raises."""
    return _Walk(message).entity(0, len(message), depth=0, inherited=_TEXT)


def header_fields(octets: bytes, span: Span) -> Iterator[tuple[bytes, Span]]:
    """The fields of a header block: the name in lower case, and where the whole field lies."""
    at, end = span
    name, begin = b"", at
    while at < end:
        found = _LINE_END.search(octets, at, end)
        line_end = found.end() if found else end
        if octets[at : at + 1] not in (b" ", b"\t") or not name:
            if name:
                yield name, (begin, at)
            field = _FIELD_NAME.match(octets, at, line_end)
            name, begin = (field.group(1).lower() if field else b""), at
        at = line_end
    if name:
        yield name, (begin, end)


def field_value(octets: bytes, span: Span) -> bytes:
    """What a field says, unfolded (RFC 5322 2.2.3), without its name."""
    return unfolded(octets[span[0] : span[1]].partition(b":")[2])


def unfolded(value: bytes) -> bytes:
    """A field's value as one line, without the blanks around it."""
    value = value.strip(b" \t\r\n")
    return _UNFOLD.sub(b"", value) if b"\n" in value else value


_TEXT: Final = content_type(None)
_MESSAGE: Final = ContentType(b"message", b"rfc822", ())
_OCTETS: Final = ContentType(b"application", b"octet-stream", ())


@final
class _Walk:
    def __init__(self, message: bytes) -> None:
        self._message: Final = message
        self._left = _MOST_PARTS

    def entity(self, start: int, end: int, *, depth: int, inherited: ContentType) -> Part:
        """`inherited`: what an entity is that does not say (RFC 2046 5.1.5: in a digest, a message)."""
        octets = self._message
        self._left -= 1
        body = header_end(octets, start, end)
        fields: dict[bytes, bytes] = {}
        for name, span in header_fields(octets, (start, body)):
            if name.startswith(b"content-"):
                fields.setdefault(name, field_value(octets, span))
        stated = fields.get(b"content-type")
        kind = content_type(stated) if stated is not None else inherited
        parts: tuple[Part, ...] = ()
        message: Part | None = None
        if kind.type == b"multipart":
            parts = self._parts(kind, body, end, depth)
            if not parts:
                kind = _TEXT
        elif kind.is_message:
            if depth < _DEEPEST and self._left > 0:
                message = self.entity(body, end, depth=depth + 1, inherited=_TEXT)
            else:
                kind = _OCTETS
        # RFC 3501 7.4.2 tells of lines for these alone; to count them in each of many bodies, one within
        # the other, would cost as many times the message.
        lines = octets.count(b"\n", body, end) if message or kind.type == b"text" else 0
        return Part((start, body), (body, end), kind, fields, lines, parts, message)

    def _parts(self, kind: ContentType, start: int, end: int, depth: int) -> tuple[Part, ...]:
        boundary = kind.parameter(b"boundary")
        if not boundary or depth >= _DEEPEST or start == 0:
            return ()
        inherited = _MESSAGE if kind.subtype == b"digest" else _TEXT
        found: list[Part] = []
        for first, last in _between(self._message, boundary, start, end):
            if self._left <= 0:
                break
            found.append(self.entity(first, last, depth=depth + 1, inherited=inherited))
        return tuple(found)


def _between(octets: bytes, boundary: bytes, start: int, end: int) -> Iterator[Span]:
    """What lies between the delimiters of a multipart body (RFC 2046 5.1.1)."""
    # The line end before a delimiter belongs to the delimiter: that of the header, for the first. To look
    # for octets alone is much quicker, over a long body, than for a pattern that may begin with CR.
    line = b"\n--" + boundary
    begin: int | None = None
    at = _before_line_end(octets, start)
    while (found := octets.find(line, at, end)) >= 0:
        ending = _DELIMITER_END.match(octets, found + len(line), end)
        if ending is None:
            at = found + 1
            continue
        if begin is not None:
            yield begin, max(begin, found - (octets[found - 1 : found] == b"\r"))
        if ending.group(1):
            return
        begin = ending.end()
        # The line end of this delimiter may be the beginning of the next.
        at = max(_before_line_end(octets, begin), found + 1)
    if begin is not None:  # the closing delimiter never came
        yield begin, end


def _before_line_end(octets: bytes, end: int) -> int:
    return end - (2 if octets[end - 2 : end] == b"\r\n" else 1)
