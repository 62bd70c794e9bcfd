"""Partial bundles that the log has outgrown, and that its readers may still hold.

Each append leaves the partial bundle of its day behind, under retention like everything else. The
tree is rebuilt from the newest alone; an older one is a beginning of it, octet for octet, or was
changed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from storage.audit.report import FaultCode, Report
from storage.audit.source import Source
from storage.audit.tiles import TILE_WIDTH, TileName, split_entries, width_at
from storage.errors import NotFound


async def compare_outgrown(source: Source, size: int, paths: Sequence[str], report: Report) -> None:
    """Name the entry that differs in a partial form of the last bundle of a log of `size` entries.

    For a log whose entries make its signed root. `paths` are all bundles' paths. Earlier bundles
    are full, and what is left of their partial forms is judged by its versions: to read them all
    would cost a hundred times the log.
    """
    if size == 0:
        return
    n = (size - 1) // TILE_WIDTH
    newest = TileName(None, n, width_at(0, n, size))
    whole = await source.read(newest.path)
    # ends[k]: where the first k entries end. Two octets of length stand before each entry.
    ends = [0, *accumulate(2 + len(entry) for entry in split_entries(whole))]
    for path in paths:
        name = TileName.parse(path)
        if name.level is not None or name.n != n or name.width >= newest.width:
            continue
        try:
            found = await source.read(path)
        except NotFound:
            continue
        expected = whole[: ends[name.width]]
        if found != expected:
            pairs = enumerate(zip(found, expected, strict=False))
            at = next((at for at, (a, b) in pairs if a != b), min(len(found), len(expected)))
            index = n * TILE_WIDTH + min(bisect_right(ends, at) - 1, name.width - 1)
            rule = f"its bytes in {path} are not those in {newest.path}"
            report.add(FaultCode.ENTRY_CHANGED, f"entry {index}", rule)
