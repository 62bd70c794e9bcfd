"""One message's answer to a FETCH (RFC 3501 7.4.2), piece by piece, without copying its octets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import final

from gateway.imap.envelope import envelope
from gateway.imap.fetch_grammar import Attribute, FetchItem, Octets
from gateway.imap.replies import internal_date
from gateway.imap.sections import Cut
from gateway.imap.written_structure import body, body_structure
from storage.folder_types import Entry
from storage.header_block import Heading, Wanted


@final
@dataclass(frozen=True, slots=True)
class Need:
    """How much of a message an answer is made from: all of its `content`, taken `apart` or not; else what is
    `kept` of it in the index, if anything."""

    content: bool
    apart: bool
    kept: Wanted


def need_of(items: Collection[FetchItem]) -> Need:
    """The least that is enough for all of the items."""
    sections = [item for item in items if isinstance(item, Octets)]
    # BODY, without extension data, is asked for by few since BODYSTRUCTURE is there: it is not kept.
    if Attribute.BODY in items or not all(item.section.in_header for item in sections):
        structured = any(item in items for item in (Attribute.BODY, Attribute.BODYSTRUCTURE))
        return Need(True, structured or any(item.section.part for item in sections), Wanted())
    kept = Wanted(bool(sections), Attribute.ENVELOPE in items, Attribute.BODYSTRUCTURE in items)
    return Need(False, False, kept)


def render(items: Iterable[FetchItem], entry: Entry, flags: bytes, read: Heading | Cut) -> list[bytes]:
    """The answer between its parentheses. `read` is what `need_of` the items says: what is kept of the
    message, or the message itself."""
    cut = read if isinstance(read, Cut) else Cut(read.block)
    pieces: list[bytes] = []
    for item in items:
        if pieces:
            pieces.append(b" ")
        if isinstance(item, Octets):
            pieces.extend(_octets(item, cut))
        else:
            pieces.append(_attribute(item, entry, flags, read))
    return pieces


def _attribute(item: Attribute, entry: Entry, flags: bytes, read: Heading | Cut) -> bytes:
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
            return b"ENVELOPE " + (envelope(read.header) if isinstance(read, Cut) else read.told)
        case Attribute.BODYSTRUCTURE:
            return b"BODYSTRUCTURE " + (_structure(read) if isinstance(read, Cut) else read.structure)
        case Attribute.BODY:
            assert isinstance(read, Cut), "no index keeps it"
            return b"BODY " + body(read.octets, read.root)


def _structure(cut: Cut) -> bytes:
    return body_structure(cut.octets, cut.root)


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
