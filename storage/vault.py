"""The vault: the region's own documents, sealed to the region's own record key.

Disclosures, orders, the full records behind audit entries, holds, operators: whatever the
gateway keeps that belongs to no account. The same few operations as a `Bucket`, and the same
promises; what lies in the bucket opens only where the region's key service unwraps its key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, final

from storage.keyring import Keyholder, Keyring
from storage.keys import Purpose
from storage.objects import Blob, ETag, Listed
from storage.region import RegionStore
from storage.sealing import Binding, open_document, read_document_header, seal_document


@final
class Vault:
    """One region's sealed documents. Needs the region's key service: no ingress process has one.

    Nothing is read before the first call, so that a region which is down does not keep a
    gateway from starting; the unwrapped record key is kept for the life of the object.
    """

    def __init__(self, store: RegionStore) -> None:
        self._store: Final = store
        self._loading: Final = asyncio.Lock()
        self._keyring: Keyring | None = None

    async def put_if_absent(self, key: str, document: bytes) -> ETag:
        """Raises AlreadyExists, and whatever loading the keyring raises."""
        return await self._store.mail.put_if_absent(key, await self._sealed(key, document))

    async def compare_and_swap(self, key: str, document: bytes, expected: ETag | None) -> ETag:
        """Raises Conflict when the document is no longer the one that had the tag `expected`."""
        return await self._store.mail.compare_and_swap(key, await self._sealed(key, document), expected)

    async def get(self, key: str) -> Blob:
        """The opened document, and the tag of its sealed form. Raises NotFound, Corrupt."""
        blob = await self._store.mail.get(key)
        binding = Binding(self._store.region.code, key)
        generation = read_document_header(binding, blob.body).generation
        keyring = await self._keys()
        if not keyring.has(generation):  # another process has rotated the region's keys
            keyring = await self._keys(anew=True)
        private = await keyring.private(Purpose.RECORD, generation, opens=key)
        return Blob(open_document(private, binding, blob.body), blob.etag)

    def list(self, prefix: str, *, start_after: str | None = None) -> AsyncIterator[Listed]:
        """The documents under a prefix, in order; sizes are of their sealed form, in octets."""
        return self._store.mail.list(prefix, start_after=start_after)

    async def _sealed(self, key: str, document: bytes) -> bytes:
        keyring = await self._keys()
        return seal_document(keyring.public, Binding(self._store.region.code, key), document)

    async def _keys(self, *, anew: bool = False) -> Keyring:
        async with self._loading:
            if self._keyring is None or anew:
                holder = Keyholder(self._store.region.code)
                self._keyring = await Keyring.load(self._store.mail, self._store.keys, holder)
            return self._keyring
