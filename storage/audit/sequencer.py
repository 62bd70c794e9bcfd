"""The order of things: stage, compare-and-swap, tiles, checkpoint.

One sequencer per process takes the entries that its callers bring, in batches. The life of
one batch, and what is left behind if the process dies between the steps:

1. `staging/<size>-<root>` holds the new entries, and the size they come after. If we die
   here, an object is left that no lock names: nobody ever looks at it.
2. `lock` is swapped from the old signed tree head to the new one. **This is the commit.**
   Callers are released now and not before. If we die here, the next loader, in whatever
   process, finds the lock ahead of the tiles, and takes steps 3 and 4 from the staged batch.
3. The new tiles and bundles are written, each if absent: they follow from the entries, so
   that whoever writes them writes the same bytes. If we die here: as above.
4. `log/checkpoint` is replaced (`storage.audit.publisher`). If we die here: as above.

No process swaps the lock before the tiles of the head that it builds on are durable. So the
lock is never more than one batch ahead of the tiles, and that one batch is staged.

A swap that ends in an error may have happened, or may yet: it is sent again, the same bytes
against the same tag, until the store says yes or says Conflict. After a Conflict the tag
that we expected is gone for good, so that the old swap can never land any more, and the
tree itself tells whether it did: our first entry either stands at our first index, or not.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final

import structlog

from storage.audit.backend import LOCK, LOG_PREFIX, STAGING_PREFIX, LogBackend, staging_key, tile_key
from storage.audit.edge import Edge
from storage.audit.merkle import EMPTY_ROOT, leaf_hash
from storage.audit.note import Checkpoint, NoteError, Signer, open_checkpoint, sign_checkpoint
from storage.audit.publisher import Publisher, pauses, published
from storage.audit.reader import BackendTiles, TreeReader
from storage.audit.staging import Batch
from storage.audit.tiles import TileName
from storage.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    Forbidden,
    NotFound,
    Rejected,
    StorageError,
    Unavailable,
)
from storage.objects import ETag

BATCH_LIMIT: Final = 1024
QUEUE_LIMIT: Final = 16_384

_log: Final = structlog.get_logger(__name__)


class LogUnavailable(Unavailable):
    """The log has not confirmed the commit. The entry may stand in it; act as if it did not."""


@final
@dataclass(frozen=True, slots=True)
class Head:
    """A committed tree: its signed head, the lock's tag, and the edge to grow from."""

    checkpoint: Checkpoint
    note: bytes
    etag: ETag
    edge: Edge


@final
@dataclass(eq=False, slots=True)
class _Waiting:
    data: bytes
    index: asyncio.Future[int]


@final
@dataclass(frozen=True, slots=True)
class _Attempt:
    base: Head
    checkpoint: Checkpoint
    note: bytes
    edge: Edge
    tiles: Mapping[TileName, bytes]
    first: bytes


@final
class Sequencer:
    """The one writer of a process. `start` before use, `stop` at the end."""

    def __init__(
        self, backend: LogBackend, signer: Signer, publisher: Publisher, *, deadline: float, linger: float
    ) -> None:
        """`deadline`: seconds until a caller is told LogUnavailable. `linger`: see `_gather`."""
        self._backend: Final = backend
        self._signer: Final = signer
        self._publisher: Final = publisher
        self._deadline: Final = deadline
        self._linger: Final = linger
        self._queue: Final[deque[_Waiting]] = deque()
        self._arrived: Final = asyncio.Event()
        self._loading: Final = asyncio.Lock()
        self._head: Head | None = None  # the newest head known; another process may be ahead
        self._writing: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._company = 1  # entries in the last batch
        self._complete: Final = asyncio.Event()  # as many wait again
        self._trouble: StorageError | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name=f"audit sequencer {self._signer.name}")
        self._running.add_done_callback(_report)

    async def stop(self) -> None:
        """Stop; the tiles under way are finished first, within the deadline."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=self._deadline)
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        while self._queue:
            _refuse(self._queue.popleft(), LogUnavailable("the log is closed"))

    def submit(self, data: bytes) -> asyncio.Future[int]:
        """Queue an entry -> its index, once committed. Fails with LogUnavailable at the deadline."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(data, loop.create_future())
        # Nobody may be left to hear of a failure: a caller that was cancelled, say.
        waiting.index.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._running is None or self._running.done():
            raise LogUnavailable("the log is closed")
        if len(self._queue) >= QUEUE_LIMIT:
            raise LogUnavailable(f"{QUEUE_LIMIT} entries are waiting already")
        timer = loop.call_later(self._deadline, self._expire, waiting)
        waiting.index.add_done_callback(lambda _: timer.cancel())
        self._queue.append(waiting)
        self._arrived.set()
        if len(self._queue) >= self._company:
            self._complete.set()
        return waiting.index

    async def head(self, *, fresh: bool = False) -> Head:
        """The committed head; `fresh` asks the store. Raises StorageError."""
        async with self._loading:
            if fresh or self._head is None:
                await self._load()
            assert self._head is not None
            return self._head

    async def settled(self) -> None:
        """Return once the tiles of the head are durable. Raises Corrupt."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def _expire(self, waiting: _Waiting) -> None:
        why = f": {self._trouble}" if self._trouble else ""
        _refuse(waiting, LogUnavailable(f"no commit confirmed within {self._deadline:g} s{why}"))

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            batch = [self._queue.popleft() for _ in range(min(BATCH_LIMIT, len(self._queue)))]
            if not self._queue:
                self._arrived.clear()
            self._company = len(batch)
            await self._commit(batch)

    async def _gather(self) -> None:
        """Let the callers that the last commit released come back into this batch.

        They are waited for until as many are here as then, for `linger` seconds at most: a lone
        caller never waits.
        """
        self._complete.clear()
        if len(self._queue) >= self._company:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._linger):
                await self._complete.wait()

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        retry = pauses()
        first = True
        while batch := [waiting for waiting in batch if not waiting.index.done()]:
            try:
                staged_before, first = not first, False
                attempt = await self._stage([waiting.data for waiting in batch], again=staged_before)
                committed = await self._swap(attempt)
            except (Corrupt, Forbidden, Rejected) as error:
                # Not a matter of trying again: the bucket contradicts us, or will not have us.
                _log.error("audit log cannot be written", origin=self._signer.name, error=str(error))
                for waiting in batch:
                    _refuse(waiting, LogUnavailable(str(error)))
                return
            except StorageError as error:
                self._trouble = error
                await asyncio.sleep(next(retry))
                continue
            if committed:
                self._trouble = None
                for index, waiting in enumerate(batch, start=attempt.base.checkpoint.size):
                    if not waiting.index.done():
                        waiting.index.set_result(index)
                return
            # Another process was faster. Full jitter, so that several do not keep in step.
            await asyncio.sleep(random.uniform(0, next(retry)))  # noqa: S311

    async def _stage(self, entries: Sequence[bytes], *, again: bool) -> _Attempt:
        """Step 1, and the wait for step 3 of the batch before. `again`: it may be staged already."""
        base = await self.head()
        edge, tiles = base.edge.grow(entries)
        checkpoint = Checkpoint(self._signer.name, edge.size, edge.root())
        batch = Batch(base.checkpoint.size, tuple(entries))
        # Every entry carries its own random id, so that nobody else comes to this root; a first write
        # that lands late finds its own octets there.
        await self._put_once(staging_key(edge.size, checkpoint.root), batch.encode(), fresh_key=not again)
        await self.settled()
        note = sign_checkpoint(checkpoint, self._signer)
        return _Attempt(base, checkpoint, note, edge, tiles, entries[0])

    async def _swap(self, attempt: _Attempt) -> bool:
        """Step 2: does the attempt stand in the log? Returns only when that is certain."""
        for pause in pauses():
            try:
                etag = await self._backend.compare_and_swap(LOCK, attempt.note, attempt.base.etag)
            except Conflict:
                break
            except StorageError as error:  # of any kind: the swap may have taken effect
                self._trouble = error
                await asyncio.sleep(pause)
            else:
                head = Head(attempt.checkpoint, attempt.note, etag, attempt.edge)
                self._advance(head, attempt.tiles)
                return True
        for pause in pauses():
            try:
                return await self._stands(attempt)
            except Corrupt:
                raise
            except StorageError as error:
                self._trouble = error
                await asyncio.sleep(pause)
        raise AssertionError  # pauses() has no end

    async def _stands(self, attempt: _Attempt) -> bool:
        """After a Conflict: is the attempt's batch in the tree that the lock names now?"""
        head = await self.head(fresh=True)
        if head.checkpoint == attempt.checkpoint:
            return True
        if head.checkpoint.size <= attempt.base.checkpoint.size:
            return False
        # Every entry carries its own random id, so that an equal leaf is the same entry.
        tree = TreeReader(BackendTiles(self._backend), head.checkpoint.size)
        return await tree.leaf(attempt.base.checkpoint.size) == leaf_hash(attempt.first)

    def _advance(self, head: Head, tiles: Mapping[TileName, bytes]) -> None:
        self._head = head
        self._writing = asyncio.create_task(self._settle(head, tiles, self._writing), name="audit tiles")
        # Its failure is raised where the next batch awaits it.
        self._writing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _settle(
        self, head: Head, tiles: Mapping[TileName, bytes], before: asyncio.Task[None] | None
    ) -> None:
        """Steps 3 and 4: try until it is done. Raises Corrupt."""
        if before is not None:
            await before
        for pause in pauses():
            try:
                await self._write(tiles)
                break
            except Corrupt:
                raise
            except StorageError as error:
                self._trouble = error
                await asyncio.sleep(pause)
        await self._publisher.offer(head.checkpoint, head.note)

    async def _write(self, tiles: Mapping[TileName, bytes]) -> None:
        writes = (self._put_once(tile_key(name), body) for name, body in tiles.items())
        failures = [r for r in await asyncio.gather(*writes, return_exceptions=True) if r is not None]
        for failure in sorted(failures, key=lambda f: isinstance(f, StorageError)):
            raise failure  # a fault of ours before the store's

    async def _put_once(self, key: str, body: bytes, *, fresh_key: bool = False) -> None:
        """Write what follows from the entries. Raises Corrupt if something else is there."""
        try:
            await self._backend.put_if_absent(key, body, fresh_key=fresh_key)
        except AlreadyExists:
            if (await self._backend.get(key)).body != body:
                raise Corrupt(key, "it is not what the committed entries make") from None

    async def _load(self) -> None:
        """Read the lock and roll forward: afterwards `_head` is the lock's, its tiles durable.

        Raises Corrupt where the lock is behind what is published or what we know: whoever
        can make it go back must not make us sign a second history.
        """
        known = self._head  # as of now: our own swap may move `_head` while we read
        # The checkpoint first: read after the lock, it might be ahead of it in good faith.
        shown, _ = await published(self._backend, self._signer.key)
        try:
            blob = await self._backend.get(LOCK)
        except NotFound:
            await self._create(shown)
            return
        try:
            checkpoint, _ = open_checkpoint(blob.body, self._signer.key)
        except NoteError as error:
            raise Corrupt(LOCK, str(error)) from None
        if shown is not None and shown.size > checkpoint.size:
            raise Corrupt(LOCK, f"{checkpoint.size} entries, though {shown.size} are published")
        if known is not None and known.checkpoint == checkpoint:
            return
        if known is not None and known.checkpoint.size >= checkpoint.size:
            raise Corrupt(LOCK, f"it went back from {known.checkpoint.size} entries to {checkpoint.size}")
        edge, tiles = await self._roll_forward(checkpoint, known)
        await self._write(tiles)
        for earlier in (known.checkpoint if known else None, shown):
            await self._extends(earlier, checkpoint)
        if self._head is None or self._head.checkpoint.size < checkpoint.size:
            self._advance(Head(checkpoint, blob.body, blob.etag, edge), {})

    async def _roll_forward(
        self, checkpoint: Checkpoint, known: Head | None
    ) -> tuple[Edge, Mapping[TileName, bytes]]:
        """The edge at a lock's head, and the tiles that its committer may not have written."""
        if checkpoint.size == 0:
            return Edge(), {}
        key = staging_key(checkpoint.size, checkpoint.root)
        try:
            batch = Batch.decode((await self._backend.get(key)).body, key)
        except NotFound:
            raise Corrupt(key, "the lock names this batch, and it is gone") from None
        if known is not None and known.checkpoint.size == batch.after:
            base = known.edge
        else:
            try:
                base = await TreeReader(BackendTiles(self._backend), batch.after).edge()
            except NotFound as error:
                raise Corrupt(error.key, "the committed tree needs this tile, and it is gone") from None
        edge, tiles = base.grow(batch.entries)
        if (edge.size, edge.root()) != (checkpoint.size, checkpoint.root):
            raise Corrupt(key, "the staged batch does not lead to the root that the lock signs")
        return edge, tiles

    async def _extends(self, earlier: Checkpoint | None, checkpoint: Checkpoint) -> None:
        """Raises Corrupt unless the lock's tree begins with one that was signed before."""
        if earlier is None or earlier.size == 0:
            return
        tree = TreeReader(BackendTiles(self._backend), checkpoint.size)
        if await tree.root(earlier.size) != earlier.root:
            raise Corrupt(LOCK, f"its tree does not begin with the {earlier.size} entries signed before")

    async def _create(self, shown: Checkpoint | None) -> None:
        """The first lock of a new log. Raises Corrupt where there must have been one."""
        if self._head is not None or shown is not None:
            raise Corrupt(LOCK, "it is gone")
        if (found := await self._anything()) is not None:
            try:
                await self._backend.get(LOCK)  # the lock comes first: is it there by now?
            except NotFound:
                raise Corrupt(LOCK, f"it is gone, though {found} is there") from None
            raise Unavailable("the log is being created by another process")
        empty = Checkpoint(self._signer.name, 0, EMPTY_ROOT)
        note = sign_checkpoint(empty, self._signer)
        try:
            etag = await self._backend.compare_and_swap(LOCK, note, None)
        except Conflict:
            # Another process created it, or the swap before did, unheard.
            raise Unavailable("the log is being created by another process") from None
        self._advance(Head(empty, note, etag, Edge()), {})

    async def _anything(self) -> str | None:
        for prefix in (LOG_PREFIX, STAGING_PREFIX):
            async for listed in self._backend.list(prefix):
                return listed.key
        return None


def _refuse(waiting: _Waiting, error: LogUnavailable) -> None:
    if not waiting.index.done():
        waiting.index.set_exception(error)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("audit sequencer stopped", task=task.get_name(), exc_info=error)
