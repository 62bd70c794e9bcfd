"""Partial tiles and bundles that the log has outgrown, and that its readers may still hold.

Each append leaves the partial tiles of its day behind, under retention like everything else. The
tree is rebuilt from the newest alone; an older one is a beginning of it, octet for octet, or was
changed.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Final, final

from storage.audit.merkle import HASH_SIZE
from storage.audit.report import FaultCode, Report
from storage.audit.source import Source
from storage.audit.tiles import TILE_WIDTH, TileName, split_entries, width_at
from storage.errors import NotFound

_KEPT: Final = 4  # newest forms in memory: a listing brings the older forms of one tile together


@final
class Outgrown:
    """Compares older forms with the newest, in a log whose entries make its signed root."""

    def __init__(self, source: Source, size: int, report: Report) -> None:
        self._source: Final = source
        self._size: Final = size
        self._report: Final = report
        self._newest: Final[dict[TileName, tuple[bytes, tuple[int, ...]]]] = {}

    async def compare(self, name: TileName) -> None:
        """Name what differs in this form of a tile, if the log has outgrown it.

        From a distance, the older forms of the last tile of each level alone: to fetch all would cost
        a hundred times the log, and in a bucket their versions tell (`storage.audit.verify`).
        """
        level = name.level or 0
        newest = TileName(name.level, name.n, width_at(level, name.n, self._size))
        if name.width >= newest.width or not (self._source.near or self._is_last(name)):
            return
        try:
            found, (whole, ends) = await self._source.read(name.path), await self._whole(newest)
        except NotFound:  # gone meanwhile; where the newest is gone, that is a fault by itself
            return
        if name.level is None:
            self._bundle(name, newest, found, whole[: ends[name.width]], ends)
        elif found != whole[: name.width * HASH_SIZE]:
            at = _first_unlike(found, whole[: name.width * HASH_SIZE]) // HASH_SIZE
            rule = f"changed at hash {at}: it is not the beginning of {newest.path}"
            self._report.add(FaultCode.TILE_CHANGED, name.path, rule)

    def _is_last(self, name: TileName) -> bool:
        count = self._size >> (8 * (name.level or 0))
        return name.n == max(count - 1, 0) // TILE_WIDTH

    async def _whole(self, newest: TileName) -> tuple[bytes, tuple[int, ...]]:
        """The newest form; of a bundle, where its first k entries end, too."""
        if newest not in self._newest:
            while len(self._newest) >= _KEPT:
                del self._newest[next(iter(self._newest))]
            whole = await self._source.read(newest.path)
            self._newest[newest] = whole, _ends(whole) if newest.level is None else ()
        return self._newest[newest]

    def _bundle(
        self, name: TileName, newest: TileName, found: bytes, expected: bytes, ends: tuple[int, ...]
    ) -> None:
        if found != expected:
            at = _first_unlike(found, expected)
            index = name.n * TILE_WIDTH + min(bisect_right(ends, at) - 1, name.width - 1)
            rule = f"its bytes in {name.path} are not those in {newest.path}"
            self._report.add(FaultCode.ENTRY_CHANGED, f"entry {index}", rule)


def _ends(bundle: bytes) -> tuple[int, ...]:
    """Where the first k entries end. Two octets of length stand before each entry."""
    return (0, *accumulate(2 + len(entry) for entry in split_entries(bundle)))


def _first_unlike(found: bytes, expected: bytes) -> int:
    pairs = enumerate(zip(found, expected, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(found), len(expected)))
