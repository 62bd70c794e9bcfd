"""Taking a log away: checkpoint, bundles and tiles into a directory, for whoever verifies offline.

What is there already is not fetched again, so that a copy that broke off is gone on with, and a
copy of last month grows. The checkpoint comes last: a directory with one is a whole log.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Final

from storage.audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from storage.audit.source import Source
from storage.audit.tiles import TileName, tiles_at
from storage.errors import Corrupt

_AT_ONCE: Final = 16


async def copy_log(
    source: Source, directory: Path, key: VerifierKey, progress: Callable[[int, int], None]
) -> Checkpoint:
    """Copy what the published checkpoint covers -> that checkpoint. Verifies nothing else.

    `progress`: tiles done, and in all. Raises NotFound, Corrupt, Unavailable; OSError.
    """
    note = await source.read("checkpoint")
    try:
        checkpoint, _ = open_checkpoint(note, key)
    except NoteError as error:
        raise Corrupt("checkpoint", str(error)) from None
    total = sum(1 for _ in tiles_at(checkpoint.size))
    names = tiles_at(checkpoint.size)
    done = 0
    while batch := list(itertools.islice(names, _AT_ONCE)):
        await asyncio.gather(*(_copy(source, directory, name) for name in batch))
        progress(done := done + len(batch), total)
    await asyncio.to_thread(_write, directory / "checkpoint", note)
    return checkpoint


async def _copy(source: Source, directory: Path, name: TileName) -> None:
    path = directory / name.path
    if not await asyncio.to_thread(path.is_file):
        await asyncio.to_thread(_write, path, await source.read(name.path))


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(body)
    beside.replace(path)
