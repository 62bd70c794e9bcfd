"""What the log needs of an object store, as promises. `storage.objects.Bucket` keeps them.

The log is as sound as these five sentences, and asks for nothing else:

- a write that returns has happened, durably, and every later read sees it;
- `compare_and_swap` is atomic: of any number of racers with one `expected`, one succeeds;
- `Conflict` and `AlreadyExists` mean that this call did not write, and never will;
- any other error says nothing: the write may have happened, or may happen later;
- `get` and `list` answer with what was written, or raise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

from storage.audit.tiles import TileName
from storage.objects import Blob, ETag, Listed

LOG_PREFIX: Final = "log/"  # what stands under it is served to the world, byte for byte
CHECKPOINT: Final = "log/checkpoint"
LOCK: Final = "lock"
STAGING_PREFIX: Final = "staging/"


class LogBackend(Protocol):
    """The operations of `storage.objects.Bucket` that the log uses, with its errors."""

    async def put_if_absent(self, key: str, body: bytes, *, fresh_key: bool = False) -> ETag:
        """Write an object once. Raises AlreadyExists. `fresh_key` promises that no other call has written
        or is writing this key, which spares the engine from looking."""

    async def compare_and_swap(self, key: str, body: bytes, expected: ETag | None) -> ETag:
        """Replace the object with the tag `expected`; None: create it. Raises Conflict."""

    async def get(self, key: str) -> Blob:
        """The object and its tag. Raises NotFound."""

    def list(self, prefix: str, *, start_after: str | None = None) -> AsyncIterator[Listed]:
        """The objects under a prefix, in order."""


def tile_key(name: TileName) -> str:
    """Where a tile or bundle stands in the audit bucket."""
    return LOG_PREFIX + name.path


def staging_key(size: int, root: bytes) -> str:
    """Where the batch stands that makes a tree of `size` with this root: named by its content."""
    return f"{STAGING_PREFIX}{size}-{root.hex()}"
