"""`kill -9` of real processes that append to one log, at each of their writes, on real engines."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys

import pytest

from storage.audit.log import AuditLog
from storage.audit.source import BackendSource
from storage.audit.verify import verify
from storage.region import RegionStore
from tests.audit.logs import REGION, SIGNER, entry
from tests.engines import keys_of
from tests.faults import Moment

APPENDS = 3
# An append of a lone process is five writes: stage, swap, tile, bundle, checkpoint. In a new process the
# first of them come after those that finish what a dead one began.
WRITES = range(1, 8)


async def _process(region: RegionStore, first: int, last: int, moment: Moment) -> tuple[int, dict[int, int]]:
    """Runs one process to its end -> its exit status, and the index of each number it acknowledged."""
    access = region.settings.access
    task = {
        "bucket": region.settings.audit_bucket,
        "endpoint": access.endpoint,
        "id": keys_of(region.settings).access_key_id,
        "secret": keys_of(region.settings).secret_access_key,
        "first": first,
        "count": APPENDS,
        "last": last,
        "moment": moment,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.audit.dying_log"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(json.dumps(task).encode() + b"\n")
    pairs = (line.split() for line in out.decode().splitlines())
    assert process.returncode is not None
    return process.returncode, {int(number): int(index) for number, index in pairs}


@pytest.mark.timeout(240)
async def test_a_log_outlives_its_writers(region: RegionStore) -> None:
    """No acknowledged entry is missing, none stands twice, and nobody has to repair anything."""
    acknowledged: dict[int, int] = {}
    numbers = itertools.count(0, APPENDS)
    for last, moment in itertools.product(WRITES, Moment):
        # Two at a time, both dying: each finds what the other leaves behind, too.
        ends = await asyncio.gather(
            _process(region, next(numbers), last, moment), _process(region, next(numbers), last + 1, moment)
        )
        for status, found in ends:
            assert status == -signal.SIGKILL, f"at write {last}, {moment}"
            acknowledged |= found
    status, found = await _process(region, next(numbers), 0, Moment.BEFORE)
    assert (status, len(found)) == (0, APPENDS)
    acknowledged |= found

    async with await AuditLog.open(region.audit, REGION, SIGNER) as log:
        ids = [one.id for one in await log.entries(0, 100_000)]
    assert len(set(ids)) == len(ids)
    assert {number: ids.index(entry(number).id) for number in acknowledged} == acknowledged
    report = await verify(BackendSource(region.audit), SIGNER.key)
    assert report.faults == []
    assert report.entries == len(ids)
