"""Where a verifier reads a log from: a directory, a bucket, or (see `remote`) a web server.

A source is not trusted. It hands over bytes by path, and says which paths there are if it
can; everything else is the verifier's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol, final

from storage.audit.backend import LOCK, LOG_PREFIX, LogBackend
from storage.audit.tiles import TileName
from storage.errors import NotFound, Unavailable


class Source(Protocol):
    """A log to be verified. Paths are relative to its prefix: `checkpoint`, `tile/0/000`.

    `near`: whether a read is a disk's affair, and not a request to somebody else's machine.
    """

    @property
    def near(self) -> bool: ...

    async def read(self, path: str) -> bytes:
        """The bytes at a path. Raises NotFound; Unavailable where that cannot be known."""

    async def lock(self) -> bytes | None:
        """The sequencer's lock, where the source has it: the head that is committed."""

    def paths(self) -> AsyncIterator[str] | None:
        """Every path there is, in any order; None where the source cannot list."""


@final
class SourceTiles:
    """A source as `storage.audit.reader.Tiles`."""

    def __init__(self, source: Source) -> None:
        self._source: Final = source

    async def tile(self, name: TileName) -> bytes:
        return await self._source.read(name.path)


@final
class DirectorySource:
    """A copy of what is served, or of a whole audit bucket (then the log is in `log/`)."""

    near: Final = True

    def __init__(self, directory: Path) -> None:
        """Raises NotFound where there is no checkpoint to start from."""
        whole = (directory / LOG_PREFIX / "checkpoint").is_file()
        self._root: Final = directory / LOG_PREFIX if whole else directory
        self._lock: Final = directory / LOCK if whole else None
        if not (self._root / "checkpoint").is_file():
            raise NotFound(str(directory / "checkpoint"))

    async def read(self, path: str) -> bytes:
        return await asyncio.to_thread(self._read, path)

    def _read(self, path: str) -> bytes:
        try:
            # Joined as text: building a Path costs as much as the read.
            with open(f"{self._root}/{path}", "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(path) from None
        except OSError as error:  # it may well be there, and right
            raise Unavailable(f"{self._root}/{path}: {error.strerror or error}") from None

    async def lock(self) -> bytes | None:
        if self._lock is None or not self._lock.is_file():
            return None
        return await asyncio.to_thread(self._lock.read_bytes)

    async def paths(self) -> AsyncIterator[str]:
        for file in self._root.rglob("*"):
            if file.is_file():
                yield file.relative_to(self._root).as_posix()


@final
class BackendSource:
    """The audit bucket itself."""

    near: Final = False

    def __init__(self, backend: LogBackend) -> None:
        self._backend: Final = backend

    async def read(self, path: str) -> bytes:
        return (await self._backend.get(LOG_PREFIX + path)).body

    async def lock(self) -> bytes | None:
        try:
            return (await self._backend.get(LOCK)).body
        except NotFound:
            return None

    async def paths(self) -> AsyncIterator[str]:
        async for listed in self._backend.list(LOG_PREFIX):
            yield listed.key.removeprefix(LOG_PREFIX)
