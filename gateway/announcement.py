"""What a gateway decides by, said in each region's log: at its start, and when it changes.

Whoever reads a decision later can see under which lawbook and which trust lists the server ran.
A region that is down is told when it is back; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import rfc8785
import structlog

from policy.geography import RegionCode
from storage.audit.entry import Entry, Event
from storage.audit.log import AuditLog
from storage.audit.tiles import TILE_WIDTH
from storage.errors import StorageError
from storage.identity import Clock

EVERY: Final = 30.0  # seconds between looks at the trust lists
_TELLING: Final = frozenset({Event.SERVER_STARTED, Event.LAWBOOK_CHANGED, Event.TRUST_CHANGED})

_log: Final = structlog.get_logger("situs.announcement")


@final
@dataclass(frozen=True, slots=True)
class Basis:
    """What decisions rest on: the digests of the lawbook and of the trust lists."""

    lawbook: str
    trust: str


def trust_digest(directory: Path) -> str:
    """`sha256:` over the names and contents of all trust lists, as TrustDirectory would read them."""
    files = {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    }
    return f"sha256:{hashlib.sha256(rfc8785.dumps(files)).hexdigest()}"


@asynccontextmanager
async def announcing(
    logs: Mapping[RegionCode, AuditLog], lawbook: str, trust: Path, clock: Clock, *, every: float = EVERY
) -> AsyncIterator[None]:
    """Tell the logs, for as long as the block runs. `lawbook`: the digest; `trust`: the directory."""
    tasks = [
        asyncio.create_task(_tell(log, lawbook, trust, clock, every), name=f"announcement {code}")
        for code, log in logs.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(log: AuditLog, lawbook: str, trust: Path, clock: Clock, every: float) -> None:
    started, known = False, None
    while True:
        try:
            basis = Basis(lawbook, await asyncio.to_thread(trust_digest, trust))
            if basis != known:
                # What changed before the start: if we crash between the two, the next start says it.
                await _tell_changes(log, basis, clock)
                known = basis
            if not started:
                await _append(log, Event.SERVER_STARTED, basis, clock)
                started = True
        except (StorageError, OSError) as error:
            _log.warning("announcement put off", region=str(log.region), reason=str(error))
        await asyncio.sleep(every)


async def _tell_changes(log: AuditLog, basis: Basis, clock: Clock) -> None:
    told = await last_told(log)
    if told is None:
        return
    # Another process may have seen the same change and said so already: then `told` is as we are.
    if told.lawbook != basis.lawbook:
        await _append(log, Event.LAWBOOK_CHANGED, Basis(basis.lawbook, told.trust), clock)
    if told.trust != basis.trust:
        await _append(log, Event.TRUST_CHANGED, basis, clock)


async def last_told(log: AuditLog) -> Basis | None:
    """What the log says last of lawbook and trust lists; None where it never did."""
    end = await log.size()
    while end > 0:
        start = (end - 1) // TILE_WIDTH * TILE_WIDTH
        for entry in reversed(await log.entries(start, end - start)):
            if entry.event in _TELLING and entry.lawbook and entry.subject:
                return Basis(entry.lawbook, entry.subject)
        end = start
    return None


async def _append(log: AuditLog, event: Event, basis: Basis, clock: Clock) -> None:
    entry = Entry(time=clock(), event=event, region=log.region, lawbook=basis.lawbook, subject=basis.trust)
    await log.append(entry)
