"""An order's way to its 201, and the making of a package, on SeaweedFS.

The 201 comes after a record, a claim, an audit commit and a document have been written: its median stands
beside that of one bare conditional put to the same engine. A package is read, opened, zipped, encrypted and
put back: its rate stands beside that of bare concurrent GETs of the same sealed objects.

Targets (issue 7, lines 5 and 10): packages at no less than 50% of the bare rate, and less than 300 MB of
memory for a load that is one fiftieth of 100,000 messages of 50 KB, in parts as large as in service.
"""

from __future__ import annotations

import asyncio
import base64
import resource
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final

from gateway.demo.engines import Credentials, start_seaweedfs
from gateway.disclosure.terms import Terms
from storage.directory import Directory
from storage.objects import Bucket
from storage.provision import provision
from storage.region import Ground, RegionSettings
from tests.disclosure.desk import AOIFE, IRELAND, NOW, Gateway, gateway, order
from tests.engines import DEPLOYMENT, settings_on
from tests.storage.grounds import DIRECTORY_KEY, World

ORDERS: Final = 100
MESSAGES: Final = 2_000
OCTETS: Final = 50_000
IN_FLIGHT: Final = 16
TARGET: Final = 0.50
MEMORY: Final = 300  # MB


def run() -> None:
    """Prints a line for each measurement, with its baseline beside it."""
    with tempfile.TemporaryDirectory() as folder:
        running = start_seaweedfs(Credentials.fresh(), Path(folder) / "state")
        try:
            asyncio.run(_measure(settings_on(running.engine, IRELAND, Path(folder))))
        finally:
            running.stop()


async def _measure(settings: RegionSettings) -> None:
    @asynccontextmanager
    async def standing() -> AsyncIterator[World]:
        await provision(settings, DEPLOYMENT)
        async with await Ground.open([settings], DEPLOYMENT) as ground:
            yield World(ground, Directory(ground, DIRECTORY_KEY, IRELAND.code, IRELAND.code), {})

    terms = Terms(attempts_a_minute=1_000_000, approval_wait=timedelta(minutes=5))
    async with gateway(
        lambda _kind, _region: settings, regions=(IRELAND,), terms=terms, deadline=30.0, standing=standing
    ) as desk:
        await _orders(desk)
        await _package(desk)


async def _orders(desk: Gateway) -> None:
    bucket = desk.world.store(IRELAND).mail
    body, numbers = bytes(1_000), iter(range(10 * ORDERS))

    async def put() -> None:
        await bucket.put_if_absent(f"bench/{next(numbers)}", body)

    async def present() -> None:
        assert (await desk.present(order())).status == 201

    for warming in (put, present):
        await _times(warming, 10)
    bare = await _times(put, ORDERS)
    taken = await _times(present, ORDERS)
    print(f"{'one conditional put (baseline)':<40} p50 {median(bare) * 1000:8.1f} ms")
    share = median(taken) / median(bare)
    worst = sorted(taken)[int(len(taken) * 0.95)]
    print(
        f"{'from an order to its 201':<40} p50 {median(taken) * 1000:8.1f} ms  "
        f"p95 {worst * 1000:.1f} ms  ({share:.1f} bare puts)"
    )


async def _times(work: Callable[[], Awaitable[None]], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - began)
    return taken


async def _package(desk: Gateway) -> None:
    octets = await _fill(desk)
    bucket = desk.world.store(IRELAND).mail
    located = await desk.world.directory.find(AOIFE)
    keys = [listed.key async for listed in bucket.list(f"mail/{located.account}/")]
    bare = octets / await _read_all(bucket, keys) / 1e6
    before = _peak()
    presented = await desk.present(order(), requested=["content"])
    began = time.perf_counter()
    approved = await desk.approve(presented.json["id"])
    taken = time.perf_counter() - began
    assert approved.json["status"] == "Disclosed", approved.body
    rate = octets / taken / 1e6
    verdict = "met" if rate >= TARGET * bare else "MISSED"
    print(f"{f'bare GETs of {len(keys):,} objects (baseline)':<40} {bare:12.1f} MB/s")
    print(
        f"{'approved to disclosed':<40} {rate:12.1f} MB/s  {rate / bare:.0%} of the bare rate, "
        f"target {TARGET:.0%}: {verdict}"
    )
    peak = _peak()
    verdict = "met" if peak < MEMORY else "MISSED"
    print(
        f"{f'memory for {octets / 1e6:.0f} MB of mail':<40} {peak:12.0f} MB  of which {peak - before:.0f} MB "
        f"for the package, target under {MEMORY} MB: {verdict}"
    )


async def _fill(desk: Gateway) -> int:
    """Mail of base64 text, as attachments are; returns how many octets of it there are."""
    head = b"From: a@example.org\r\nTo: aoife@example.ie\r\nSubject: accounts\r\n\r\n"
    text = base64.encodebytes(secrets.token_bytes(OCTETS))[: OCTETS - len(head)].replace(b"\n", b"\r\n")
    start, todo = NOW - timedelta(hours=20), iter(range(MESSAGES))

    async def worker() -> None:
        for number in todo:
            await desk.deliver(head + text, at=start + timedelta(seconds=number))

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return MESSAGES * len(head + text)


async def _read_all(bucket: Bucket, keys: list[str]) -> float:
    todo = iter(keys)

    async def worker() -> None:
        for key in todo:
            await bucket.get(key)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


def _peak() -> float:
    """The process's greatest resident set so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    run()
