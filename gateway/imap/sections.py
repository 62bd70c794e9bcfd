"""The parts of a message that FETCH may ask for (RFC 3501 6.4.5), cut out octet for octet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final

from gateway.imap.structure import Part, header_fields, parse
from storage.header_block import header_block, header_end


class SectionText(StrEnum):
    """RFC 3501 9: `section-text`."""

    HEADER = "HEADER"
    FIELDS = "HEADER.FIELDS"
    FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


_OF_THE_HEADER: Final = (SectionText.HEADER, SectionText.FIELDS, SectionText.FIELDS_NOT)


@final
@dataclass(frozen=True, slots=True)
class Section:
    """`1.2.HEADER.FIELDS (From)`: part numbers, what of the part, and which fields. Nothing: all of it."""

    part: tuple[int, ...] = ()
    text: SectionText | None = None
    fields: tuple[bytes, ...] = ()

    @property
    def in_header(self) -> bool:
        """Whether the message's own header block is enough to answer it."""
        return not self.part and self.text in _OF_THE_HEADER


@final
class Cut:
    """One message, or its header block alone, to cut sections out of. Taken apart when that is needed."""

    def __init__(self, octets: bytes) -> None:
        self.octets: Final = octets
        self._root: Part | None = None

    @property
    def root(self) -> Part:
        if self._root is None:
            self._root = parse(self.octets)
        return self._root

    def take_apart(self) -> None:
        """Ahead of time, for whoever does so in a thread."""
        self._root = parse(self.octets)

    @property
    def header(self) -> bytes:
        """The message's own header block, through its empty line."""
        return header_block(self.octets)

    def section(self, section: Section) -> bytes | None:
        """The octets of a section; None where the message has no such part (NIL to the client)."""
        if not section.part:
            return self._of_message(section, 0, header_end(self.octets), len(self.octets))
        part = self._part(section.part)
        if part is None:
            return None
        if section.text is None:
            return self.octets[part.body[0] : part.body[1]]
        if section.text is SectionText.MIME:
            return self.octets[part.header[0] : part.header[1]]
        # RFC 3501 6.4.5: HEADER and TEXT of a part are those of the message that it holds.
        inner = part.message
        if inner is None:
            return None
        return self._of_message(section, inner.header[0], inner.header[1], inner.body[1])

    def _of_message(self, section: Section, start: int, body: int, end: int) -> bytes | None:
        match section.text:
            case None:
                return self.octets[start:end]
            case SectionText.HEADER:
                return self.octets[start:body]
            case SectionText.TEXT:
                return self.octets[body:end]
            case SectionText.MIME:
                return None
            case _:
                return self._fields(section, start, body)

    def _fields(self, section: Section, start: int, body: int) -> bytes:
        """RFC 3501 6.4.5: the fields that match, as they stand, and the empty line behind them."""
        wanted = {name.lower() for name in section.fields}
        matching = section.text is SectionText.FIELDS
        kept = [
            self.octets[first:last].rstrip(b"\r\n")
            for name, (first, last) in header_fields(self.octets, (start, body))
            if (name in wanted) is matching
        ]
        return b"".join(field + b"\r\n" for field in kept) + b"\r\n"

    def _part(self, numbers: tuple[int, ...]) -> Part | None:
        """RFC 3501 6.4.5: what is no multipart has one part, itself."""
        here: Part | None = None
        container: Part | None = self.root
        for number in numbers:
            if here is not None:
                container = here.message or (here if here.parts else None)
            if container is None:
                return None
            if container.parts:
                here = container.parts[number - 1] if number <= len(container.parts) else None
            else:
                here = container if number == 1 else None
            if here is None:
                return None
        return here
