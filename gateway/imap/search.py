"""Whether a message is one that SEARCH asks for: from its entry, then its header, then its content.

Each key is true, false, or not known yet (None) from what has been read of the message so far, and
the connectives are Kleene's: `OR SEEN BODY x` is settled for a message that has been seen, and its
content is never fetched.
"""

from __future__ import annotations

import codecs
import email.utils
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date
from email.errors import HeaderParseError
from email.header import decode_header
from functools import cached_property
from typing import Final, final

from gateway.imap.mime_fields import single
from gateway.imap.search_keys import (
    ChangedSince,
    Either,
    Every,
    Flagged,
    InBody,
    InField,
    InText,
    Key,
    Larger,
    Not,
    Numbers,
    Received,
    Sent,
    Smaller,
)
from gateway.imap.structure import Part, field_value, header_fields, parse
from gateway.imap.transfer_encoding import decoded
from storage.folder_types import Entry
from storage.header_block import header_end

# Codecs of Python's that no mail is written in. A mail may name what it likes, and punycode takes time
# that grows with the square of the text.
_NO_CHARSET: Final = frozenset(
    {"punycode", "idna", "unicode_escape", "unicode-escape", "raw_unicode_escape", "raw-unicode-escape"}
)
_BLANKS: Final = re.compile(r"\s+")


@final
@dataclass(frozen=True, slots=True)
class Bounds:
    """What `*` means: the number of the last message, and its UID."""

    count: int
    last_uid: int


@final
@dataclass(frozen=True)
class Found:
    """What is known of a message. `header` is its header block, `content` all of it; None: not read yet."""

    number: int
    entry: Entry
    bounds: Bounds
    recent: bool = False
    header: bytes | None = None
    content: bytes | None = field(default=None, repr=False)

    @cached_property
    def fields(self) -> tuple[tuple[bytes, str], ...]:
        """Name in lower case and decoded text, of each field of the header."""
        block = self.content if self.header is None else self.header
        assert block is not None, "asked for where a header has been read"
        span = (0, header_end(block))
        return tuple((name, _text(field_value(block, at))) for name, at in header_fields(block, span))

    @property
    def has_header(self) -> bool:
        return self.header is not None or self.content is not None


def matches(key: Key, found: Found) -> bool | None:
    """None where more of the message has to be read to say it."""
    match key:
        case Not(inner):
            verdict = matches(inner, found)
            return None if verdict is None else not verdict
        case Either(one, other):
            return _any((one, other), found)
        case Every(keys):
            verdict = _any(tuple(Not(inner) for inner in keys), found)
            return None if verdict is None else not verdict
        case Numbers() | Flagged() | Received() | Larger() | Smaller() | ChangedSince():
            return _by_entry(key, found)
        case Sent() | InField():
            return _by_header(key, found) if found.has_header else None
        case InBody(text):
            return None if found.content is None else _in_body(_folded(text), found.content)
        case InText(text):
            wanted = _folded(text)
            if found.has_header and any(
                wanted in _folded(f"{name.decode('latin-1')}: {value}") for name, value in found.fields
            ):
                return True
            return None if found.content is None else _in_body(wanted, found.content)


def needs_content(key: Key) -> bool:
    """Whether a header can leave the key open."""
    match key:
        case Not(inner):
            return needs_content(inner)
        case Either(one, other):
            return needs_content(one) or needs_content(other)
        case Every(keys):
            return any(map(needs_content, keys))
        case _:
            return isinstance(key, InBody | InText)


def _any(keys: tuple[Key, ...], found: Found) -> bool | None:
    verdicts = [matches(key, found) for key in keys]
    if True in verdicts:
        return True
    return None if None in verdicts else False


def _by_entry(key: Numbers | Flagged | Received | Larger | Smaller | ChangedSince, found: Found) -> bool:
    entry = found.entry
    match key:
        case Numbers(numbers, uids):
            own, last = (entry.uid, found.bounds.last_uid) if uids else (found.number, found.bounds.count)
            return any(first <= own <= end for first, end in numbers.spans(last))
        case Flagged("\\Recent"):
            return found.recent
        case Flagged(flag):
            # RFC 3501 2.3.2 leaves keywords' case open; system flags have none.
            return flag.lower() in {one.lower() for one in entry.flags}
        case Received(when, day):
            return when.holds(entry.internal_date.astimezone(UTC).date(), day)
        case Larger(octets):
            return entry.size > octets
        case Smaller(octets):
            return entry.size < octets
        case ChangedSince(modseq):
            return entry.modseq >= modseq


def _by_header(key: Sent | InField, found: Found) -> bool:
    match key:
        case Sent(when, day):
            sent = _date(found)
            return sent is not None and when.holds(sent, day)
        case InField(name, text):
            wanted = _folded(text)
            return any(wanted in _folded(value) for one, value in found.fields if one == name)


def _date(found: Found) -> date | None:
    """The day that the Date field names, in the sender's own time zone."""
    for name, value in found.fields:
        if name == b"date":
            try:
                parsed = email.utils.parsedate(value)
                return date(*parsed[:3]) if parsed else None
            except (ValueError, OverflowError, IndexError, TypeError):
                return None  # whatever a sender wrote there, it names no day
    return None


def _in_body(wanted: str, content: bytes) -> bool:
    root = parse(content)
    return any(wanted in _folded(text) for text in _texts(content, root))


def _texts(content: bytes, part: Part) -> Iterator[str]:
    """The text that a reader sees: decoded parts of text, and the headers of messages within."""
    for one in part.parts:
        yield from _texts(content, one)
    if part.message is not None:
        inner = part.message
        for _, span in header_fields(content, inner.header):
            yield _text(field_value(content, span))
        yield from _texts(content, inner)
    elif not part.parts and part.type.type == b"text":
        encoding = single(part.fields.get(b"content-transfer-encoding"))
        octets = decoded(content[part.body[0] : part.body[1]], encoding)
        yield _characters(octets, part.type.parameter(b"charset") or b"us-ascii")


def _characters(octets: bytes, charset: bytes) -> str:
    try:
        codec = codecs.lookup(charset.decode("ascii")).name
        if codec not in _NO_CHARSET:
            return octets.decode(codec)
        return octets.decode("utf-8", "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")


def _text(value: bytes) -> str:
    """A field's value with its encoded words read (RFC 2047); what cannot be read stands as it is."""
    text = _characters(value, b"utf-8")
    if "=?" not in text:
        return text
    try:
        return "".join(
            _characters(word, (charset or "us-ascii").encode()) if isinstance(word, bytes) else word
            for word, charset in decode_header(text)
        )
    except (HeaderParseError, ValueError):
        return text


def _folded(text: str) -> str:
    """RFC 3501 6.4.4: letters match in either case; a line that is folded is one line."""
    return _BLANKS.sub(" ", text).casefold()
