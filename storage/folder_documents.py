"""How a folder lies at rest: its head, the segments of entries that the head names, the header blocks.

`<folder>/head` is replaced by compare-and-swap, and is the one truth: an object that the head does not
name is not there. Segments and header blocks are written once, before a head names them.

The newest entries stand in the head itself (`tail`), and so do changes of older ones (`overlay`), until
there are enough of them to be worth a segment. So a flag costs one small put, however large the folder is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, final

from storage.errors import Corrupt
from storage.folder_types import Entry
from storage.folder_uids import NONE, UidSet
from storage.header_block import Editions, Heading
from storage.identity import MessageId

_VERSION: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_EARLIEST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LATEST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """Entries in an object of their own. `uids` are those that are still there: the object may hold
    more. `first` and `last` bound the names of its messages; `modseq` is the highest in it."""

    name: str
    uids: UidSet
    first: str
    last: str
    modseq: int


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Header blocks in an object of their own."""

    name: str
    uids: UidSet


@final
@dataclass(frozen=True, slots=True)
class Changed:
    """What became of an entry since its segment was written."""

    flags: frozenset[str]
    modseq: int


@final
@dataclass(frozen=True, slots=True)
class Leaving:
    """A move that was begun: whoever reads the head next may end it (RFC 6851 3.3: not half done)."""

    id: str
    to: str  # the folder's id
    uids: UidSet


@final
@dataclass(frozen=True, slots=True)
class Arrived:
    """A move or a copy that came in here, so that it is done once. `uids` in the order of the source's."""

    id: str
    at: datetime
    uids: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Head:
    """The state of a folder.

    `serial` rises with each replacement. `deleted`: who bears \\Deleted. `fence`, `taken` and
    `taken_before`: the newest intake that brought mail here, what it brought, and what the one before
    it did (`storage.folder_arrivals`); `filed`: the last that a session put here itself. `pending`:
    messages that are to be deleted for good. `recent`: who came in while nobody looked that may have them
    as \\Recent. `dropped`: keys of objects that an earlier head named,
    until they are known to be gone.
    """

    serial: int = 0
    uid_next: int = 1
    modseq: int = 1  # RFC 7162 3.1.1: a positive number
    unseen: int = 0
    deleted: UidSet = NONE
    segments: tuple[Segment, ...] = ()
    tail: tuple[Entry, ...] = ()
    overlay: Mapping[int, Changed] = field(default_factory=dict)
    batches: tuple[Batch, ...] = ()
    fence: int = 0
    taken: frozenset[str] = frozenset()
    taken_before: frozenset[str] = frozenset()
    filed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    arrived: tuple[Arrived, ...] = ()
    dropped: tuple[str, ...] = ()
    recent: UidSet = NONE

    @property
    def uids(self) -> UidSet:
        ranges = [span for segment in self.segments for span in segment.uids.ranges]
        return UidSet.spanning([*ranges, *UidSet.of(entry.uid for entry in self.tail).ranges])

    @property
    def moving(self) -> UidSet:
        """Those that are on their way to another folder: not here any more to be changed or deleted."""
        return UidSet.spanning(span for one in self.leaving for span in one.uids.ranges)


def write_head(head: Head) -> bytes:
    flags = _FlagTable()
    return _dump(
        {
            "version": _VERSION,
            "serial": head.serial,
            "uid_next": head.uid_next,
            "modseq": head.modseq,
            "unseen": head.unseen,
            "deleted": str(head.deleted),
            "segments": [[one.name, str(one.uids), one.first, one.last, one.modseq] for one in head.segments],
            "tail": [_row(entry, flags) for entry in head.tail],
            "overlay": [[uid, flags.number(one.flags), one.modseq] for uid, one in head.overlay.items()],
            "batches": [[one.name, str(one.uids)] for one in head.batches],
            "fence": head.fence,
            "taken": sorted(head.taken),
            "taken_before": sorted(head.taken_before),
            "filed": head.filed,
            "pending": head.pending,
            "leaving": [[one.id, one.to, str(one.uids)] for one in head.leaving],
            "arrived": [[one.id, milliseconds(one.at), one.uids] for one in head.arrived],
            "dropped": head.dropped,
            "recent": str(head.recent),
            "flags": flags.rows(),
        }
    )


def read_head(key: str, body: bytes) -> Head:
    """Raises Corrupt naming `key`."""
    try:
        found = _load(body)
        flags = _flag_rows(found)
        return Head(
            serial=int(found["serial"]),
            uid_next=int(found["uid_next"]),
            modseq=int(found["modseq"]),
            unseen=int(found["unseen"]),
            deleted=UidSet.parse(found["deleted"]),
            segments=tuple(
                Segment(str(name), UidSet.parse(uids), str(first), str(last), int(modseq))
                for name, uids, first, last, modseq in found["segments"]
            ),
            tail=tuple(_entry(row, flags) for row in found["tail"]),
            overlay={int(uid): Changed(flags[at], int(modseq)) for uid, at, modseq in found["overlay"]},
            batches=tuple(Batch(str(name), UidSet.parse(uids)) for name, uids in found["batches"]),
            fence=int(found["fence"]),
            taken=frozenset(map(str, found["taken"])),
            taken_before=frozenset(map(str, found["taken_before"])),
            filed=tuple(map(str, found["filed"])),
            pending=tuple(map(str, found["pending"])),
            leaving=tuple(Leaving(str(a), str(b), UidSet.parse(uids)) for a, b, uids in found["leaving"]),
            arrived=tuple(
                Arrived(str(name), moment(at), tuple(map(int, uids))) for name, at, uids in found["arrived"]
            ),
            dropped=tuple(map(str, found["dropped"])),
            recent=UidSet.parse(found.get("recent", "")),  # a head of before it was kept has none
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Corrupt(key, f"not the head of a folder ({type(error).__name__})") from None


def write_entries(entries: Iterable[Entry]) -> bytes:
    flags = _FlagTable()
    rows = [_row(entry, flags) for entry in entries]
    return _dump({"version": _VERSION, "rows": rows, "flags": flags.rows()})


@final
class Rows:
    """A segment's entries, each made when it is asked for: of 2,000 a client looks at some."""

    def __init__(self, key: str, rows: Mapping[int, Sequence[Any]], flags: Sequence[frozenset[str]]) -> None:
        self._key: Final = key
        self._rows: Final = rows
        self._flags: Final = flags

    def entry(self, uid: int) -> Entry:
        """Raises Corrupt naming the segment, where it has no such entry as well."""
        try:
            return _entry(self._rows[uid], self._flags)
        except _NOT_WRITTEN_SO as error:
            raise _no_entries(self._key, error) from None


def read_entries(key: str, body: bytes) -> Rows:
    """Raises Corrupt naming `key`."""
    try:
        found = _load(body)
        return Rows(key, {int(row[0]): row for row in found["rows"]}, _flag_rows(found))
    except _NOT_WRITTEN_SO as error:
        raise _no_entries(key, error) from None


_NOT_WRITTEN_SO: Final = (KeyError, TypeError, ValueError, IndexError)


def _no_entries(key: str, error: Exception) -> Corrupt:
    return Corrupt(key, f"not entries of a folder ({type(error).__name__})")


def write_headers(headers: Mapping[int, Heading], editions: Editions) -> bytes:
    """A line of JSON that gives UIDs and lengths, then for each the block, what is told of it, and the
    structure."""
    lengths = [[uid, *map(len, one)] for uid, one in headers.items()]
    line = _dump({"version": _VERSION, "editions": editions, "lengths": lengths})
    return b"".join((line, b"\n", *(part for one in headers.values() for part in one)))


def read_headers(key: str, body: bytes, editions: Editions) -> dict[int, Heading]:
    """By UID. What was made by another edition's rules is left out. Raises Corrupt naming `key`."""
    try:
        line, _, blocks = body.partition(b"\n")
        found = _load(line)
        # A batch of before there were structures names the one edition of what is told, and has three numbers
        # in a row; one of before anything was told names none, and has two.
        told, structure = found.get("editions", (found.get("edition"), None))
        as_now = (True, told == editions.told, structure == editions.structure)
        headers: dict[int, Heading] = {}
        at = 0
        for uid, *lengths in found["lengths"]:
            parts: list[bytes] = []
            for length, current in zip(lengths, as_now, strict=False):
                end = at + int(length)
                parts.append(blocks[at:end] if current else b"")
                at = end
            headers[int(uid)] = Heading(*parts)
        if at != len(blocks):
            raise ValueError("the lengths are not those of the blocks")
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(key, f"not header blocks of a folder ({type(error).__name__})") from None
    return headers


def milliseconds(when: datetime) -> int:
    """Since 1970, and never such that `moment` could not read it: the first day of the calendar began
    sooner in some zones than in UTC, its last one ends later."""
    return max(_EARLIEST, min((when - _EPOCH) // _MILLISECOND, _LATEST))


def moment(since_1970: int) -> datetime:
    """UTC, from milliseconds. Raises ValueError for what no date can hold."""
    try:
        return _EPOCH + since_1970 * _MILLISECOND
    except OverflowError:
        raise ValueError("a time in milliseconds is expected") from None


class _FlagTable:
    """Each set of flags once: of 2,000 messages most bear the same."""

    def __init__(self) -> None:
        self._numbers: Final[dict[frozenset[str], int]] = {}

    def number(self, flags: frozenset[str]) -> int:
        return self._numbers.setdefault(flags, len(self._numbers))

    def rows(self) -> list[list[str]]:
        return [sorted(flags) for flags in self._numbers]


def _flag_rows(found: Mapping[str, Any]) -> Sequence[frozenset[str]]:
    return [frozenset(map(str, row)) for row in found["flags"]]


def _row(entry: Entry, flags: _FlagTable) -> list[object]:
    date = milliseconds(entry.internal_date)
    return [entry.uid, str(entry.message), flags.number(entry.flags), entry.size, date, entry.modseq]


def _entry(row: Sequence[Any], flags: Sequence[frozenset[str]]) -> Entry:
    uid, message, at, size, date, modseq = row
    return Entry(int(uid), MessageId.parse(str(message)), flags[at], int(size), moment(date), int(modseq))


def _dump(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _load(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)
    if found["version"] != _VERSION:
        raise ValueError(f"version {found['version']!r} is unknown")
    return found
