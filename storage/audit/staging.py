"""A staged batch: the entries that a commit adds, before there are tiles for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from storage.audit.tiles import TileError, join_entries, split_entries
from storage.errors import Corrupt

_MAGIC: Final = b"situs staged batch v1\n"


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Entries to come after the first `after` of the log."""

    after: int
    entries: tuple[bytes, ...]

    def encode(self) -> bytes:
        """A magic line, the 8-byte size, then the entries as in a bundle."""
        return _MAGIC + self.after.to_bytes(8) + join_entries(self.entries)

    @classmethod
    def decode(cls, body: bytes, key: str) -> Batch:
        """Raises Corrupt naming `key`."""
        start = len(_MAGIC) + 8
        if not body.startswith(_MAGIC) or len(body) < start:
            raise Corrupt(key, "it is not a staged batch")
        try:
            entries = tuple(split_entries(body[start:]))
        except TileError as error:
            raise Corrupt(key, str(error)) from None
        return cls(int.from_bytes(body[len(_MAGIC) : start]), entries)
