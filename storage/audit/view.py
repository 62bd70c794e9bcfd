"""Reading a log with nothing but its public key: entries, and proofs that they stand in it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, final

from storage.audit.entry import Entry, EntryError
from storage.audit.merkle import ProofError, leaf_hash, verify_inclusion
from storage.audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint, parse_decimal
from storage.audit.reader import Tiles, TreeReader
from storage.audit.source import Source, SourceTiles
from storage.errors import Corrupt, NotFound, StorageError

PROOF_MAGIC: Final = "c2sp.org/tlog-proof@v1"


class NoSuchEntry(StorageError):
    """The log has no entry with that index."""


@final
@dataclass(frozen=True, slots=True)
class Proof:
    """That an entry stands in a tree whose head is signed: all of it checkable offline."""

    index: int
    entry: bytes
    path: tuple[bytes, ...]
    checkpoint: bytes

    def verify(self, key: VerifierKey) -> Checkpoint:
        """Raises NoteError or ProofError unless the proof holds under the log's key."""
        checkpoint, _ = open_checkpoint(self.checkpoint, key)
        verify_inclusion(self.index, checkpoint.size, leaf_hash(self.entry), self.path, checkpoint.root)
        return checkpoint

    def text(self) -> str:
        """As a `.tlog-proof` (https://c2sp.org/tlog-proof), the entry as its extra data."""
        lines = [PROOF_MAGIC, f"extra {_b64(self.entry)}", f"index {self.index}", *map(_b64, self.path)]
        return "\n".join(lines) + "\n\n" + self.checkpoint.decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """A `.tlog-proof` as `text` writes it. Raises ProofError."""
        head, blank, checkpoint = text.partition("\n\n")
        magic, *lines = head.split("\n")
        if magic != PROOF_MAGIC or not blank or len(lines) < 2:
            raise ProofError(f"a proof starts with the line {PROOF_MAGIC!r}, and ends in a checkpoint")
        if not lines[0].startswith("extra ") or not lines[1].startswith("index "):
            raise ProofError("a proof has the lines 'extra' (the entry) and 'index'")
        try:
            entry, *path = (base64.b64decode(line, validate=True) for line in (lines[0][6:], *lines[2:]))
            return cls(parse_decimal(lines[1][6:]), entry, tuple(path), checkpoint.encode())
        except ValueError:
            raise ProofError("a proof is an index in decimal, and base64, one hash a line") from None

    def to_json(self) -> dict[str, Any]:
        """The same for a program: hashes and the entry's exact bytes in base64."""
        return {
            "index": self.index,
            "entry": _b64(self.entry),
            "path": [_b64(hash_) for hash_ in self.path],
            "checkpoint": self.checkpoint.decode(),
        }


async def prove_under(tiles: Tiles, note: bytes, key: VerifierKey, index: int) -> Proof:
    """The proof that entry `index` stands in the tree that `note` signs. Raises Corrupt, NotFound."""
    try:
        size = open_checkpoint(note, key)[0].size
    except NoteError as error:
        raise Corrupt("checkpoint", str(error)) from None
    tree = TreeReader(tiles, size)
    (entry,), path = await asyncio.gather(tree.entries(index, 1), tree.inclusion_proof(index))
    return Proof(index, entry, path, note)


@final
class LogView:
    """A log as anybody may read it: up to its published checkpoint."""

    def __init__(self, source: Source, key: VerifierKey) -> None:
        self._source: Final = source
        self._tiles: Final = SourceTiles(source)
        self._key: Final = key

    async def head(self) -> tuple[Checkpoint, bytes]:
        """The published checkpoint, and its note. Raises NotFound before the first; Corrupt."""
        note = await self._source.read("checkpoint")
        try:
            return open_checkpoint(note, self._key)[0], note
        except NoteError as error:
            raise Corrupt("checkpoint", str(error)) from None

    async def entries(self, start: int, count: int) -> list[Entry]:
        """Entries [start, start + count), fewer at the log's end. Not proven: see `prove`, `verify`."""
        checkpoint, _ = await self.head()
        tree = TreeReader(self._tiles, checkpoint.size)
        return decoded(start, await tree.entries(start, count))

    async def prove(self, index: int) -> Proof:
        """Raises NoSuchEntry, and Corrupt where the log cannot prove what it holds."""
        try:
            checkpoint, note = await self.head()
        except NotFound:
            raise NoSuchEntry(f"no entry {index}: nothing is published yet") from None
        if not 0 <= index < checkpoint.size:
            raise NoSuchEntry(f"no entry {index}: the log has {checkpoint.size}")
        proof = await prove_under(self._tiles, note, self._key, index)
        try:
            proof.verify(self._key)
        except ProofError as error:
            raise Corrupt(f"entry {index}", str(error)) from None
        return proof


def decoded(start: int, entries: Sequence[bytes]) -> list[Entry]:
    """The entries from index `start` on. Raises Corrupt naming the first that is none."""
    found: list[Entry] = []
    for data in entries:
        try:
            found.append(Entry.decode(data))
        except EntryError as error:
            raise Corrupt(f"entry {start + len(found)}", str(error)) from None
    return found


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
