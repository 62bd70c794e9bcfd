"""Naming what was done to a log, once it is known that something was.

The signed root vouches for the partial tiles at the right edge, which fold to it; a tile
that is vouched for vouches for each full tile below. So trust runs from the root down, and
the first place where a stored thing does not fit what is vouched for is the one at fault:

- where the entries make the signed root, they are right, and each tile that differs is not;
- a level-0 tile that is vouched for says which of its entries was changed, removed,
  inserted or moved;
- a tile that is not vouched for was itself changed, perhaps together with its entries: the
  hash above it tells the range, and nothing is left that could tell the entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, final

from storage.audit.edge import edge_root, edge_tiles
from storage.audit.merkle import HASH_SIZE, leaf_hash, perfect_root
from storage.audit.rebuild import Rebuilt
from storage.audit.report import FaultCode, Report
from storage.audit.source import Source
from storage.audit.tiles import TILE_WIDTH, TileError, TileName, split_entries, width_at
from storage.errors import NotFound


@final
class Diagnosis:
    """Turns the differences of a rebuilt tree into faults of a report."""

    def __init__(self, source: Source, rebuilt: Rebuilt, root: bytes, report: Report) -> None:
        self._source: Final = source
        self._rebuilt: Final = rebuilt
        self._root: Final = root
        self._report: Final = report
        self._vouched: Final[dict[tuple[int, int], list[bytes] | None]] = {}
        self._edge_holds: bool | None = None
        # Leaf hashes that ought to be somewhere and are not, and such as are where they ought not.
        self._lost: Final[dict[bytes, int]] = {}
        self._strange: Final[dict[int, bytes]] = {}
        self._pending: Final[dict[int, tuple[FaultCode, str]]] = {}

    async def run(self) -> None:
        rebuilt, report = self._rebuilt, self._report
        before = len(report.faults)
        for name in rebuilt.missing:
            code = FaultCode.BUNDLE_MISSING if name.level is None else FaultCode.TILE_MISSING
            report.add(code, name.path, f"gone, with {_range(name)}")
        for name, rule in rebuilt.misshapen.items():
            await self._bundle(name, rule)
        entries_hold = rebuilt.root == self._root
        for name in sorted(rebuilt.differing, key=lambda name: (-(name.level or 0), name.n)):
            await self._tile(name, entries_hold)
        self._entries()
        if not entries_hold and len(report.faults) == before:
            report.add(
                FaultCode.ROOT, "checkpoint", "the entries, and all tiles with them, make another root"
            )

    async def _tile(self, name: TileName, entries_hold: bool) -> None:
        positions = self._rebuilt.differing[name]
        assert name.level is not None
        if entries_hold:
            self._report.add(FaultCode.TILE_CHANGED, name.path, _places(positions))
        elif await self._vouch(name.level, name.n) is None:
            self._report.add(
                FaultCode.TILE_CHANGED, name.path, f"{_places(positions)}, unlike the tile above it"
            )
            if name.level == 0 and not await self._entries_match_above(name):
                self._report.add(
                    FaultCode.ENTRIES_REWRITTEN, _range(name), "not what the tree was built from"
                )
        elif name.level == 0:
            await self._bundle(TileName(None, name.n, name.width), "")
        else:
            for at in positions or ():
                child = TileName(name.level - 1, name.n * TILE_WIDTH + at)
                if child not in self._rebuilt.differing and child not in self._rebuilt.missing:
                    rule = f"rewritten with {child.path}; {name.path} still has the hash of what was there"
                    self._report.add(FaultCode.ENTRIES_REWRITTEN, _range(child), rule)

    async def _bundle(self, name: TileName, rule: str) -> None:
        """Compare a bundle with its level-0 tile, entry by entry."""
        vouched = await self._vouch(0, name.n)
        try:
            body = await self._source.read(name.path)
            entries = split_entries(body)
        except NotFound:
            self._report.add(FaultCode.BUNDLE_FORM, name.path, rule or "not a bundle")
            return
        except TileError:
            where = name.n * TILE_WIDTH + _first_unlike(body, vouched or [])
            detail = f"{rule or 'not a bundle'}; entry {where} is the first that is not as committed"
            self._report.add(FaultCode.BUNDLE_FORM, name.path, detail)
            return
        if vouched is None:
            self._report.add(FaultCode.BUNDLE_FORM, name.path, rule or "its tile is not to be trusted either")
            return
        found = [leaf_hash(entry) for entry in entries]
        first = name.n * TILE_WIDTH
        if sorted(found) == sorted(vouched):
            moved = [first + at for at, (a, b) in enumerate(zip(found, vouched, strict=True)) if a != b]
            self._report.add(FaultCode.ENTRIES_REORDERED, _list(moved), f"in another order in {name.path}")
            return
        for tag, a, b, c, d in SequenceMatcher(None, vouched, found, autojunk=False).get_opcodes():
            if tag == "equal":
                continue
            for at in range(a, b):
                self._lost[vouched[at]] = first + at
            for step in range(max(b - a, d - c)):
                self._note(first, a, b, c, d, step, found, name)

    def _note(
        self, first: int, a: int, b: int, c: int, d: int, step: int, found: Sequence[bytes], name: TileName
    ) -> None:
        if a + step < b and c + step < d:
            self._strange[first + a + step] = found[c + step]
            self._pending[first + a + step] = (
                FaultCode.ENTRY_CHANGED,
                f"its bytes in {name.path} are not those committed",
            )
        elif a + step < b:
            self._pending[first + a + step] = (FaultCode.ENTRY_REMOVED, f"not in {name.path}")
        else:
            detail = f"{name.path} holds an entry that was never committed"
            self._report.add(FaultCode.ENTRY_INSERTED, f"before {first + b}", detail)

    def _entries(self) -> None:
        """Report the entries at fault; what is lost here and strange there was moved."""
        for index, (code, detail) in sorted(self._pending.items()):
            origin = self._lost.get(self._strange.get(index, b""))
            if origin is not None and origin != index:
                detail = f"in its place stands entry {origin}"
                self._report.add(FaultCode.ENTRIES_REORDERED, f"entry {index}", detail)
            else:
                self._report.add(code, f"entry {index}", detail)

    async def _entries_match_above(self, level0: TileName) -> bool:
        """Whether the bundle itself fits the hash above a level-0 tile that does not."""
        above = await self._vouch(1, level0.n // TILE_WIDTH)
        if above is None or level0.width < TILE_WIDTH:
            return False
        try:
            entries = split_entries(await self._source.read(TileName(None, level0.n).path))
        except (NotFound, TileError):
            return False
        return perfect_root([leaf_hash(e) for e in entries]) == above[level0.n % TILE_WIDTH]

    async def _vouch(self, level: int, n: int) -> list[bytes] | None:
        """The stored hashes of a tile, if the root vouches for them; else None."""
        key = (level, n)
        if key not in self._vouched:
            self._vouched[key] = await self._vouch_anew(level, n)
        return self._vouched[key]

    async def _vouch_anew(self, level: int, n: int) -> list[bytes] | None:
        width = width_at(level, n, self._rebuilt.size)
        if width == 0:
            return None
        hashes = await self._hashes(TileName(level, n, width))
        if hashes is None:
            return None
        if width < TILE_WIDTH:
            return hashes if await self._edge() else None
        above = await self._vouch(level + 1, n // TILE_WIDTH)
        if above is None or perfect_root(hashes) != above[n % TILE_WIDTH]:
            return None
        return hashes

    async def _edge(self) -> bool:
        if self._edge_holds is None:
            levels: dict[int, list[bytes]] = {}
            for name in edge_tiles(self._rebuilt.size):
                if name.level is not None:
                    levels[name.level] = await self._hashes(name) or []
            stack = [levels.get(level, []) for level in range(max(levels, default=-1) + 1)]
            self._edge_holds = edge_root(stack) == self._root
        return self._edge_holds

    async def _hashes(self, name: TileName) -> list[bytes] | None:
        try:
            body = await self._source.read(name.path)
        except NotFound:
            return None
        if len(body) != name.width * HASH_SIZE:
            return None
        return [body[at : at + HASH_SIZE] for at in range(0, len(body), HASH_SIZE)]


def _range(name: TileName) -> str:
    span = TILE_WIDTH ** (name.level or 0)
    first = name.n * TILE_WIDTH * span
    return f"entries {first} to {first + name.width * span - 1}"


def _places(positions: Sequence[int] | None) -> str:
    return "of another length" if positions is None else f"changed at hash {_list(positions)}"


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"


def _first_unlike(bundle: bytes, vouched: Sequence[bytes]) -> int:
    """The first position of a bundle whose entry, read by its own length, has another hash."""
    at = 0
    for position, expected in enumerate(vouched):
        start = at + 2
        at = start + int.from_bytes(bundle[at:start])
        if at > len(bundle) or leaf_hash(bundle[start:at]) != expected:
            return position
    return len(vouched)
