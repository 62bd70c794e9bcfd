"""Building the whole tree again from the entry bundles, and comparing every tile on the way.

One pass, in order, in bounded memory: a window of bundles under way, the right edge of the
tree, and a line for each tile that differs. What a difference means is not decided here:
that needs the root, which is known only at the end (`storage.audit.diagnose`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, final

from storage.audit.edge import edge_root
from storage.audit.merkle import HASH_SIZE, perfect_root
from storage.audit.source import Source
from storage.audit.tiles import TILE_WIDTH, TileError, TileName, split_entries, width_at
from storage.errors import NotFound

_GIVE_UP: Final = 10_000  # tiles at fault, after which the rest of the log is not read
_WINDOW: Final = 16  # bundles, with their level-0 tiles, that are fetched ahead

Visit = Callable[[int, Sequence[bytes]], None]  # the index of the first, and the entries of a bundle


@final
@dataclass(slots=True)
class Rebuilt:
    """The tree that the entries make, and where the stored tiles tell another story."""

    size: int
    root: bytes = b""
    roots: dict[int, bytes] = field(default_factory=dict)  # at the earlier sizes asked for
    entries: int = 0
    # Per tile that differs: the positions where it does. None: it has another length altogether.
    differing: dict[TileName, list[int] | None] = field(default_factory=dict)
    missing: list[TileName] = field(default_factory=list)
    misshapen: dict[TileName, str] = field(default_factory=dict)  # bundles, and what is wrong
    given_up: bool = False  # whoever signs may claim 10**18 entries: so much absence is enough

    @property
    def at_fault(self) -> int:
        """How many tiles and bundles are not as they should be."""
        return len(self.differing) + len(self.missing) + len(self.misshapen)


@final
class Rebuilder:
    """One pass over a source."""

    def __init__(self, source: Source, size: int, visit: Visit, progress: Callable[[int], None]) -> None:
        """`visit` sees the entries of each well-formed bundle; `progress` the count so far."""
        self._source: Final = source
        self._visit: Final = visit
        self._progress: Final = progress
        self._levels: Final[list[list[bytes]]] = [[]]
        self._rebuilt: Final = Rebuilt(size)

    async def run(self, earlier: Sequence[int] = ()) -> Rebuilt:
        """`earlier`: sizes at which the root is wanted too. Raises Unavailable.

        Where it gives up, there is no root, nor one at the sizes that it did not come to.
        """
        rebuilt, size = self._rebuilt, self._rebuilt.size
        wanted = deque(sorted({n for n in earlier if 0 <= n <= size}))
        n = 0
        async with aclosing(self._bundles()) as bundles:
            async for body, tile in bundles:
                leaves = self._leaves(n, body, tile)
                self._levels[0] = leaves
                while wanted and wanted[0] <= n * TILE_WIDTH + len(leaves):
                    at = wanted.popleft()
                    rebuilt.roots[at] = edge_root([leaves[: at - n * TILE_WIDTH], *self._levels[1:]])
                if len(leaves) == TILE_WIDTH:
                    await self._carry(n)
                n += 1
                self._progress(min(size, n * TILE_WIDTH))
                if rebuilt.at_fault > _GIVE_UP:
                    rebuilt.given_up = True
                    return rebuilt
        for at in wanted:
            rebuilt.roots[at] = edge_root(self._levels)
        rebuilt.root = edge_root(self._levels)
        for level, hashes in enumerate(self._levels[1:], start=1):
            if hashes:
                n = (size >> (8 * level)) // TILE_WIDTH
                name = TileName(level, n, len(hashes))
                self._compare(name, await self._read(name), hashes)
        return rebuilt

    async def _bundles(self) -> AsyncGenerator[tuple[bytes | None, bytes | None], None]:
        """Each bundle and its level-0 tile, in order, some fetched ahead."""
        ahead: deque[asyncio.Task[tuple[bytes | None, bytes | None]]] = deque()
        count = -(-self._rebuilt.size // TILE_WIDTH)
        try:
            for n in range(count):
                ahead.append(asyncio.create_task(self._fetch(n)))
                if len(ahead) == _WINDOW:
                    yield await ahead.popleft()
            while ahead:
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def _fetch(self, n: int) -> tuple[bytes | None, bytes | None]:
        width = width_at(0, n, self._rebuilt.size)
        return await self._read(TileName(None, n, width)), await self._read(TileName(0, n, width))

    async def _read(self, name: TileName) -> bytes | None:
        """The tile; its beginning, where only the full one of a longer tree is left."""
        try:
            return await self._source.read(name.path)
        except NotFound:
            if name.width == TILE_WIDTH:
                return None
        try:
            body = await self._source.read(name.full.path)
            if name.level is not None:
                return body[: name.width * HASH_SIZE]
            return b"".join(len(entry).to_bytes(2) + entry for entry in split_entries(body)[: name.width])
        except (NotFound, TileError):
            return None

    def _leaves(self, n: int, body: bytes | None, tile: bytes | None) -> list[bytes]:
        """The leaf hashes of a bundle, compared with its tile.

        A bundle that cannot be read as `width` entries lends its place to what the tile says,
        so that the faults of one bundle do not hide those of all that come after.
        """
        size = self._rebuilt.size
        width = width_at(0, n, size)
        bundle, level0 = TileName(None, n, width), TileName(0, n, width)
        try:
            if body is None:
                self._rebuilt.missing.append(bundle)
                raise TileError("missing")
            entries = split_entries(body)
            if len(entries) != width:
                raise TileError(f"it holds {len(entries)} entries, expected {width}")
        except TileError as error:
            if body is not None:
                self._rebuilt.misshapen[bundle] = str(error)
            self._compare(level0, tile, None)
            return _stand_in(tile, width)
        self._visit(n * TILE_WIDTH, entries)
        self._rebuilt.entries += width
        leaves = [sha256(b"\x00" + entry).digest() for entry in entries]  # RFC 6962 2.1
        self._compare(level0, tile, leaves)
        return leaves

    async def _carry(self, n: int) -> None:
        level = 0
        while len(self._levels[level]) == TILE_WIDTH:
            hashes = self._levels[level]
            if level:  # level 0 is compared as it is read
                name = TileName(level, n >> (8 * level))
                self._compare(name, await self._read(name), hashes)
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(perfect_root(hashes))
            self._levels[level] = []
            level += 1

    def _compare(self, name: TileName, stored: bytes | None, hashes: Sequence[bytes] | None) -> None:
        if stored is None:
            self._rebuilt.missing.append(name)
        elif hashes is not None and stored != b"".join(hashes):
            if len(stored) != len(hashes) * HASH_SIZE:
                self._rebuilt.differing[name] = None
            else:
                self._rebuilt.differing[name] = [
                    at
                    for at, hash_ in enumerate(hashes)
                    if stored[at * HASH_SIZE : (at + 1) * HASH_SIZE] != hash_
                ]


def _stand_in(tile: bytes | None, width: int) -> list[bytes]:
    body = (tile or b"")[: width * HASH_SIZE].ljust(width * HASH_SIZE, b"\x00")
    return [body[at : at + HASH_SIZE] for at in range(0, len(body), HASH_SIZE)]
