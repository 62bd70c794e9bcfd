"""Verifying a log from the outside: with its key, and nothing that the log itself says.

1. The checkpoint is a signed note of the log's own key, for the log's own origin.
2. As many of the given witnesses as are asked for have cosigned it.
3. The earlier checkpoint that the caller trusts is of the same log and key, and no longer
   than this one.
4. Every entry bundle is read, every leaf hash computed, the whole tree built again, and
   every tile at every level compared with it.
5. Every entry is a well-formed entry, and of one region.
6. The tree's root is the one that is signed, and its root at the earlier size the earlier one.
7. There is nothing besides: no tile of a longer tree than is committed, no stray object,
   and (in a versioned bucket) no second version of what is written once.
8. The sealed record of each entry, where the region's records can be opened, has the digest
   that the entry says.

Each thing that does not hold is a named fault of the report; nothing stops at the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol, final

from policy.geography import RegionCode
from storage.audit.backend import CHECKPOINT, LOCK, LOG_PREFIX
from storage.audit.canonical import is_plain_entry
from storage.audit.diagnose import Diagnosis
from storage.audit.entry import Entry, EntryError
from storage.audit.note import Checkpoint, Note, NoteError, VerifierKey, open_checkpoint
from storage.audit.outgrown import Outgrown
from storage.audit.rebuild import Rebuilder
from storage.audit.report import FaultCode, Report
from storage.audit.source import Source
from storage.audit.tiles import TileError, TileName, width_at
from storage.errors import NotFound

if TYPE_CHECKING:
    from storage.versions import Version  # what verifies from a directory needs no client of a bucket

_RECORDS_AT_ONCE: Final = 16

Progress = Callable[[int, int], None]  # entries done, and in all
Visit = Callable[[int, Sequence[bytes]], None]


class RecordState(Enum):
    """What has become of the sealed record that an entry names."""

    MATCHES = auto()
    MISSING = auto()
    CHANGED = auto()
    ERASED = auto()  # it is there, and the key that would open it was destroyed


class Records(Protocol):
    """The region's sealed records, as far as a verifier needs them."""

    async def state(self, digest: str) -> RecordState:
        """Open the record and hash it anew. Raises Unavailable where that cannot be known."""


class History(Protocol):
    """The versions in an audit bucket, as `storage.versions` lists them."""

    def list(self, prefix: str) -> AsyncIterator[Version]:
        """Every version and delete marker, by key, the newest of a key first."""


@final
@dataclass(frozen=True, slots=True)
class Demands:
    """What a verifier asks for besides the log's own key."""

    earlier: Sequence[bytes] = ()  # checkpoints that are trusted to have been the log's
    witnesses: Sequence[VerifierKey] = ()
    quorum: int | None = None  # how many of the witnesses; None: all
    region: RegionCode | None = None  # whose log it must be; None: whichever its first entry says
    records: Records | None = None
    history: History | None = None
    progress: Progress = field(default=lambda _done, _all: None)
    visit: Visit = field(default=lambda _first, _entries: None)


async def verify(source: Source, key: VerifierKey, demands: Demands | None = None) -> Report:
    """Verify a log -> everything that is wrong with it.

    Raises Unavailable where the source does not answer: that is no verdict.
    """
    demands = demands or Demands()
    report = Report(key.name)
    checkpoint = await _checkpoint(source, key, demands, report)  # steps 1 and 2
    # The checkpoint before the lock, and both before the tiles: a log that is being written to while
    # we read has at most more than they say, and the lock is never behind what is published.
    locked = _locked(await source.lock(), key, report)
    if checkpoint is None:
        return report
    report.size, report.root = checkpoint.size, checkpoint.root
    earlier = _earlier(checkpoint, key, demands, report)  # step 3
    entries = _Entries(demands, report)
    rebuilder = Rebuilder(
        source, checkpoint.size, entries.visit, lambda done: demands.progress(done, checkpoint.size)
    )
    rebuilt = await rebuilder.run([head.size for head in earlier])  # steps 4 and 5
    report.entries = rebuilt.entries
    sound = rebuilt.root == checkpoint.root and not rebuilt.at_fault
    if not sound:
        await Diagnosis(source, rebuilt, checkpoint.root, report).run()
    if rebuilt.given_up:
        rule = (
            f"after {rebuilt.at_fault} faults nothing more was read of the {checkpoint.size} entries signed"
        )
        report.add_last(FaultCode.ROOT, "checkpoint", rule)
    for head in earlier:  # step 6
        if rebuilt.roots.get(head.size, head.root) != head.root:
            rule = f"the first {head.size} entries are not those of the checkpoint signed before"
            report.add(FaultCode.REWRITTEN, f"size {head.size}", rule)
    outgrown = Outgrown(source, checkpoint.size, report) if sound else None
    await _Besides(source, checkpoint, locked, key, report).look(outgrown)  # step 7
    if demands.history is not None:
        await _one_version_each(demands.history, report)
    if demands.records is not None:
        await _records(demands.records, entries.records, report)  # step 8
    return report


async def _checkpoint(
    source: Source, key: VerifierKey, demands: Demands, report: Report
) -> Checkpoint | None:
    try:
        report.checkpoint = await source.read("checkpoint")
        checkpoint, note = open_checkpoint(report.checkpoint, key)
    except NotFound:
        report.add(FaultCode.CHECKPOINT_MISSING, "checkpoint", "there is none")
        return None
    except NoteError as error:
        report.add(FaultCode.CHECKPOINT_SIGNATURE, "checkpoint", str(error))
        return None
    _cosigned(note, demands, report)
    return checkpoint


def _cosigned(note: Note, demands: Demands, report: Report) -> None:
    for witness in demands.witnesses:
        try:
            for key, moment in note.verified_by([witness]).items():
                if moment is not None:
                    report.witnesses[key.name] = moment
        except NoteError as error:
            report.add(FaultCode.WITNESS, witness.name, str(error))
    quorum = len(demands.witnesses) if demands.quorum is None else demands.quorum
    if len(report.witnesses) < quorum:
        absent = ", ".join(w.name for w in demands.witnesses if w.name not in report.witnesses)
        rule = (
            f"cosigned by {len(report.witnesses)} of the {quorum} asked for; not by {absent or 'any other'}"
        )
        report.add(FaultCode.WITNESS, "checkpoint", rule)


def _earlier(checkpoint: Checkpoint, key: VerifierKey, demands: Demands, report: Report) -> list[Checkpoint]:
    """The trusted heads that can be compared with the tree."""
    heads = []
    for raw in demands.earlier:
        try:
            head, _ = open_checkpoint(raw, key)
        except NoteError as error:
            report.add(FaultCode.EARLIER_CHECKPOINT, "earlier checkpoint", str(error))
            continue
        if head.size > checkpoint.size:
            rule = f"{checkpoint.size} entries, though {head.size} were signed before"
            report.add(FaultCode.SHRUNK, "checkpoint", rule)
        else:
            heads.append(head)
    return heads


def _locked(raw: bytes | None, key: VerifierKey, report: Report) -> Checkpoint | None:
    if raw is None:
        return None
    try:
        return open_checkpoint(raw, key)[0]
    except NoteError as error:
        report.add(FaultCode.LOCK, LOCK, str(error))
        return None


@final
class _Entries:
    """Step 5: the form of each entry; and what step 8 will want to know of it."""

    def __init__(self, demands: Demands, report: Report) -> None:
        self._region = demands.region.value if demands.region else None
        self._visit: Final = demands.visit
        self._keep: Final = demands.records is not None
        self._report: Final = report
        self.records: Final[list[tuple[int, str]]] = []

    def visit(self, first: int, entries: Sequence[bytes]) -> None:
        for index, data in enumerate(entries, start=first):
            if self._region is None or not is_plain_entry(data, self._region):
                self._examine(index, data)
            if self._keep and (at := data.find(b'"record":"sha256:')) >= 0:
                self.records.append((index, data[at + 10 : at + 81].decode()))
        self._visit(first, entries)

    def _examine(self, index: int, data: bytes) -> None:
        try:
            entry = Entry.decode(data)
        except EntryError as error:
            self._report.add(FaultCode.ENTRY_FORM, f"entry {index}", str(error))
            return
        if self._region is None:
            self._region = entry.region.value
        elif entry.region.value != self._region:
            rule = f"of region {entry.region}, in the log of {self._region}"
            self._report.add(FaultCode.ENTRY_FORM, f"entry {index}", rule)


@final
class _Besides:
    """Step 7: nothing lies there that the tree does not have."""

    def __init__(
        self,
        source: Source,
        checkpoint: Checkpoint,
        locked: Checkpoint | None,
        key: VerifierKey,
        report: Report,
    ) -> None:
        self._source: Final = source
        self._key: Final = key
        self._report: Final = report
        self._end = max(checkpoint.size, locked.size if locked else 0)
        if locked is not None and locked.size < checkpoint.size:
            rule = f"{locked.size} entries, though {checkpoint.size} are published"
            report.add(FaultCode.LOCK, LOCK, rule)

    async def look(self, outgrown: Outgrown | None) -> None:
        """`outgrown` compares what is left of earlier days, where the tree is sound to compare with."""
        beyond: list[TileName] = []
        if (paths := self._source.paths()) is None:
            return
        async for path in paths:
            if path == "checkpoint":
                continue
            try:
                name = TileName.parse(path)
            except TileError as error:
                self._report.add(FaultCode.STRAY_OBJECT, path, str(error))
                continue
            if _is_beyond(name, self._end):
                beyond.append(name)
            elif outgrown is not None:
                await outgrown.compare(name)
        await self._beyond(beyond)

    async def _beyond(self, names: Sequence[TileName]) -> None:
        if names and (grown := _locked(await self._source.lock(), self._key, self._report)) is not None:
            # Tiles are written after the lock that signs them: what came while we read is signed by now.
            self._end = max(self._end, grown.size)
        for name in names:
            if _is_beyond(name, self._end):
                rule = f"part of a longer tree than the {self._end} entries that are signed"
                self._report.add(FaultCode.BEYOND_THE_END, name.path, rule)


def _is_beyond(name: TileName, end: int) -> bool:
    return width_at(name.level or 0, name.n, end) < name.width


async def _one_version_each(history: History, report: Report) -> None:
    """Tiles and bundles are written once. A delete marker hides the one that was written, and
    a version on top of it can say anything: Object Lock keeps the old version, not the view."""
    seen: dict[str, list[Version]] = {}
    async for version in history.list(LOG_PREFIX):
        if version.key == CHECKPOINT and not version.is_marker:
            continue
        if version.key not in seen:
            _judge(seen, report)
        seen.setdefault(version.key, []).append(version)
    _judge(seen, report)
    async for version in history.list(LOCK):
        if version.key == LOCK and version.is_marker:
            report.add(FaultCode.DELETE_MARKER, LOCK, f"deleted as version {version.id}")


def _judge(seen: dict[str, list[Version]], report: Report) -> None:
    for key, versions in seen.items():
        for version in versions:
            if version.is_marker:
                report.add(FaultCode.DELETE_MARKER, key, f"deleted as version {version.id}")
        kept = [version.id for version in versions if not version.is_marker]
        if len(kept) > 1:
            rule = f"{len(kept)} versions of what is written once; the first is {kept[-1]}"
            report.add(FaultCode.FORGED_VERSION, key, rule)
    seen.clear()


async def _records(records: Records, wanted: Sequence[tuple[int, str]], report: Report) -> None:
    async def check(index: int, digest: str) -> None:
        match await records.state(digest):
            case RecordState.MATCHES:
                report.records += 1
            case RecordState.ERASED:
                report.erased += 1
            case RecordState.MISSING:
                report.add(FaultCode.RECORD_MISSING, f"entry {index}", f"no record {digest} is kept")
            case RecordState.CHANGED:
                report.add(FaultCode.RECORD_CHANGED, f"entry {index}", f"the record kept is not {digest}")

    for at in range(0, len(wanted), _RECORDS_AT_ONCE):
        await asyncio.gather(*(check(*item) for item in wanted[at : at + _RECORDS_AT_ONCE]))
