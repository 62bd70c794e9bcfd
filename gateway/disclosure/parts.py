"""The parts of a package as an investigator's tools take them: EML in ZIP, mbox, JSON lines, CSV.

What is written here is encrypted as it is written, and nothing of it is kept in the clear: a package of
any size passes through the memory of one part.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, final

from gateway.disclosure import models
from gateway.disclosure.cms import Envelope, Recipient
from gateway.disclosure.zipping import Archive, Packed

# The fields of `storage.traffic.TrafficRecord`, and whether its owner had deleted the message: the
# JSON lines have them under the same names.
COLUMNS: Final = (
    "id", "received_at", "sender", "recipient", "peer", "helo", "protocol", "size", "sha256",
    "message_id", "from", "to", "cc", "date", "cut",
    "deleted_by_owner",
)  # fmt: skip
# Octets of plaintext that no part goes beyond: what encryption adds is less than the rest of 64 MiB.
LARGEST: Final = (64 << 20) - (64 << 10)
_FROM_LINE: Final = re.compile(rb"^(>*From )", re.MULTILINE)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class TooLarge(ValueError):
    """One message is larger than any part may be."""


@final
@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished part: what the manifest says of it, and its octets, which the authority alone can open."""

    told: models.Part
    body: memoryview


@final
class PartWriter:
    """One part as it is written: digested and encrypted."""

    def __init__(self, name: str, media_type: str, recipient: Recipient) -> None:
        self.name: Final = name
        self.size = 0  # octets of plaintext so far
        self._media_type: Final = media_type
        self._digest: Final = hashlib.sha256()
        self._envelope: Final = Envelope(recipient)

    def write(self, octets: bytes) -> None:
        self._digest.update(octets)
        self._envelope.write(octets)
        self.size += len(octets)

    def finish(self) -> Sealed:
        """Takes milliseconds for each ten megabytes: a thread's work."""
        body = self._envelope.finish()
        told = models.Part(
            name=self.name,
            media_type=self._media_type,
            size=self.size,
            sha256=self._digest.hexdigest(),
            encrypted_size=len(body),
            encrypted_sha256=hashlib.sha256(body).hexdigest(),
        )
        return Sealed(told, body)


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """Where a message stands in the package, and what it must hash to."""

    part: str
    path: str
    size: int
    sha256: str


@final
@dataclass(frozen=True, slots=True)
class Letter:
    """One message, ready to be laid into a volume."""

    message_id: str
    received_at: datetime
    sha256: str
    file: Packed

    @classmethod
    def of(cls, message_id: str, received_at: datetime, content: bytes) -> Letter:
        """Digests and deflates. Raises TooLarge for a message that has no room in a part of its own."""
        letter = cls(message_id, received_at, hashlib.sha256(content).hexdigest(), Packed.of(content))
        if not Archive().has_room(letter.path, letter.file, LARGEST):
            raise TooLarge(
                f"{len(content)} octets, {len(letter.file.octets)} deflated, a part takes {LARGEST}"
            )
        return letter

    @property
    def path(self) -> str:
        return f"messages/{self.message_id}.eml"


@final
class MessageVolume:
    """Messages in a ZIP, `messages/<id>.eml` inside; and once more in an mbox where that is wanted.

    Both hold the same messages under the same number. Names are our own ids: nothing out of a message
    becomes a path.
    """

    def __init__(self, number: int, recipient: Recipient, *, mbox: bool) -> None:
        self._zip: Final = PartWriter(f"content-{number:04}.zip", "application/zip", recipient)
        self._archive: Final = Archive()
        self._mbox: Final = (
            PartWriter(f"content-{number:04}.mbox", "application/mbox", recipient) if mbox else None
        )

    def has_room(self, letter: Letter, again: bytes | None, part_size: int) -> bool:
        """Whether the message can be added, and no part be larger than `part_size` octets."""
        if not self._archive.has_room(letter.path, letter.file, part_size):
            return False
        return self._mbox is None or again is None or self._mbox.size + len(again) <= part_size

    def add(self, letter: Letter, again: bytes | None) -> Placed:
        """`again` is the message as an mbox has it, where it is to be in there too."""
        self._zip.write(self._archive.before(letter.path, letter.received_at, letter.file))
        self._zip.write(letter.file.octets)
        if self._mbox is not None and again is not None:
            self._mbox.write(again)
        return Placed(self._zip.name, letter.path, letter.file.size, letter.sha256)

    def close(self) -> list[PartWriter]:
        """The parts, to be finished; an mbox that nothing came into is none."""
        self._zip.write(self._archive.end())
        return [self._zip, *([self._mbox] if self._mbox is not None and self._mbox.size else [])]


def mbox_message(received_at: datetime, content: bytes) -> bytes:
    """One message of an mbox file (RFC 4155). Raises TooLarge.

    Line ends are LF, and every line that begins with `From `, or with `>`s before it, gets one `>`
    more ("mboxrd"): undoing both gives the message back. The separator names nobody: a sender is
    traffic data, which the permit may not carry, and a sender's name could forge a separator.
    """
    body = _FROM_LINE.sub(rb">\1", content.replace(b"\r\n", b"\n"))
    separator = f"From MAILER-DAEMON {time.asctime(received_at.utctimetuple())}\n".encode()
    message = b"".join((separator, body, b"\n" if body.endswith(b"\n") else b"\n\n"))
    if len(message) > LARGEST:
        raise TooLarge(f"{len(message)} octets as mbox, a part takes {LARGEST}")
    return message


@final
class TrafficVolume:
    """Traffic records as JSON lines and as CSV, the same records under the same number in both."""

    def __init__(self, number: int, recipient: Recipient) -> None:
        self._lines: Final = PartWriter(f"traffic-{number:04}.jsonl", "application/jsonl", recipient)
        self._table: Final = PartWriter(f"traffic-{number:04}.csv", "text/csv", recipient)
        self._table.write(_row(COLUMNS))

    def add(self, record: Mapping[str, Any]) -> None:
        self._lines.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._table.write(_row(tuple(_cell(record.get(column)) for column in COLUMNS)))

    @property
    def size(self) -> int:
        """Octets of the larger of the two."""
        return max(self._lines.size, self._table.size)

    def close(self) -> list[PartWriter]:
        return [self._lines, self._table]


def _row(cells: tuple[str, ...]) -> bytes:
    """RFC 4180."""
    table = io.StringIO(newline="")
    csv.writer(table, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n").writerow(cells)
    return table.getvalue().encode()


def _cell(value: Any) -> str:
    """One cell. A leading apostrophe keeps a spreadsheet from running a sender's address as a formula.

    https://owasp.org/www-community/attacks/CSV_Injection. The JSON lines have it unchanged.
    """
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def document(name: str, value: Mapping[str, Any], recipient: Recipient) -> PartWriter:
    """One JSON document of the package."""
    text = json.dumps(value, ensure_ascii=False, indent=1, default=str)
    return plain(name, "application/json", text.encode() + b"\n", recipient)


def plain(name: str, media_type: str, body: bytes, recipient: Recipient) -> PartWriter:
    """A part whose octets are all there."""
    writer = PartWriter(name, media_type, recipient)
    writer.write(body)
    return writer
