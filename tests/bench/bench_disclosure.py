"""An order's way to its 201, and the making of a package, on SeaweedFS.

The 201 comes after a record, a claim, an audit commit and a document have been written: its median stands
beside that of one bare conditional put to the same engine. A package is read, opened, zipped, encrypted and
put back: its rate stands beside that of bare concurrent GETs of the same sealed objects, before it and after.
CPU time for each megabyte of mail says more than the rate on a machine that others use: ours, and that of the
engine, which also writes the package (some 9 ms for each megabyte written: for large messages that is most of
it). What is written depends on what the mail is: text deflates to a third, base64 to three quarters.

Targets (issue 7, lines 5 and 10): packages at no less than 50% of the bare rate, and less than 300 MB of
memory for a load that is one twentieth of 100,000 messages of 50 KB, in parts as large as in service.
"""

from __future__ import annotations

import asyncio
import base64
import random
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from gateway.demo.engines import Credentials, start_seaweedfs
from gateway.disclosure.terms import Terms
from gateway.garbage import look_less_often
from policy.order import Timespan
from storage.directory import Directory
from storage.identity import KeyRange
from storage.objects import Bucket
from storage.provision import provision
from storage.region import Ground, RegionSettings
from tests.bench.process_time import cpu_seconds
from tests.disclosure.desk import AOIFE, IRELAND, NOW, Gateway, gateway, order
from tests.engines import DEPLOYMENT, settings_on
from tests.storage.grounds import DIRECTORY_KEY, World

ORDERS: Final = 100


@dataclass(frozen=True)
class Load:
    """So many messages of so many octets, of which the share `attached` is base64 and the rest is prose."""

    messages: int
    octets: int
    attached: float

    def __str__(self) -> str:
        kind = {0.0: "prose", 1.0: "base64"}.get(self.attached, "both")
        return f"{self.messages:,} messages of {self.octets / 1000:g} KB, {kind}"


# The largest load comes first, since memory is measured by its peak.
LOADS: Final = (
    Load(5_000, 50_000, 1.0),
    Load(2_000, 50_000, 0.5),
    Load(2_000, 50_000, 0.0),
    Load(2_000, 5_000, 0.5),
    Load(60, 1_000_000, 1.0),
)
IN_FLIGHT: Final = 16
TARGET: Final = 0.50
MEMORY: Final = 300  # MB


def run() -> None:
    """Prints a line for each measurement, with its baseline beside it."""
    with tempfile.TemporaryDirectory() as folder:
        running = start_seaweedfs(Credentials.fresh(), Path(folder) / "state")
        try:
            # The loop that `situs serve` runs on.
            uvloop.run(_measure(settings_on(running.engine, IRELAND, Path(folder)), running.engine.pid))
        finally:
            running.stop()


async def _measure(settings: RegionSettings, engine: int) -> None:
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
        look_less_often()  # as `situs serve` does
        for day, load in enumerate(LOADS, 1):
            await _package(desk, engine, day, load)


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


@dataclass
class Spent:
    """What some work has taken: seconds, and the CPU-seconds of this process and of the engine."""

    taken: float
    ours: float
    engines: float

    def told(self, octets: int) -> str:
        mb = octets / 1e6
        return f"{self.ours / mb * 1000:.1f} + {self.engines / mb * 1000:.1f} CPU-ms/MB, ours + the engine's"


async def _spent(engine: int, work: Awaitable[None]) -> Spent:
    began, ours, engines = time.perf_counter(), time.process_time(), cpu_seconds(engine)
    await work
    return Spent(time.perf_counter() - began, time.process_time() - ours, cpu_seconds(engine) - engines)


async def _package(desk: Gateway, engine: int, day: int, load: Load) -> None:
    start = NOW - timedelta(days=day)
    octets = await _fill(desk, start, load)
    bucket = desk.world.store(IRELAND).mail
    located = await desk.world.directory.find(AOIFE)
    span = Timespan(start, start + timedelta(days=1))
    prefix, wanted = f"mail/{located.account}/", KeyRange.of(span)
    keys = [
        listed.key
        async for listed in bucket.list(prefix, start_after=prefix + wanted.after)
        if listed.key < prefix + wanted.before
    ]
    before, memory = await _spent(engine, _read_all(bucket, keys)), _peak()
    text = {"start": span.start.isoformat(), "end": span.end.isoformat()}
    presented = await desk.present(order(timespan=text), requested=["content"])

    async def approve() -> None:
        approved = await desk.approve(presented.json["id"])
        assert approved.json["status"] == "Disclosed", approved.body

    made = await _spent(engine, approve())
    peak, after = _peak(), await _spent(engine, _read_all(bucket, keys))
    bare, rate = 2 * octets / (before.taken + after.taken) / 1e6, octets / made.taken / 1e6
    verdict = "met" if rate >= TARGET * bare else "MISSED"
    print(f"{f'{load}: bare GETs (baseline)':<56} {bare:8.1f} MB/s  {before.told(octets)}")
    print(
        f"{f'{load}: approved to disclosed':<56} {rate:8.1f} MB/s  {made.told(octets)}\n"
        f"{'':<56} {rate / bare:8.0%} of the bare rate, target {TARGET:.0%}: {verdict}"
    )
    if day == 1:
        verdict = "met" if peak < MEMORY else "MISSED"
        print(
            f"{f'memory for {octets / 1e6:.0f} MB of mail':<56} {peak:8.0f} MB  of which "
            f"{peak - memory:.0f} MB for the package, target under {MEMORY} MB: {verdict}"
        )


async def _fill(desk: Gateway, start: datetime, load: Load) -> int:
    """Mail of the load's kind, each message of its own words; returns how many octets of it there are."""
    head = b"From: a@example.org\r\nTo: aoife@example.ie\r\nSubject: accounts\r\n\r\n"
    attached = int(load.octets * load.attached)
    words, draw = _words(), random.Random(load.octets)
    todo = iter(range(load.messages))

    def message() -> bytes:
        base = base64.encodebytes(draw.randbytes(attached)).replace(b"\n", b"\r\n")[:attached]
        lines = (b" ".join(draw.choices(words, k=12)) for _ in range((load.octets - attached) // 40))
        prose = b"\r\n".join(lines)[: load.octets - attached - len(head)]
        return (head + prose + base)[: load.octets]

    async def worker() -> None:
        for number in todo:
            await desk.deliver(message(), at=start + timedelta(seconds=number))

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return load.messages * load.octets


def _words() -> list[bytes]:
    """What people write with: the words of our own prose, as often as they come there."""
    return (Path(__file__).parents[2] / "gateway" / "README.md").read_bytes().split()


async def _read_all(bucket: Bucket, keys: list[str]) -> None:
    todo = iter(keys)

    async def worker() -> None:
        for key in todo:
            await bucket.get(key)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def _peak() -> float:
    """The process's greatest resident set so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    run()
