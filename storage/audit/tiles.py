"""C2SP tlog-tiles: the names of tiles and entry bundles, and what is in a bundle.

https://c2sp.org/tlog-tiles. Paths are relative to a log's prefix: `log/` in the audit
bucket, `/v1/audit/<region>/` over HTTP. They are the same bytes in both places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, final

from storage.audit.merkle import HASH_SIZE, Node

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
ENTRY_LIMIT: Final = 0xFFFF  # a big-endian uint16 carries the length

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-5]?[0-9]|6[0-3])/(?P<n>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?\Z"
)


class TileError(ValueError):
    """A tile or bundle, or the name of one, breaks the format. The message says how."""


@final
@dataclass(frozen=True, slots=True)
class TileName:
    """One tile (level 0 to 63) or, with `level` None, one entry bundle. `width` is 1 to 256."""

    level: int | None
    n: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """`tile/0/x001/x234/067.p/8`, relative to the log's prefix."""
        level = "entries" if self.level is None else str(self.level)
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_digits(self.n)}{suffix}"

    @property
    def full(self) -> TileName:
        """The full tile that a partial one grows into."""
        return TileName(self.level, self.n)

    @classmethod
    def parse(cls, path: str) -> TileName:
        """Raises TileError for anything that is not the one spelling of a tile's path."""
        match = _PATH.match(path)
        if match is None:
            raise TileError(f"{path!r} is not the path of a tile or an entry bundle")
        level = None if match["level"] == "entries" else int(match["level"])
        name = cls(
            level, int(match["n"].replace("x", "").replace("/", "")), int(match["width"] or TILE_WIDTH)
        )
        if name.path != path:  # leading zeroes, a needless x000/, a width of 256 and above
            raise TileError(f"{path!r} is not the one spelling of {name.path!r}")
        return name


def _digits(n: int) -> str:
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03d}")
    return "/".join(reversed(groups))


def width_at(level: int, n: int, size: int) -> int:
    """How many hashes the n-th tile of a level has in a tree of `size` leaves: 0 to 256."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - n * TILE_WIDTH))


def tiles_at(size: int) -> Iterator[TileName]:
    """Every tile and bundle of a tree of `size` leaves, each level from left to right."""
    for n in range(-(-size // TILE_WIDTH)):
        yield TileName(None, n, width_at(0, n, size))
    level = 0
    while count := size >> (TILE_HEIGHT * level):
        for n in range(-(-count // TILE_WIDTH)):
            yield TileName(level, n, width_at(level, n, size))
        level += 1


def tile_for(node: Node, size: int) -> tuple[TileName, int, int]:
    """Where a perfect subtree stands in a tree of `size`: its tile, and the hashes [from, to) of it."""
    level, depth = divmod(node.height, TILE_HEIGHT)
    first = node.position << depth
    n, offset = divmod(first, TILE_WIDTH)
    return TileName(level, n, width_at(level, n, size)), offset, offset + (1 << depth)


def split_hashes(tile: bytes, name: TileName) -> list[bytes]:
    """A tile's bytes -> its hashes. Raises TileError where it is not exactly `width` of them."""
    if len(tile) != name.width * HASH_SIZE:
        raise TileError(f"{name.path} has {len(tile)} bytes, expected {name.width * HASH_SIZE}")
    return [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]


def join_entries(entries: Iterable[bytes]) -> bytes:
    """Entries -> the bytes of a bundle. Raises TileError for an entry above 65,535 bytes."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > ENTRY_LIMIT:
            raise TileError(f"an entry of {len(entry)} bytes: at most {ENTRY_LIMIT} fit in a bundle")
        parts += (len(entry).to_bytes(2), entry)
    return b"".join(parts)


def split_entries(bundle: bytes) -> list[bytes]:
    """The bytes of a bundle -> its entries. Raises TileError where the lengths do not add up."""
    entries: list[bytes] = []
    at, end = 0, len(bundle)
    while at < end:
        start = at + 2
        at = start + int.from_bytes(bundle[at:start])
        if at > end:
            raise TileError(f"entry {len(entries)} of the bundle runs past its end")
        entries.append(bundle[start:at])
    return entries
