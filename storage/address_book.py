"""The address book: one record for each address, decided in one region and copied to all.

The registrar region decides. A record is made there by put-if-absent, so that of any number of
racers one has the address, and changed there by compare-and-swap. Copies follow, and an
ingress process reads the copy in its own region.

The order of writing, and what follows where we crash:

    1. `uncopied/<name>/<mark>` in the registrar   nothing has changed: the mark is swept away later
    2. the record in the registrar                 this decides; the mark says that copies are due
    3. the copies                                  a region that is down keeps its mark
    4. the mark is deleted                         when every region has its copy

`mend` does what the marks say: it costs one listing where there are none, and `serve` runs it all
the time. `sync` believes no mark, and compares every record of every region. A record that is
missing in its own region is also asked for at the registrar: an address that was just made
works everywhere at once.

Every step may be done twice, by two processes at once, in any order: a copy is only ever
replaced by one with a higher serial.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, final

import structlog

from policy.geography import RegionCode
from storage.directory_record import PREFIX, DirectoryKey, Name, Record, Reservation
from storage.errors import Conflict, Corrupt, NotFound, StorageError, Unavailable
from storage.in_order import as_stream, in_order
from storage.objects import Bucket, ETag, Listed
from storage.region import Ground

_MARKS: Final = "uncopied/"
_COPIES_AT_ONCE: Final = 32

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A record as the registrar holds it, with the tag to replace it by."""

    record: Record
    etag: ETag


@dataclass(slots=True)
class Comparison:
    """What `sync` found in one region. Names of records are pseudonyms, fit for a log."""

    region: RegionCode
    compared: int = 0
    copied: int = 0
    strays: list[Name] = field(default_factory=list)  # the registrar has no such record
    failure: str | None = None  # the region, or the registrar, could not be read to the end

    @property
    def agrees(self) -> bool:
        return not self.strays and self.failure is None


@final
class AddressBook:
    """The directory's records in all regions of a deployment. `reads` is the region whose copy
    serves lookups: a process's own."""

    def __init__(self, ground: Ground, key: DirectoryKey, registrar: RegionCode, reads: RegionCode) -> None:
        self._ground: Final = ground
        self.key: Final = key
        self._registrar: Final = registrar
        self._reads: Final = reads

    async def read(self, name: Name) -> Record | None:
        """This region's copy, else the registrar's record, else None.

        Raises Unavailable where either cannot be asked: that an address is unknown is never
        concluded from a region that is down. Raises Corrupt, Forbidden.
        """
        with suppress(NotFound):
            blob = await self._bucket(self._reads).get(_key(name))
            return self.key.read(name, blob.body)
        if self._reads == self._registrar:
            return None
        held = await self.held(name)
        if held is None or isinstance(held.record, Reservation):
            return None
        try:
            await self._copy(self._reads, name, held.record)
        except StorageError as error:
            # The answer is known, and an ingress process may have no right to write here.
            log.info("directory.copy_failed", region=str(self._reads), reason=type(error).__name__)
        return held.record

    async def held(self, name: Name) -> Held | None:
        """The registrar's record. Raises Unavailable, Corrupt, Forbidden."""
        try:
            blob = await self._bucket(self._registrar).get(_key(name))
        except NotFound:
            return None
        return Held(self.key.read(name, blob.body), blob.etag)

    async def reserve(self, name: Name, reservation: Reservation, expected: ETag | None) -> ETag:
        """Take a name, in the registrar alone: expected None for one that nobody has. Raises Conflict."""
        body = self.key.write(name, reservation)
        return await self._bucket(self._registrar).compare_and_swap(_key(name), body, expected)

    async def write(self, name: Name, record: Record, expected: ETag | None) -> ETag:
        """Put a record (expected None: a new one) into the registrar, then everywhere.

        The new record's serial must be higher than the old one's. Returns when the registrar has
        it and every region that can be reached has its copy. Raises Conflict, Unavailable.
        """
        registrar = self._bucket(self._registrar)
        mark = f"{_MARKS}{name}/{secrets.token_hex(8)}"
        await registrar.put_if_absent(mark, b"{}", fresh_key=True)
        etag = await registrar.compare_and_swap(_key(name), self.key.write(name, record), expected)
        if await self._copy_everywhere(name, record):
            try:
                await registrar.delete(mark)
            except StorageError as error:
                # What was asked for is done: a mark too many costs `mend` a comparison.
                log.info("directory.mark_left", reason=type(error).__name__)
        return etag

    async def confirm(self, name: Name) -> None:
        """See that every region has the registrar's record as it is now.

        Raises Unavailable, naming no address, where one cannot be told: processes there may go on as
        its old copy says.
        """
        held = await self.held(name)
        if held is not None and not await self._copy_everywhere(name, held.record):
            raise Unavailable("not every region could be told of a change of the directory: try again")

    async def mend(self) -> int:
        """Make the copies that are due; how many marks are left. Raises Unavailable, Forbidden."""
        registrar = self._bucket(self._registrar)
        marks: dict[Name, list[str]] = {}
        async for listed in registrar.list(_MARKS):
            name = Name(listed.key.removeprefix(_MARKS).partition("/")[0])
            marks.setdefault(name, []).append(listed.key)
        down: set[RegionCode] = set()
        left = 0

        async def mend_one(name: Name, keys: list[str]) -> None:
            nonlocal left
            # The marks were listed before the record is read: each one's change is in it, or
            # never happened.
            held = await self.held(name)
            if held is None or await self._copy_everywhere(name, held.record, down):
                for key in keys:
                    await registrar.delete(key)
            else:
                left += len(keys)

        async for _ in in_order(as_stream(marks.items()), lambda item: mend_one(*item), _COPIES_AT_ONCE):
            pass
        return left

    async def sync(self, progress: Callable[[Comparison], None] | None = None) -> tuple[Comparison, ...]:
        """Compare every region's copies with the registrar's records, and write what is missing.

        One region's failure is reported, and does not keep the others from being compared.
        """
        comparisons = tuple(Comparison(code) for code in self._others())
        await asyncio.gather(*(self._compare(comparison, progress) for comparison in comparisons))
        return comparisons

    async def _compare(self, result: Comparison, progress: Callable[[Comparison], None] | None) -> None:
        async def renew(pair: tuple[Listed | None, Listed | None]) -> None:
            original, copy = pair
            if original is None:
                result.strays.append(_name(copy))
            # Copies are the same octets: where engines tag by content, equal tags say so.
            elif copy is None or copy.etag != original.etag:
                held = await self.held(_name(original))
                if held is not None and not isinstance(held.record, Reservation):
                    copied = await self._copy(result.region, _name(original), held.record)
                    result.copied += copied  # (not `+= await`: others count meanwhile)
            result.compared += 1
            if progress is not None:
                progress(result)

        try:
            originals = self._bucket(self._registrar).list(PREFIX)
            copies = self._bucket(result.region).list(PREFIX)
            async for _ in in_order(_abreast(originals, copies), renew, _COPIES_AT_ONCE):
                pass
        except StorageError as error:
            result.failure = str(error)

    async def _copy_everywhere(self, name: Name, record: Record, down: set[RegionCode] | None = None) -> bool:
        """Whether every region has its copy now. Regions in `down` are not tried, and join it when
        they fail: a region that does not answer is waited for once, not once for each record."""
        if isinstance(record, Reservation):
            return True  # nobody else's business yet
        down = set() if down is None else down

        async def copy(code: RegionCode) -> None:
            try:
                await self._copy(code, name, record)
            except StorageError as error:
                down.add(code)
                log.warning("directory.copy_failed", region=str(code), reason=type(error).__name__)

        codes = self._others()
        await asyncio.gather(*(copy(code) for code in codes if code not in down))
        return down.isdisjoint(codes)

    async def _copy(self, code: RegionCode, name: Name, record: Record) -> bool:
        """Give a region its copy; False where it has this one, or a newer one, already."""
        bucket = self._bucket(code)
        body = self.key.write(name, record)
        expected: ETag | None = None
        while True:
            try:
                await bucket.compare_and_swap(_key(name), body, expected)
            except Conflict:
                try:
                    blob = await bucket.get(_key(name))
                except NotFound:
                    expected = None
                    continue
                if self._serial(name, blob.body) >= record.serial:
                    return False
                expected = blob.etag
            else:
                return True

    def _serial(self, name: Name, body: bytes) -> int:
        try:
            return self.key.read(name, body).serial
        except Corrupt:
            return 0  # whatever it is, the registrar's record replaces it

    def _bucket(self, code: RegionCode) -> Bucket:
        return self._ground.control_plane(self._ground.provisioned(code)).mail

    def _others(self) -> list[RegionCode]:
        return [region.code for region in self._ground.regions() if region.code != self._registrar]


def _key(name: Name) -> str:
    return f"{PREFIX}{name}"


def _name(listed: Listed | None) -> Name:
    assert listed is not None
    return Name(listed.key.removeprefix(PREFIX))


async def _abreast(
    originals: AsyncIterator[Listed], copies: AsyncIterator[Listed]
) -> AsyncIterator[tuple[Listed | None, Listed | None]]:
    """Two ordered listings side by side: pairs of the same key, None where one side has none."""
    original, copy = await anext(originals, None), await anext(copies, None)
    while original is not None or copy is not None:
        if copy is None or (original is not None and original.key < copy.key):
            yield original, None
            original = await anext(originals, None)
        elif original is None or copy.key < original.key:
            yield None, copy
            copy = await anext(copies, None)
        else:
            yield original, copy
            original, copy = await anext(originals, None), await anext(copies, None)
