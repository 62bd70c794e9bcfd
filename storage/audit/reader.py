"""Reading a tiled log: hashes, entries and proofs out of whoever serves the tiles.

Every read is for a tree of a given `size` and trusts nothing: what comes back is checked for
its shape only. Who needs more compares with a signed root (`storage.audit.merkle`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, final

from storage.audit.backend import LogBackend, tile_key
from storage.audit.edge import Edge, edge_tiles
from storage.audit.merkle import Node, consistency_path, cover, fold, inclusion_path, perfect_root
from storage.audit.tiles import (
    TILE_WIDTH,
    TileError,
    TileName,
    split_entries,
    split_hashes,
    tile_for,
    width_at,
)
from storage.errors import Corrupt, NotFound


class Tiles(Protocol):
    """Where tiles come from: a bucket, a directory, a web server."""

    async def tile(self, name: TileName) -> bytes:
        """The bytes of one tile or bundle, exactly `name.width` wide. Raises NotFound."""


@final
class BackendTiles:
    """The tiles in an audit bucket."""

    def __init__(self, backend: LogBackend) -> None:
        self._backend: Final = backend

    async def tile(self, name: TileName) -> bytes:
        return (await self._backend.get(tile_key(name))).body


@final
class TreeReader:
    """A tree of `size` leaves, as its tiles tell it. Raises Corrupt naming a misshapen tile."""

    def __init__(self, tiles: Tiles, size: int) -> None:
        self._tiles: Final = tiles
        self.size: Final = size

    async def hashes(self, name: TileName) -> list[bytes]:
        """The hashes of a tile; out of the full tile, where the partial one is gone."""
        try:
            return _hashes(await self._tiles.tile(name), name)
        except NotFound:
            if name.width == TILE_WIDTH:
                raise
            # tlog-tiles "Partial Tiles": a log may drop them once the full tile is there.
            return _hashes(await self._tiles.tile(name.full), name.full)[: name.width]

    async def bundle(self, n: int) -> list[bytes]:
        """The entries of the n-th bundle. Raises Corrupt where they are too few or too many."""
        name = TileName(None, n, width_at(0, n, self.size))
        try:
            return _entries(await self._tiles.tile(name), name)
        except NotFound:
            if name.width == TILE_WIDTH:
                raise
            return _entries(await self._tiles.tile(name.full), name.full)[: name.width]

    async def entries(self, start: int, count: int) -> list[bytes]:
        """Entries [start, start + count), fewer at the log's end."""
        end = min(start + count, self.size)
        if start >= end:
            return []
        bundles = await asyncio.gather(
            *(self.bundle(n) for n in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)))
        )
        flat = [entry for bundle in bundles for entry in bundle]
        skip = start % TILE_WIDTH
        return flat[skip : skip + end - start]

    async def leaf(self, index: int) -> bytes:
        """The leaf hash of an entry."""
        return (await self._nodes([Node(0, index)]))[Node(0, index)]

    async def root(self, size: int) -> bytes:
        """The root of the tree when it had `size` leaves; `size` is at least 1."""
        nodes = cover(0, size)
        found = await self._nodes(nodes)
        return fold([found[node] for node in nodes])

    async def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """RFC 6962 2.1.1, for verify_inclusion. Raises ProofError beyond the end."""
        return await self._proof(inclusion_path(index, self.size))

    async def consistency_proof(self, old: int) -> tuple[bytes, ...]:
        """RFC 6962 2.1.2, for verify_consistency."""
        return await self._proof(consistency_path(old, self.size))

    async def edge(self) -> Edge:
        """The right edge at `size`: what the next append grows from."""
        names = edge_tiles(self.size)
        found = dict(zip(names, await asyncio.gather(*map(self._tiles.tile, names)), strict=True))
        levels: list[tuple[bytes, ...]] = []
        bundle: tuple[bytes, ...] = ()
        count = self.size
        while count:
            level, n = len(levels), count // TILE_WIDTH
            name = TileName(level, n, width_at(level, n, self.size))
            levels.append(tuple(_hashes(found[name], name)) if name.width else ())
            count //= TILE_WIDTH
        if width := self.size % TILE_WIDTH:
            name = TileName(None, self.size // TILE_WIDTH, width)
            bundle = tuple(_entries(found[name], name))
        return Edge(self.size, tuple(levels), bundle)

    async def _proof(self, path: Sequence[Sequence[Node]]) -> tuple[bytes, ...]:
        found = await self._nodes([node for nodes in path for node in nodes])
        return tuple(fold([found[node] for node in nodes]) for nodes in path)

    async def _nodes(self, nodes: Iterable[Node]) -> dict[Node, bytes]:
        """Perfect subtrees' roots; each tile is fetched once, all of them at once."""
        places = {node: tile_for(node, self.size) for node in nodes}
        names = list(dict.fromkeys(name for name, _, _ in places.values()))
        tiles = dict(zip(names, await asyncio.gather(*map(self.hashes, names)), strict=True))
        return {node: perfect_root(tiles[name][start:end]) for node, (name, start, end) in places.items()}


def _hashes(body: bytes, name: TileName) -> list[bytes]:
    try:
        return split_hashes(body, name)
    except TileError as error:
        raise Corrupt(name.path, str(error)) from None


def _entries(body: bytes, name: TileName) -> list[bytes]:
    try:
        entries = split_entries(body)
    except TileError as error:
        raise Corrupt(name.path, str(error)) from None
    if len(entries) != name.width:
        raise Corrupt(name.path, f"it holds {len(entries)} entries, expected {name.width}")
    return entries
