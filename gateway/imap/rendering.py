"""One message's answer to a FETCH (RFC 3501 7.4.2), piece by piece, without copying its octets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum, auto

from gateway.imap.envelope import envelope
from gateway.imap.fetch_grammar import Attribute, FetchItem, Octets
from gateway.imap.replies import internal_date
from gateway.imap.sections import Cut
from gateway.imap.written_structure import body, body_structure
from storage.folder_types import Entry


class Need(Enum):
    """How much of a message an answer is made from."""

    ENTRY = auto()
    ENVELOPE = auto()
    HEADER = auto()
    CONTENT = auto()


def need_of(items: Iterable[FetchItem]) -> Need:
    """The least that is enough for all of the items."""
    need = Need.ENTRY
    for item in items:
        match item:
            case Octets() if not item.section.in_header:
                return Need.CONTENT
            case Attribute.BODY | Attribute.BODYSTRUCTURE:
                return Need.CONTENT
            case Octets():
                need = Need.HEADER
            case Attribute.ENVELOPE if need is Need.ENTRY:
                need = Need.ENVELOPE
    return need


def render(items: Iterable[FetchItem], entry: Entry, flags: bytes, octets: bytes, need: Need) -> list[bytes]:
    """The answer between its parentheses. `octets` is what `need`, that of the items, says."""
    cut = Cut(octets)
    pieces: list[bytes] = []
    for item in items:
        if pieces:
            pieces.append(b" ")
        if isinstance(item, Octets):
            pieces.extend(_octets(item, cut))
        else:
            pieces.append(_attribute(item, entry, flags, octets, cut, need))
    return pieces


def _attribute(item: Attribute, entry: Entry, flags: bytes, octets: bytes, cut: Cut, need: Need) -> bytes:
    match item:
        case Attribute.FLAGS:
            return b"FLAGS " + flags
        case Attribute.UID:
            return b"UID %d" % entry.uid
        case Attribute.INTERNALDATE:
            return b"INTERNALDATE " + internal_date(entry.internal_date)
        case Attribute.SIZE:
            return b"RFC822.SIZE %d" % entry.size
        case Attribute.MODSEQ:
            return b"MODSEQ (%d)" % entry.modseq
        case Attribute.ENVELOPE:
            return b"ENVELOPE " + (octets if need is Need.ENVELOPE else envelope(cut.header))
        case Attribute.BODY:
            return b"BODY " + body(octets, cut.root)
        case Attribute.BODYSTRUCTURE:
            return b"BODYSTRUCTURE " + body_structure(octets, cut.root)


def _octets(item: Octets, cut: Cut) -> Iterator[bytes]:
    found = cut.section(item.section)
    yield item.label
    if found is None:
        yield b" NIL"  # RFC 3501 7.4.2: there is no such part
        return
    if item.partial is not None:
        first, count = item.partial
        found = found[first : first + count]
    yield b" {%d}\r\n" % len(found)
    yield found
