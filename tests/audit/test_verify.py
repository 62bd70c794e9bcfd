"""Whatever is done to a log is found, and named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from storage.audit.edge import Edge
from storage.audit.entry import Entry, Event
from storage.audit.log import AuditLog
from storage.audit.note import Checkpoint, Signer, sign_checkpoint
from storage.audit.report import FaultCode, Report
from storage.audit.source import BackendSource, DirectorySource, Source
from storage.audit.tiles import TileName, join_entries, split_entries
from storage.audit.verify import Demands, verify
from storage.audit.view import LogView
from storage.errors import Corrupt, NotFound
from tests.audit.logs import NOW, REGION, SIGNER, entry, mth
from tests.audit.suspicious import SuspiciousBucket

Objects = dict[str, bytes]
SIZE = 256 * 3 + 40  # three full bundles, a partial one, and a second level


async def _log(size: int, first: int = 0) -> SuspiciousBucket:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await asyncio.gather(*(log.append(entry(n)) for n in range(first, first + size)))
    return bucket


@pytest.fixture(scope="module")
def genuine() -> Objects:
    return asyncio.run(_log(SIZE)).objects()


def _lay_out(objects: Mapping[str, bytes], directory: Path) -> DirectorySource:
    for key, body in objects.items():
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return DirectorySource(directory)


def _bundle(objects: Objects, n: int) -> tuple[str, list[bytes]]:
    path = TileName(None, n, 256 if n < 3 else 40).path
    return f"log/{path}", split_entries(objects[f"log/{path}"])


async def test_a_genuine_log_has_no_fault(genuine: Objects, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    report = await verify(
        _lay_out(genuine, tmp_path),
        SIGNER.key,
        Demands(progress=lambda done, total: progress.append((done, total))),
    )
    assert report.faults == []
    assert (report.size, report.entries) == (SIZE, SIZE)
    assert progress[-1] == (SIZE, SIZE)


@pytest.mark.parametrize("index", [0, 17, 255, 256, 600, SIZE - 1])
@pytest.mark.parametrize("offset", [1, 40, -1])
async def test_one_byte_of_one_entry_names_the_entry(
    genuine: Objects, tmp_path: Path, index: int, offset: int
) -> None:
    key, entries = _bundle(genuine, index // 256)
    changed = bytearray(entries[index % 256])
    changed[offset] ^= 1
    entries[index % 256] = bytes(changed)
    report = await verify(_lay_out(genuine | {key: join_entries(entries)}, tmp_path), SIGNER.key)
    assert (FaultCode.ENTRY_CHANGED, f"entry {index}") in _named(report)
    assert {where for code, where in _named(report) if code is FaultCode.ENTRY_CHANGED} == {f"entry {index}"}


def _named(report: Report) -> set[tuple[FaultCode, str]]:
    return {(fault.code, fault.where) for fault in report.faults}


Tamper = Callable[[Objects], object]


def _remove(objects: Objects) -> None:
    key, entries = _bundle(objects, 1)
    del entries[44]
    objects[key] = join_entries(entries)


def _insert(objects: Objects) -> None:
    key, entries = _bundle(objects, 1)
    entries.insert(44, entry(99_999).encode())
    objects[key] = join_entries(entries)


def _reorder(objects: Objects) -> None:
    key, entries = _bundle(objects, 2)
    entries[3], entries[9] = entries[9], entries[3]
    objects[key] = join_entries(entries)


def _reorder_across(objects: Objects) -> None:
    (key, entries), (other, others) = _bundle(objects, 0), _bundle(objects, 2)
    entries[5], others[6] = others[6], entries[5]
    objects[key], objects[other] = join_entries(entries), join_entries(others)


def _flip(path: str, at: int) -> Tamper:
    def tamper(objects: Objects) -> None:
        body = bytearray(objects[f"log/{path}"])
        body[at] ^= 0x80
        objects[f"log/{path}"] = bytes(body)

    return tamper


def _entry_and_tile(objects: Objects) -> None:
    """An entry changed, and its leaf hash with it: only the level above knows."""
    _rewrite(objects, 1, 2)
    _retile(objects, levels=1)


def _entry_and_all_tiles(objects: Objects) -> None:
    _rewrite(objects, 1, 2)
    _retile(objects, levels=2)


def _rewrite(objects: Objects, n: int, at: int) -> None:
    key, entries = _bundle(objects, n)
    entries[at] = entry(77_777).encode()
    objects[key] = join_entries(entries)


def _retile(objects: Objects, levels: int) -> None:
    """Compute the tiles of the lowest levels anew from the bundles."""
    everything = [e for n in range(4) for e in _bundle(objects, n)[1]]
    for n in range(4):
        chunk = everything[n * 256 : (n + 1) * 256]
        objects[f"log/{TileName(0, n, len(chunk)).path}"] = b"".join(mth([e]) for e in chunk)
    if levels > 1:
        objects[f"log/{TileName(1, 0, 3).path}"] = b"".join(
            mth(everything[n * 256 : (n + 1) * 256]) for n in range(3)
        )


def _shorter(objects: Objects) -> None:
    """Re-signed with the right key as if the last entries had never been."""
    everything = [e for n in range(4) for e in _bundle(objects, n)[1]][: SIZE - 20]
    head = Checkpoint(SIGNER.name, len(everything), mth(everything))
    objects["log/checkpoint"] = objects["lock"] = sign_checkpoint(head, SIGNER)


def _another_key(objects: Objects) -> None:
    root = Checkpoint(SIGNER.name, SIZE, bytes(32))
    objects["log/checkpoint"] = sign_checkpoint(root, Signer(SIGNER.name, bytes(32)))


def _another_root(objects: Objects) -> None:
    objects["log/checkpoint"] = sign_checkpoint(Checkpoint(SIGNER.name, SIZE, bytes(32)), SIGNER)


def _drop(key: str) -> Tamper:
    return lambda objects: objects.pop(key)


def _add(key: str, body: bytes) -> Tamper:
    return lambda objects: objects.update({key: body})


TAMPERING: list[tuple[str, Tamper, FaultCode, str]] = [
    ("an entry removed", _remove, FaultCode.ENTRY_REMOVED, "entry 300"),
    ("an entry inserted", _insert, FaultCode.ENTRY_INSERTED, "before 300"),
    ("two entries swapped", _reorder, FaultCode.ENTRIES_REORDERED, "515, 521"),
    ("two entries swapped across bundles", _reorder_across, FaultCode.ENTRIES_REORDERED, "entry 5"),
    ("a level-0 tile", _flip("tile/0/001", 32 * 7), FaultCode.TILE_CHANGED, "tile/0/001"),
    ("the partial level-0 tile", _flip("tile/0/003.p/40", 5), FaultCode.TILE_CHANGED, "tile/0/003.p/40"),
    ("a level-1 tile", _flip("tile/1/000.p/3", 64), FaultCode.TILE_CHANGED, "tile/1/000.p/3"),
    ("an entry and its tile", _entry_and_tile, FaultCode.ENTRIES_REWRITTEN, "entries 256 to 511"),
    ("an entry and every tile", _entry_and_all_tiles, FaultCode.ROOT, "checkpoint"),
    ("a shorter tree, re-signed", _shorter, FaultCode.BEYOND_THE_END, "tile/0/003.p/40"),
    ("another key", _another_key, FaultCode.CHECKPOINT_SIGNATURE, "checkpoint"),
    ("another root, re-signed", _another_root, FaultCode.ROOT, "checkpoint"),
    ("no checkpoint", _drop("log/checkpoint"), FaultCode.CHECKPOINT_MISSING, "checkpoint"),
    ("a bundle gone", _drop("log/tile/entries/001"), FaultCode.BUNDLE_MISSING, "tile/entries/001"),
    ("a tile gone", _drop("log/tile/0/001"), FaultCode.TILE_MISSING, "tile/0/001"),
    ("half a bundle", _add("log/tile/entries/000", b"\0\5ab"), FaultCode.BUNDLE_FORM, "tile/entries/000"),
    ("a stray object", _add("log/notes.txt", b"hello"), FaultCode.STRAY_OBJECT, "notes.txt"),
    ("a longer tree's tile", _add("log/tile/0/009", b"x" * 8192), FaultCode.BEYOND_THE_END, "tile/0/009"),
    ("a lock that went back", _add("lock", sign_checkpoint(Checkpoint(SIGNER.name, 3, bytes(32)), SIGNER)),
     FaultCode.LOCK, "lock"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tamper", "code", "where"), [t[1:] for t in TAMPERING], ids=[t[0] for t in TAMPERING]
)
async def test_tampering_is_named(genuine: Objects, tamper: Tamper, code: FaultCode, where: str) -> None:
    objects = dict(genuine)
    tamper(objects)
    report = await verify(_Memory(objects), SIGNER.key)
    assert (code, where) in _named(report), report.faults


@pytest.fixture(scope="module")
def tall() -> Objects:
    """A log of more than 65,536 entries: three levels, full and partial."""
    first = entry(0)
    plain = first.encode()
    size = 256 * 256 + 256 * 3 + 40
    entries = [plain.replace(first.id.encode(), f"{n:032x}".encode()) for n in range(size)]
    edge, tiles = Edge().grow(entries)
    note = sign_checkpoint(Checkpoint(SIGNER.name, size, edge.root()), SIGNER)
    return {f"log/{name.path}": body for name, body in tiles.items()} | {"log/checkpoint": note, "lock": note}


@pytest.mark.parametrize(
    "path", ["tile/0/000", "tile/0/255", "tile/0/259.p/40", "tile/1/000", "tile/1/001.p/3", "tile/2/000.p/1"]
)
async def test_a_bit_of_a_tile_at_any_level_of_a_tall_log_names_the_tile(tall: Objects, path: str) -> None:
    objects = dict(tall)
    _flip(path, 17)(objects)
    report = await verify(_Memory(objects), SIGNER.key)
    assert _named(report) == {(FaultCode.TILE_CHANGED, path)}


async def test_a_tall_log_is_sound_as_it_stands(tall: Objects) -> None:
    assert (await verify(_Memory(tall), SIGNER.key)).faults == []


class _Memory:
    """Objects as a source, without a store's opinion of them."""

    def __init__(self, objects: Objects) -> None:
        bucket = SuspiciousBucket()
        bucket.versions = {key: [body] for key, body in objects.items()}
        self._source: Source = BackendSource(bucket)
        self.near = self._source.near
        self.read, self.lock, self.paths = self._source.read, self._source.lock, self._source.paths


async def test_a_byte_of_an_outgrown_partial_bundle_names_its_entry(tmp_path: Path) -> None:
    """Each append leaves the partial bundle of its day behind; somebody may look there first."""
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        for n in range(4):
            await log.append(entry(n))
            await log.checkpoint()
    objects, path = bucket.objects(), f"log/{TileName(None, 0, 2).path}"
    first, second = split_entries(objects[path])
    for at, index in (
        (0, 0),
        (1, 0),
        (2, 0),
        (len(first) + 1, 0),
        (len(first) + 2, 1),
        (len(objects[path]) - 1, 1),
    ):
        changed = bytearray(objects[path])
        changed[at] ^= 1
        source = _lay_out({**objects, path: bytes(changed)}, tmp_path)
        faults = (await verify(source, SIGNER.key, Demands())).faults
        assert [(fault.code, fault.where) for fault in faults] == [
            (FaultCode.ENTRY_CHANGED, f"entry {index}")
        ]
    shorter = objects[path][: -len(second) - 2]
    faults = (await verify(_lay_out({**objects, path: shorter}, tmp_path), SIGNER.key, Demands())).faults
    assert [fault.where for fault in faults] == ["entry 1"]


async def test_a_byte_of_any_outgrown_form_in_a_copy_is_named(tmp_path: Path) -> None:
    """Partial tiles of every level, and bundles that are full by now: a copy may be read at any size."""
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        for first, last in ((0, 3), (3, 255), (255, 256), (256, 520), (520, 800)):
            await asyncio.gather(*(log.append(entry(n)) for n in range(first, last)))
            await log.published(last)
    objects = bucket.objects()
    newest = {f"log/{TileName(*each).path}" for each in ((None, 3, 32), (0, 3, 32), (1, 0, 3))}
    outgrown = sorted(key for key in objects if ".p/" in key and key not in newest)
    assert {key.split("/")[2] for key in outgrown} == {"entries", "0", "1"}
    for key in outgrown:
        changed = bytearray(objects[key])
        changed[-1] ^= 1
        report = await verify(_lay_out({**objects, key: bytes(changed)}, tmp_path), SIGNER.key)
        (path, (fault,)) = key.removeprefix("log/"), report.faults
        assert path == fault.where or path in fault.detail
    assert (await verify(_lay_out(objects, tmp_path), SIGNER.key)).ok


async def test_a_changed_length_names_the_entry_that_it_stands_before(
    genuine: Objects, tmp_path: Path
) -> None:
    key, entries = _bundle(genuine, 3)
    for index in (0, 17):
        changed = bytearray(genuine[key])
        changed[sum(2 + len(data) for data in entries[:index])] ^= 0x7F
        faults = (
            await verify(_lay_out({**genuine, key: bytes(changed)}, tmp_path), SIGNER.key, Demands())
        ).faults
        assert any(f"entry {768 + index} " in str(fault) for fault in faults), faults


async def test_a_shorter_tree_is_shorter_than_the_checkpoint_that_one_kept(genuine: Objects) -> None:
    objects = dict(genuine)
    _shorter(objects)
    report = await verify(_Memory(objects), SIGNER.key, Demands(earlier=[genuine["log/checkpoint"]]))
    assert (FaultCode.SHRUNK, "checkpoint") in _named(report)


async def test_a_log_rewritten_with_the_right_key_is_another_than_one_kept(genuine: Objects) -> None:
    rewritten = (await _log(SIZE + 100, first=5000)).objects()
    assert (await verify(_Memory(rewritten), SIGNER.key)).ok, "by itself it cannot be told"
    report = await verify(_Memory(rewritten), SIGNER.key, Demands(earlier=[genuine["log/checkpoint"]]))
    assert _named(report) == {(FaultCode.REWRITTEN, f"size {SIZE}")}


async def test_a_log_that_grew_since_is_the_same_log(genuine: Objects) -> None:
    bucket = SuspiciousBucket()
    bucket.versions = {key: [body] for key, body in genuine.items()}
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await log.append(entry(SIZE))
    report = await verify(BackendSource(bucket), SIGNER.key, Demands(earlier=[genuine["log/checkpoint"]]))
    assert report.faults == []
    assert report.size == SIZE + 1


class _Growing:
    """A source whose log gets 300 entries more as its paths are asked for; `sign` bends the lock then."""

    def __init__(self, source: BackendSource, log: AuditLog) -> None:
        self._source, self.log, self._grown = source, log, False
        self.near = source.near
        self.sign: Callable[[bytes], bytes] = lambda note: note
        self.looks = 0  # one entry more after each of so many

    async def read(self, path: str) -> bytes:
        found = await self._source.read(path)
        await self._one_more()
        return found

    async def lock(self) -> bytes | None:
        found = await self._source.lock()
        await self._one_more()
        return self.sign(found) if found and self._grown else found

    async def _one_more(self) -> None:
        if self.looks > 0:
            self.looks -= 1
            size = (await self.log.append(entry(1000 + self.looks))).size
            await self.log.published(size)

    async def paths(self) -> AsyncIterator[str]:
        await asyncio.gather(*(self.log.append(entry(n)) for n in range(1, 301)))
        await self.log.published(301)
        self._grown = True
        async for path in self._source.paths():
            yield path


@pytest_asyncio.fixture
async def growing() -> AsyncIterator[_Growing]:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await log.append(entry(0))
        await log.published(1)
        yield _Growing(BackendSource(bucket), log)


async def test_a_log_that_grows_while_it_is_verified_is_not_accused(growing: _Growing) -> None:
    """A busy gateway appends between the first look at the lock and the last at the listing."""
    report = await verify(growing, SIGNER.key)
    assert (report.faults, report.size) == ([], 1)
    assert await growing.log.size() == 301


async def test_an_entry_between_the_looks_at_lock_and_checkpoint_accuses_nobody(growing: _Growing) -> None:
    growing.looks = 1
    assert (await verify(growing, SIGNER.key)).faults == []


async def test_what_grows_while_it_is_verified_must_still_be_signed(growing: _Growing) -> None:
    growing.sign = lambda note: note.replace(b"301", b"302")
    report = await verify(growing, SIGNER.key)
    assert (FaultCode.BEYOND_THE_END, "tile/0/001.p/45") in _named(report)


async def test_genuine_bytes_that_are_no_entry_of_this_log_are_named() -> None:
    bucket = SuspiciousBucket()
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        await log.append(entry(1))
        sequencer = log._sequencer
        await sequencer.submit(b'{"v": 1}')
        other = Entry(time=NOW, event=Event.SERVER_STARTED, region=type(REGION)("us-east-1"))
        await sequencer.submit(other.encode())
    report = await verify(BackendSource(bucket), SIGNER.key)
    assert _named(report) == {(FaultCode.ENTRY_FORM, "entry 1"), (FaultCode.ENTRY_FORM, "entry 2")}


async def test_an_empty_log_verifies() -> None:
    report = await verify(BackendSource(await _log(0)), SIGNER.key)
    assert (report.faults, report.size) == ([], 0)


def test_a_directory_without_a_checkpoint_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        DirectorySource(tmp_path)


async def test_a_size_that_no_log_has_is_refused_in_bounded_time(genuine: Objects) -> None:
    """The key's holder may sign any number: whoever verifies does not count up to it."""
    head = Checkpoint(SIGNER.name, 10**18, bytes(32))
    objects = genuine | {"log/checkpoint": sign_checkpoint(head, SIGNER)}
    earlier = Demands(earlier=[genuine["log/checkpoint"], sign_checkpoint(head, SIGNER)])
    report = await verify(_Memory(objects), SIGNER.key, earlier)
    assert report.entries == 256 * 3
    assert report.faults[-1].code in (FaultCode.LOCK, FaultCode.ROOT)
    assert any(
        fault.code is FaultCode.ROOT and "nothing more was read" in fault.detail for fault in report.faults
    )


async def test_reading_past_something_that_is_no_entry_names_it(genuine: Objects) -> None:
    """A log with a changed entry is read by `audit list` as well, before anybody verifies it."""
    key, entries = _bundle(genuine, 1)
    entries[44] = b'{"v":1}'
    bucket = SuspiciousBucket()
    bucket.versions = {path: [body] for path, body in genuine.items()}
    async with await AuditLog.open(bucket, REGION, SIGNER) as log:
        bucket.versions[key] = [join_entries(entries)]
        with pytest.raises(Corrupt, match="entry 300"):
            await LogView(BackendSource(bucket), SIGNER.key).entries(290, 20)
        with pytest.raises(Corrupt, match="entry 300"):
            await log.entries(290, 20)
        with pytest.raises(Corrupt, match="entry 300"):
            await log.read(300)
        assert (await log.read(299)).id == entry(299).id
