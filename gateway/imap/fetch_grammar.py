"""What FETCH asks for (RFC 3501 6.4.5 and 9, `fetch-att`), as types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final

from gateway.imap.scanner import BadCommand, Scanner
from gateway.imap.sections import Section, SectionText

_MOST_ITEMS: Final = 200
_FIELD_NAME: Final = re.compile(rb"[!#$&'+,./0-9;<=>?@A-Z\[\]^_`a-z|}~-]+\Z")


class Attribute(StrEnum):
    """What is told of a message without its octets."""

    FLAGS = "FLAGS"
    UID = "UID"
    INTERNALDATE = "INTERNALDATE"
    SIZE = "RFC822.SIZE"
    ENVELOPE = "ENVELOPE"
    BODY = "BODY"
    BODYSTRUCTURE = "BODYSTRUCTURE"
    MODSEQ = "MODSEQ"  # RFC 7162 3.1.5


@final
@dataclass(frozen=True, slots=True)
class Octets:
    """Octets of a message: `BODY.PEEK[1.2.TEXT]<0.2048>`, and the older RFC822 forms.

    `label` is what the answer calls them; `peek`: reading them does not set \\Seen.
    `partial` is (first octet, how many at most).
    """

    label: bytes
    section: Section
    peek: bool = False
    partial: tuple[int, int] | None = None


FetchItem = Attribute | Octets

# RFC 3501 6.4.5: the macros stand alone.
_MACROS: Final[tuple[tuple[bytes, tuple[FetchItem, ...]], ...]] = (
    (b"ALL", (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE, Attribute.ENVELOPE)),
    (b"FAST", (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE)),
    (
        b"FULL",
        (Attribute.FLAGS, Attribute.INTERNALDATE, Attribute.SIZE, Attribute.ENVELOPE, Attribute.BODY),
    ),
)
_WHOLE: Final = Section()
# The longest word that fits comes first.
_OLDER: Final[tuple[tuple[bytes, FetchItem], ...]] = (
    (b"RFC822.SIZE", Attribute.SIZE),
    (b"RFC822.HEADER", Octets(b"RFC822.HEADER", Section(text=SectionText.HEADER), peek=True)),
    (b"RFC822.TEXT", Octets(b"RFC822.TEXT", Section(text=SectionText.TEXT))),
    (b"RFC822", Octets(b"RFC822", _WHOLE)),
)
_PLAIN: Final = (
    Attribute.FLAGS,
    Attribute.UID,
    Attribute.INTERNALDATE,
    Attribute.ENVELOPE,
    Attribute.BODYSTRUCTURE,
    Attribute.MODSEQ,
)


def fetch_items(scanner: Scanner) -> tuple[FetchItem, ...]:
    """The macro, the one item, or the list of them. Raises BadCommand."""
    for name, items in _MACROS:
        if scanner.skip(name):
            return items
    if not scanner.skip(b"("):
        return (_item(scanner),)
    found = [_item(scanner)]
    while not scanner.skip(b")"):
        scanner.space()
        found.append(_item(scanner))
        if len(found) > _MOST_ITEMS:
            raise BadCommand(f"FETCH takes {_MOST_ITEMS} items at most here")
    return tuple(dict.fromkeys(found))


def _item(scanner: Scanner) -> FetchItem:
    for name, item in _OLDER:
        if scanner.skip(name):
            return item
    for attribute in _PLAIN:
        if scanner.skip(attribute.encode("ascii")):
            return attribute
    scanner.expect(b"BODY", "a fetch item is expected (RFC 3501 6.4.5)")
    peek = scanner.skip(b".PEEK")
    if not peek and not scanner.next_is(b"["):
        return Attribute.BODY
    section, written = _section(scanner)
    label, partial = b"BODY[" + written + b"]", None
    if scanner.skip(b"<"):
        first = scanner.number()
        scanner.expect(b".", "a partial is <first.count> (RFC 3501 9)")
        count = scanner.number()
        scanner.expect(b">", "a partial is <first.count> (RFC 3501 9)")
        if not count:
            raise BadCommand("a partial has one octet at least (RFC 3501 9)")
        label, partial = label + b"<%d>" % first, (first, count)
    return Octets(label, section, peek, partial)


def _section(scanner: Scanner) -> tuple[Section, bytes]:
    """RFC 3501 9: `section`, and how an answer writes it."""
    scanner.expect(b"[", "a section is expected in brackets (RFC 3501 6.4.5)")
    part: list[int] = []
    text: SectionText | None = None
    fields: tuple[bytes, ...] = ()
    while not scanner.skip(b"]"):
        if text is not None:
            raise BadCommand("a section ends with its text (RFC 3501 9)")
        if part:
            scanner.expect(b".", "parts of a section are divided by dots (RFC 3501 9)")
        if (number := scanner.part_number()) is not None:
            part.append(number)
            continue
        text = _section_text(scanner)
        if text in (SectionText.FIELDS, SectionText.FIELDS_NOT):
            scanner.space()
            fields = _fields(scanner)
    if text is SectionText.MIME and not part:
        raise BadCommand("MIME belongs to a part (RFC 3501 6.4.5)")
    section = Section(tuple(part), text, fields)
    return section, _written(section)


def _section_text(scanner: Scanner) -> SectionText:
    for text in (
        SectionText.FIELDS_NOT,
        SectionText.FIELDS,
        SectionText.HEADER,
        SectionText.TEXT,
        SectionText.MIME,
    ):
        if scanner.skip(text.encode("ascii")):
            return text
    raise BadCommand("HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, MIME or TEXT is expected (RFC 3501 9)")


def _fields(scanner: Scanner) -> tuple[bytes, ...]:
    scanner.expect(b"(", "a list of header fields is expected (RFC 3501 9)")
    names = [scanner.astring()]
    while not scanner.skip(b")"):
        scanner.space()
        names.append(scanner.astring())
        if len(names) > _MOST_ITEMS:
            raise BadCommand(f"a section takes {_MOST_ITEMS} header fields at most here")
    # RFC 5322 2.2, less what an atom cannot hold: the answer repeats the names as atoms.
    if not all(_FIELD_NAME.match(name) for name in names):
        raise BadCommand("that is no header field's name (RFC 5322 2.2)")
    return tuple(names)


def _written(section: Section) -> bytes:
    words = [b".".join(b"%d" % number for number in section.part)] if section.part else []
    if section.text is not None:
        words.append(section.text.encode("ascii"))
    written = b".".join(words)
    return written + b" (" + b" ".join(section.fields) + b")" if section.fields else written
