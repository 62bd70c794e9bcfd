"""A region's documents in memory, with a vault's promises, and as suspicious as a test needs."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Final

from storage.errors import AlreadyExists, Conflict, NotFound, Unavailable
from storage.objects import Blob, ETag, Listed


class Documents:
    """`storage.operators.Documents`. `down` makes every call fail; `reads` counts them."""

    def __init__(self) -> None:
        self._stored: Final[dict[str, Blob]] = {}
        self._tags: Final = itertools.count()
        self.down = False
        self.reads = 0

    async def put_if_absent(self, key: str, document: bytes) -> ETag:
        self._answer()
        if key in self._stored:
            raise AlreadyExists(key)
        return self._put(key, document)

    async def get(self, key: str) -> Blob:
        self.reads += 1
        self._answer()
        if key not in self._stored:
            raise NotFound(key)
        return self._stored[key]

    async def compare_and_swap(self, key: str, document: bytes, expected: ETag | None) -> ETag:
        self._answer()
        found = self._stored.get(key)
        if (found.etag if found else None) != expected:
            raise Conflict(key)
        return self._put(key, document)

    async def list(self, prefix: str, *, start_after: str | None = None) -> AsyncIterator[Listed]:
        self._answer()
        for key, blob in sorted(self._stored.items()):
            if key.startswith(prefix) and key > (start_after or ""):
                yield Listed(key, len(blob.body), blob.etag)

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("down")

    def _put(self, key: str, document: bytes) -> ETag:
        blob = Blob(document, ETag(str(next(self._tags))))
        self._stored[key] = blob
        return blob.etag
