"""Publishing `log/checkpoint`: the newest tree head whose tiles all stand.

The checkpoint trails the lock. Nothing waits for it but those who ask to, so that a slow
witness never delays a disclosure; and it never goes back, however many processes publish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final, final

import structlog

from storage.audit.backend import CHECKPOINT, LogBackend
from storage.audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from storage.errors import Conflict, Corrupt, NotFound, StorageError
from storage.objects import ETag

# Seconds between two checkpoints that nobody waits for: the commits that come meanwhile have the
# engine to themselves, and are published together.
_PACE: Final = 0.05

# A checkpoint's note -> the same note, perhaps with cosignatures. Must not raise.
Cosign = Callable[[Checkpoint, bytes], Awaitable[bytes]]

_log: Final = structlog.get_logger(__name__)


def pauses(first: float = 0.05, longest: float = 2.0) -> Iterator[float]:
    """Seconds to wait between attempts, doubling, without end."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 2, longest)


@final
class Publisher:
    """One process's hand on the published checkpoint."""

    def __init__(self, backend: LogBackend, key: VerifierKey, cosign: Cosign | None = None) -> None:
        self._backend: Final = backend
        self._key: Final = key
        self._cosign: Final = cosign
        self._offered: tuple[Checkpoint, bytes] | None = None
        self._changed: Final = asyncio.Condition()
        # The size and tag of what is published, as we last saw it: None where that is not known.
        self._standing: tuple[int, ETag | None] | None = None
        self._wanted = -1  # the largest size that somebody waits for
        self.size = -1  # of the newest checkpoint known to be published

    async def offer(self, checkpoint: Checkpoint, note: bytes) -> None:
        """A tree head whose tiles are durable. Only the newest one offered is published."""
        async with self._changed:
            if self._offered is None or self._offered[0].size < checkpoint.size:
                self._offered = (checkpoint, note)
                self._changed.notify_all()

    async def until(self, size: int) -> None:
        """Return once a checkpoint of at least `size` entries is published."""
        async with self._changed:
            self._want(size)
            await self._changed.wait_for(lambda: self.size >= size)

    async def drain(self, seconds: float) -> None:
        """Return once all that was offered is published, or when the time is up."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                if self._offered is not None:
                    self._want(self._offered[0].size)
                await self._changed.wait_for(lambda: not self._behind())
        except TimeoutError:
            _log.warning("audit checkpoint left unpublished", origin=self._key.name)

    async def run(self) -> None:
        """Publish whatever is offered, until cancelled."""
        retry = pauses()
        while True:
            async with self._changed:
                await self._changed.wait_for(self._behind)
                assert self._offered is not None
                checkpoint, note = self._offered
            try:
                if self._cosign is not None:
                    note = await self._cosign(checkpoint, note)
                size = await self._publish(checkpoint, note)
            except StorageError as error:
                _log.warning("audit checkpoint not published", origin=self._key.name, error=str(error))
                await asyncio.sleep(next(retry))
                continue
            retry = pauses()
            async with self._changed:
                self.size = max(self.size, size)
                self._changed.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PACE), self._changed:
                    await self._changed.wait_for(lambda: self._wanted > self.size)

    def _want(self, size: int) -> None:
        """Somebody waits for a checkpoint of that size: it is not put off."""
        self._wanted = max(self._wanted, size)
        self._changed.notify_all()

    def _behind(self) -> bool:
        return self._offered is not None and self._offered[0].size > self.size

    async def _publish(self, checkpoint: Checkpoint, note: bytes) -> int:
        """The size that is published afterwards: at least the checkpoint's."""
        while True:
            size, etag = self._standing or await self._look()
            self._standing = None  # until this attempt is known to have gone well
            if size >= checkpoint.size:
                return size
            try:
                etag = await self._backend.compare_and_swap(CHECKPOINT, note, etag)
            except Conflict:
                continue  # another process published meanwhile: look again, it may be newer
            self._standing = (checkpoint.size, etag)
            return checkpoint.size

    async def _look(self) -> tuple[int, ETag | None]:
        current, etag = await published(self._backend, self._key)
        return (-1 if current is None else current.size), etag


async def published(backend: LogBackend, key: VerifierKey) -> tuple[Checkpoint | None, ETag | None]:
    """The published checkpoint and its tag; (None, None) before the first. Raises Corrupt."""
    try:
        blob = await backend.get(CHECKPOINT)
    except NotFound:
        return None, None
    try:
        return open_checkpoint(blob.body, key)[0], blob.etag
    except NoteError as error:
        raise Corrupt(CHECKPOINT, str(error)) from None
