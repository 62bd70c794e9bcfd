"""The audit log: appends a second and their latency on SeaweedFS, against bare round trips; verification.

Targets: p50 of a lone caller at most 3 round trips; 256 callers at least 1,000 entries a second;
verification at least 100,000 entries a second from local disk.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from gateway.demo.engines import Credentials, start_seaweedfs
from storage.audit.edge import Edge
from storage.audit.log import AuditLog
from storage.audit.note import Checkpoint, sign_checkpoint
from storage.audit.source import DirectorySource
from storage.audit.verify import verify
from storage.objects import Bucket
from storage.region import RegionStore
from tests.audit.logs import REGION, SIGNER, entry
from tests.engines import IRELAND, provisioned, settings_on

CALLERS: Final = (1, 16, 256)
SECONDS: Final = 4.0
VERIFIED: Final = 200_000


def run() -> None:
    """Prints one line for each number, with its target beside it."""
    asyncio.run(_appends())
    asyncio.run(_verification())


async def _appends() -> None:
    with tempfile.TemporaryDirectory() as directory:
        running = start_seaweedfs(Credentials.fresh(), Path(directory) / "engine")
        try:
            settings = settings_on(running.engine, IRELAND, Path(directory))
            region = await provisioned(settings)
            trip = await _round_trip(region.mail)
            print(f"audit: bare put-if-absent, one at a time: p50 {trip * 1000:.2f} ms")
            for callers in CALLERS:
                await _measure(region, callers, trip)
        finally:
            running.kill()


async def _round_trip(bucket: Bucket) -> float:
    """Seconds for one small conditional write: what each step of a commit costs at least."""
    taken = []
    for number in range(200):
        begun = time.perf_counter()
        await bucket.put_if_absent(f"packages/bench/{number}", bytes(400))
        taken.append(time.perf_counter() - begun)
    return median(taken)


async def _measure(region: RegionStore, callers: int, trip: float) -> None:
    taken: list[float] = []
    number = iter(range(callers * 10_000_000, (callers + 1) * 10_000_000))
    async with await AuditLog.open(region.audit, REGION, SIGNER) as log:
        end = time.perf_counter() + SECONDS

        async def caller() -> None:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                await log.append(entry(next(number)))
                taken.append(time.perf_counter() - begun)

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        spent = time.perf_counter() - begun
    cuts = quantiles(taken, n=100)
    print(
        f"audit: {callers:>3} callers: {len(taken) / spent:>7.0f} entries/s, "
        f"p50 {cuts[49] * 1000:.1f} ms ({cuts[49] / trip:.1f} round trips), p99 {cuts[98] * 1000:.1f} ms"
    )


async def _verification() -> None:
    with tempfile.TemporaryDirectory() as directory:
        _write_log(Path(directory))
        begun = time.perf_counter()
        report = await verify(DirectorySource(Path(directory)), SIGNER.key)
        spent = time.perf_counter() - begun
        assert report.ok, report.faults
        print(f"audit: verification of {VERIFIED} entries from disk: {VERIFIED / spent:.0f} entries/s")


def _write_log(directory: Path) -> None:
    """A log as the sequencer leaves it, without its engine: full batches, one checkpoint."""
    edge = Edge()
    sample = entry(0).encode()
    for start in range(0, VERIFIED, 1024):
        numbers = range(start, min(start + 1024, VERIFIED))
        batch = [sample.replace(b"0" * 32, b"%032x" % number) for number in numbers]
        edge, tiles = edge.grow(batch)
        for name, body in tiles.items():
            path = directory / name.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    head = Checkpoint(SIGNER.name, edge.size, edge.root())
    (directory / "checkpoint").write_bytes(sign_checkpoint(head, SIGNER))
