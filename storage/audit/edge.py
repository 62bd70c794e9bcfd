"""The right edge of a tiled tree: all that an append needs to know of what came before.

At each level the hashes of the one partial tile, and the entries of the one partial bundle:
for a million entries 3 lists of at most 255. An `Edge` never changes; `grow` gives a new
one, and every tile and bundle that the larger tree needs and the smaller one did not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from storage.audit.merkle import EMPTY_ROOT, digits, fold, leaf_hash, perfect_root
from storage.audit.tiles import TILE_HEIGHT, TILE_WIDTH, TileName, join_entries, width_at


@final
@dataclass(frozen=True, slots=True)
class Edge:
    """A tree of `size` leaves, seen from the right.

    `levels[k]` are the hashes of the partial tile of level k (perhaps none), `bundle` the
    entries of the partial bundle.
    """

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = ()
    bundle: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """The tree's root hash (RFC 6962 2.1)."""
        return edge_root(self.levels)

    def grow(self, entries: Sequence[bytes]) -> tuple[Edge, Mapping[TileName, bytes]]:
        """Append entries -> the new edge, and the tiles and bundles that are new with it."""
        size = self.size
        levels = [list(level) for level in self.levels] or [[]]
        bundle = list(self.bundle)
        new: dict[TileName, bytes] = {}
        touched: set[int] = set()
        for entry in entries:
            bundle.append(entry)
            levels[0].append(leaf_hash(entry))
            touched.add(0)
            size += 1
            if len(bundle) == TILE_WIDTH:
                new[TileName(None, size // TILE_WIDTH - 1)] = join_entries(bundle)
                bundle.clear()
                _carry(levels, size, new, touched)
        if bundle and touched:
            new[TileName(None, size // TILE_WIDTH, len(bundle))] = join_entries(bundle)
        for level in touched:
            if hashes := levels[level]:
                n = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH
                new[TileName(level, n, len(hashes))] = b"".join(hashes)
        return Edge(size, tuple(map(tuple, levels)), tuple(bundle)), new


def _carry(levels: list[list[bytes]], size: int, new: dict[TileName, bytes], touched: set[int]) -> None:
    """Close each full tile, and take its root up to the level above."""
    level = 0
    while len(levels[level]) == TILE_WIDTH:
        hashes = levels[level]
        new[TileName(level, (size >> (TILE_HEIGHT * level)) // TILE_WIDTH - 1)] = b"".join(hashes)
        if level + 1 == len(levels):
            levels.append([])
        levels[level + 1].append(perfect_root(hashes))
        touched.add(level + 1)
        levels[level] = []
        level += 1


def edge_root(levels: Sequence[Sequence[bytes]]) -> bytes:
    """The root of a tree, given the hashes of the partial tile at each level, lowest first."""
    subtrees = [root for level in reversed(levels) for root in digits(level)]
    return fold(subtrees) if subtrees else EMPTY_ROOT


def edge_tiles(size: int) -> list[TileName]:
    """The partial tiles, and the partial bundle if any, that make up the edge at `size`."""
    names = []
    if width := size % TILE_WIDTH:
        names.append(TileName(None, size // TILE_WIDTH, width))
    level = 0
    while count := size >> (TILE_HEIGHT * level):
        n = count // TILE_WIDTH
        if width := width_at(level, n, size):
            names.append(TileName(level, n, width))
        level += 1
    return names
