"""One region's audit log, as the rest of the house sees it: append, read, prove."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, final

from policy.geography import RegionCode
from storage.audit.backend import CHECKPOINT, LogBackend
from storage.audit.entry import Entry
from storage.audit.note import NoteError, Signer, VerifierKey, open_checkpoint
from storage.audit.publisher import Cosign, Publisher
from storage.audit.reader import BackendTiles, TreeReader
from storage.audit.sequencer import LogUnavailable, Sequencer
from storage.audit.view import NoSuchEntry, Proof, decoded, prove_under
from storage.errors import Corrupt, NotFound, StorageError

__all__ = ["AuditLog", "Committed", "LogUnavailable", "NoSuchEntry", "Proof"]


@final
@dataclass(frozen=True, slots=True)
class Committed:
    """Where an entry stands, for ever: the region's log, its index, the tree's size after it."""

    region: RegionCode
    index: int
    size: int


@final
class AuditLog:
    """An open log. Made by `open`, closed by `close` or by leaving `async with`."""

    def __init__(
        self,
        region: RegionCode,
        backend: LogBackend,
        sequencer: Sequencer,
        publisher: Publisher,
        key: VerifierKey,
        deadline: float,
    ) -> None:
        self.region: Final = region
        self.key: Final = key
        self._backend: Final = backend
        self._tiles: Final = BackendTiles(backend)
        self._sequencer: Final = sequencer
        self._publisher: Final = publisher
        self._deadline: Final = deadline
        self._publishing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        bucket: LogBackend,
        region: RegionCode,
        signer: Signer,
        *,
        deadline: float = 10.0,
        linger: float = 0.002,
        cosign: Cosign | None = None,
    ) -> AuditLog:
        """Open the log, creating it in an empty bucket, and finish what a dead process began.

        `deadline` in seconds: how long an append may take before it is refused. `linger` in
        seconds, at most 0.005: how long a batch waits for company when callers are many. A
        bucket that cannot be reached does not keep the log from opening: appends then fail
        until it can. Raises Corrupt where the bucket contradicts itself.
        """
        if not 0 <= linger <= 0.005:
            raise ValueError("linger: 0 to 0.005 seconds")
        publisher = Publisher(bucket, signer.key, cosign)
        sequencer = Sequencer(bucket, signer, publisher, deadline=deadline, linger=linger)
        log = cls(region, bucket, sequencer, publisher, signer.key, deadline)
        sequencer.start()
        log._publishing = asyncio.create_task(publisher.run(), name=f"audit publisher {signer.name}")
        try:
            async with asyncio.timeout(deadline):
                await sequencer.head()
        except Corrupt:
            await log.close()
            raise
        except (StorageError, TimeoutError):
            pass  # loaded on the first append that can be
        return log

    async def close(self) -> None:
        """Stop taking entries; finish the tiles and the checkpoint of what is committed."""
        await self._sequencer.stop()
        await self._publisher.drain(self._deadline)
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def append(self, entry: Entry) -> Committed:
        """Commit one entry. Returns when it stands in the log for ever, and not before.

        Raises LogUnavailable when that is not confirmed within the deadline: then nothing may
        be released, though the entry may come to stand in the log all the same. A caller that
        is cancelled meanwhile leaves its entry to be committed.
        """
        if entry.region != self.region:
            raise ValueError(f"an entry of {entry.region} does not belong in the log of {self.region}")
        index = await asyncio.shield(self._sequencer.submit(entry.encode()))
        return Committed(self.region, index, index + 1)

    async def checkpoint(self) -> bytes:
        """The published checkpoint, with what cosignatures it has. Raises NotFound before the first."""
        return (await self._backend.get(CHECKPOINT)).body

    async def published(self, size: int) -> bytes:
        """The checkpoint, once it covers `size` entries. Raises LogUnavailable at the deadline."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._publisher.until(size)
        except TimeoutError:
            raise LogUnavailable(f"no checkpoint of {size} entries within {self._deadline:g} s") from None
        return await self.checkpoint()

    async def size(self) -> int:
        """How many entries are committed, by whatever process."""
        return (await self._sequencer.head(fresh=True)).checkpoint.size

    async def read(self, index: int) -> Entry:
        """One entry. Raises NoSuchEntry."""
        tree = await self._tree(index)
        return decoded(index, await tree.entries(index, 1))[0]

    async def entries(self, start: int, count: int) -> list[Entry]:
        """Entries [start, start + count), fewer at the log's end."""
        size = await self.size()
        tree = TreeReader(self._tiles, size)
        return decoded(start, await tree.entries(start, count))

    async def prove(self, index: int) -> Proof:
        """The entry with its inclusion proof, under the published checkpoint where that covers it.

        Raises NoSuchEntry.
        """
        await self._tree(index)
        return await prove_under(self._tiles, await self._note_for(index), self.key, index)

    async def _note_for(self, index: int) -> bytes:
        """A signed head that covers the entry: the published one carries cosignatures."""
        head = await self._sequencer.head()
        try:
            note = await self.checkpoint()
            if open_checkpoint(note, self.key)[0].size > index:
                return note
        except NotFound:
            pass
        except NoteError as error:
            raise Corrupt(CHECKPOINT, str(error)) from None
        return head.note

    async def _tree(self, index: int) -> TreeReader:
        """A tree that has the entry, its tiles durable."""
        head = await self._sequencer.head()
        if index >= head.checkpoint.size:
            head = await self._sequencer.head(fresh=True)
        if not 0 <= index < head.checkpoint.size:
            raise NoSuchEntry(f"no entry {index}: the log has {head.checkpoint.size}")
        await self._sequencer.settled()
        return TreeReader(self._tiles, head.checkpoint.size)
