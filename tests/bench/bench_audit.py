"""The audit log: appends a second and their latency on SeaweedFS, against bare round trips; verification.

Targets: p50 of a lone caller at most 3 round trips; 256 callers at least 1,000 entries a second;
verification at least 100,000 entries a second from local disk, of a million entries in bounded memory.

A round trip is a put-if-absent into the audit bucket, as a commit makes it: under the bucket's own
retention SeaweedFS takes up to twice as long as in a bucket that has none, which stands beside it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from uuid import uuid4

import uvloop

from gateway.demo.engines import Credentials, start_seaweedfs
from storage.audit.edge import Edge
from storage.audit.log import AuditLog
from storage.audit.note import Checkpoint, sign_checkpoint
from storage.objects import Bucket
from storage.region import RegionStore
from tests.audit.logs import REGION, SIGNER, entry
from tests.engines import IRELAND, provisioned, settings_on

CALLERS: Final = (1, 16, 256)
SECONDS: Final = 4.0
VERIFIED: Final = (100_000, 1_000_000)


def run() -> None:
    """Prints one line for each number, with its target beside it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `situs serve` runs
        runner.run(_appends())
    _verification()


async def _appends() -> None:
    with tempfile.TemporaryDirectory() as directory:
        running = start_seaweedfs(Credentials.fresh(), Path(directory) / "engine")
        try:
            settings = settings_on(running.engine, IRELAND, Path(directory))
            region = await provisioned(settings)
            unlocked, locked = await _round_trips(region.mail), await _round_trips(region.audit)
            print(
                f"audit: bare put-if-absent, one at a time: p50 {median(locked) * 1000:.2f} ms in the audit "
                f"bucket, {median(unlocked) * 1000:.2f} ms in one without retention"
            )
            for callers in CALLERS:
                await _measure(region, callers)
        finally:
            running.kill()


async def _round_trips(bucket: Bucket) -> list[float]:
    """Seconds for each of 200 small conditional writes: what each step of a commit costs at least."""
    taken = []
    for _ in range(200):
        begun = time.perf_counter()
        await bucket.put_if_absent(f"bench/{uuid4().hex}", bytes(400))
        taken.append(time.perf_counter() - begun)
    return taken


async def _measure(region: RegionStore, callers: int) -> None:
    """The engine's pace changes while it runs: the round trips are taken before and after, and pooled."""
    taken: list[float] = []
    trips = await _round_trips(region.audit)
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
    trip = median(trips + await _round_trips(region.audit))
    cuts = quantiles(taken, n=100)
    print(
        f"audit: {callers:>3} callers: {len(taken) / spent:>7.0f} entries/s, "
        f"p50 {cuts[49] * 1000:.1f} ms ({cuts[49] / trip:.1f} round trips of {trip * 1000:.2f} ms), "
        f"p99 {cuts[98] * 1000:.1f} ms"
    )


def _verification() -> None:
    for entries in VERIFIED:
        with tempfile.TemporaryDirectory() as directory:
            _write_log(Path(directory), entries)
            _verify_apart(directory, entries)


def _verify_apart(directory: str, entries: int) -> None:
    """By the command, in a process of its own: its memory is what it says at its end."""
    command = [sys.executable, "-c", _CHILD, directory, str(SIGNER.key)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    size, seconds, peak = int(answer[0]), float(answer[1]), int(answer[2])
    assert size == entries
    print(
        f"audit: verification of {size} entries from disk: {size / seconds:.0f} entries/s, "
        f"{peak / 1024:.0f} MiB at most"
    )


# Figures go to standard output, one on a line: entries, seconds, peak of memory in KiB.
_CHILD: Final = """
import asyncio, resource, sys, time
from pathlib import Path
from storage.audit.note import VerifierKey
from storage.audit.source import DirectorySource
from storage.audit.verify import verify
begun = time.perf_counter()
report = asyncio.run(verify(DirectorySource(Path(sys.argv[1])), VerifierKey.parse(sys.argv[2])))
assert report.ok, report.faults
print(report.entries, time.perf_counter() - begun, sep="\\n")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _write_log(directory: Path, entries: int) -> None:
    """A log as the sequencer leaves it, without its engine: full batches, one checkpoint."""
    edge = Edge()
    sample = entry(0).encode()
    for start in range(0, entries, 1024):
        numbers = range(start, min(start + 1024, entries))
        batch = [sample.replace(b"0" * 32, b"%032x" % number) for number in numbers]
        edge, tiles = edge.grow(batch)
        for name, body in tiles.items():
            path = directory / name.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    head = Checkpoint(SIGNER.name, edge.size, edge.root())
    (directory / "checkpoint").write_bytes(sign_checkpoint(head, SIGNER))
