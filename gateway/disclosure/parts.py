"""The parts of a package as an investigator's tools take them: EML in ZIP, JSON lines, CSV.

Each builder yields plaintext parts no larger than asked for, one at a time: a package of any
size passes through the memory of one part.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, final

# Octets of a ZIP besides its contents (APPNOTE 4.3.7, 4.3.12, 4.3.14 to 4.3.16): before each file, again
# in the directory at the end, and after it, where ZIP64's records may stand too.
_LOCAL_HEADER: Final = 30
_DIRECTORY_ENTRY: Final = 46
_END: Final = 22 + 56 + 20
# The fields of `storage.traffic.TrafficRecord`, and whether its owner had deleted the message: the
# JSON lines have them under the same names.
COLUMNS: Final = (
    "id", "received_at", "sender", "recipient", "peer", "helo", "protocol", "size", "sha256",
    "message_id", "from", "to", "cc", "date", "cut",
    "deleted_by_owner",
)  # fmt: skip
_FROM_LINE: Final = re.compile(rb"^(>*From )", re.MULTILINE)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@final
@dataclass(frozen=True, slots=True)
class Plain:
    """A part before it is encrypted."""

    name: str
    media_type: str
    body: bytes


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """Where a message stands in the package, and what it must hash to."""

    part: str
    path: str
    message_id: str
    received_at: datetime
    size: int
    sha256: str
    deleted_by_owner: bool


class TooLarge(ValueError):
    """One message is larger than any part may be."""


@final
class MessageVolumes:
    """Messages into ZIP files, each of one part's size at most; `messages/<id>.eml` inside.

    Stored, not compressed: what is inside is found by offset with any tool, and building costs
    what reading costs. Names are our own ids: nothing out of a message becomes a path.
    """

    def __init__(self, part_size: int) -> None:
        self._part_size: Final = part_size
        self._number = 0
        self._buffer = io.BytesIO()
        self._zip: zipfile.ZipFile | None = None
        self._directory = 0  # octets that the directory will take when the file is closed

    def add(
        self, message_id: str, received_at: datetime, content: bytes, *, deleted_by_owner: bool = False
    ) -> tuple[Placed, Plain | None]:
        """Where the message went, and the part that it filled up, if it did. Raises TooLarge."""
        path = f"messages/{message_id}.eml"
        entry = _DIRECTORY_ENTRY + len(path)
        needed = _LOCAL_HEADER + len(path) + len(content) + entry + _END
        if needed > self._part_size:
            raise TooLarge(f"{len(content)} octets, a part takes {self._part_size}")
        full = None
        if self._zip is not None and self._buffer.tell() + self._directory + needed > self._part_size:
            full = self.finish()
        if self._zip is None:
            self._number += 1
            self._buffer = io.BytesIO()
            self._zip = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_STORED)
            self._directory = 0
        info = zipfile.ZipInfo(path, _dos_time(received_at))
        info.external_attr = 0o600 << 16
        self._zip.writestr(info, content)
        self._directory += entry
        digest = hashlib.sha256(content).hexdigest()
        placed = Placed(self._name(), path, message_id, received_at, len(content), digest, deleted_by_owner)
        return placed, full

    def finish(self) -> Plain | None:
        """The part under way, if there is one."""
        if self._zip is None:
            return None
        self._zip.close()
        self._zip = None
        return Plain(self._name(), "application/zip", self._buffer.getvalue())

    def _name(self) -> str:
        return f"content-{self._number:04}.zip"


def _dos_time(moment: datetime) -> tuple[int, int, int, int, int, int]:
    """A ZIP's own time, in UTC: it begins in 1980."""
    if moment.year < 1980:
        return (1980, 1, 1, 0, 0, 0)
    return (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)


@final
class MboxVolumes:
    """The same messages once more, as mbox files (RFC 4155) of one part's size at most.

    Line ends are LF, and every line that begins with `From `, or with `>`s before it, gets one `>`
    more ("mboxrd"): undoing both gives the message back. The separator names nobody: a sender is
    traffic data, which the permit may not carry, and a sender's name could forge a separator.
    """

    def __init__(self, part_size: int) -> None:
        self._part_size: Final = part_size
        self._number = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, received_at: datetime, content: bytes) -> Plain | None:
        """The part that was full before this message, if it was. Raises TooLarge."""
        body = _FROM_LINE.sub(rb">\1", content.replace(b"\r\n", b"\n"))
        piece = b"".join(
            (
                f"From MAILER-DAEMON {time.asctime(received_at.utctimetuple())}\n".encode(),
                body,
                b"\n" if body.endswith(b"\n") else b"\n\n",
            )
        )
        if len(piece) > self._part_size:
            raise TooLarge(f"{len(piece)} octets as mbox, a part takes {self._part_size}")
        full = self.finish() if self._size + len(piece) > self._part_size else None
        self._pieces.append(piece)
        self._size += len(piece)
        return full

    def finish(self) -> Plain | None:
        """The part under way, if there is one."""
        if not self._pieces:
            return None
        self._number += 1
        body, self._pieces, self._size = b"".join(self._pieces), [], 0
        return Plain(f"content-{self._number:04}.mbox", "application/mbox", body)


@final
class TrafficVolumes:
    """Traffic records as JSON lines and as CSV, the same records under the same number in both."""

    def __init__(self, part_size: int) -> None:
        self._part_size: Final = part_size
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._lines: list[bytes] = []
        self._lines_size = 0
        self._table = io.StringIO(newline="")
        self._writer = csv.writer(self._table, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")  # RFC 4180
        self._writer.writerow(COLUMNS)

    def add(self, record: Mapping[str, Any]) -> Iterator[Plain]:
        """Yields the two parts that were full before this record."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        # UTF-8 takes up to four octets for one of the table's characters.
        if self._lines and max(self._lines_size + len(line), 4 * self._table.tell()) > self._part_size:
            yield from self.finish()
        self._lines.append(line)
        self._lines_size += len(line)
        self._writer.writerow([_cell(record.get(column)) for column in COLUMNS])

    def finish(self) -> Iterator[Plain]:
        """The parts under way, if there are any."""
        if not self._lines:
            return
        self._number += 1
        lines, table = b"".join(self._lines), self._table.getvalue().encode()
        self._begin()
        yield Plain(f"traffic-{self._number:04}.jsonl", "application/jsonl", lines)
        yield Plain(f"traffic-{self._number:04}.csv", "text/csv", table)


def _cell(value: Any) -> str:
    """One cell. A leading apostrophe keeps a spreadsheet from running a sender's address as a formula.

    https://owasp.org/www-community/attacks/CSV_Injection. The JSON lines have it unchanged.
    """
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def document(name: str, value: Mapping[str, Any]) -> Plain:
    """One JSON document of the package."""
    text = json.dumps(value, ensure_ascii=False, indent=1, default=str)
    return Plain(name, "application/json", text.encode() + b"\n")
