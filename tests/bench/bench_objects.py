"""The object client against obstore bare and boto3 in threads, a stalled neighbour, and the fence walk.

On SeaweedFS, 20 KB objects, 32 in flight; rounds of each kind take turns, medians are printed.

Targets (issue 3, lines 3 and 8): a region that stalls slows the others by no more than 10%; the walk over
100,000 objects takes no more memory than the one over 10,000.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from gateway.demo.engines import Credentials, start_seaweedfs
from policy.geography import RegionCode
from storage.control import s3_client
from storage.engine import open_store
from storage.errors import Unavailable
from storage.fence import FenceWalk
from storage.homes import HomeOf
from storage.identity import AccountId
from storage.objects import Bucket
from storage.region import RegionSettings, RegionStore
from tests.engines import DEPLOYMENT, IRELAND, provisioned, settings_on
from tests.faults import Fault, FaultProxy

IN_FLIGHT: Final = 32
PUTS: Final = 1_000
ROUNDS: Final = 5
BODY: Final = secrets.token_bytes(20_000)
FEW: Final = 10_000
MANY: Final = 100_000
SLOWER: Final = 0.10
ACCOUNT: Final = AccountId("a" * 32)

Work = Callable[[], Awaitable[object]]


def run() -> None:
    """Prints a line for each measurement, with its baseline beside it."""
    with tempfile.TemporaryDirectory() as folder:
        running = start_seaweedfs(Credentials.fresh(), Path(folder) / "weed")
        try:
            asyncio.run(_measure(settings_on(running.engine, IRELAND, Path(folder))))
        finally:
            running.stop()


async def _measure(settings: RegionSettings) -> None:
    store = await provisioned(settings)
    await _compare_clients(store)
    await _stall(store)
    await _walk(store)


async def _compare_clients(store: RegionStore) -> None:
    settings = store.settings
    names = map(str, itertools.count())
    bare = open_store(settings.bucket, settings.access, 10.0)
    client = s3_client(settings, connections=IN_FLIGHT)
    threads = ThreadPoolExecutor(IN_FLIGHT)
    loop = asyncio.get_running_loop()

    def boto3_put(key: str) -> None:
        client.put_object(Bucket=settings.bucket, Key=key, Body=BODY, IfNoneMatch="*")

    kinds: dict[str, Work] = {
        "obstore bare (baseline)": lambda: bare.put_async(f"bench/{next(names)}", BODY, mode="create"),
        "Bucket.put_if_absent": lambda: store.mail.put_if_absent(f"bench/{next(names)}", BODY),
        "boto3 in threads": lambda: loop.run_in_executor(threads, boto3_put, f"bench/{next(names)}"),
    }
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for work in kinds.values():
        await _pace(work, 200)
    for _ in range(ROUNDS):
        for kind, work in kinds.items():
            found[kind].append(await _pace(work, PUTS))
    threads.shutdown()
    baseline = median(rate for rate, _ in found["obstore bare (baseline)"])
    for kind, paces in found.items():
        rate, cpu = median(rate for rate, _ in paces), median(cpu for _, cpu in paces)
        print(f"{kind:<32} {rate:8.0f}/s  {rate / baseline:5.0%}  {cpu:6.3f} CPU-s per 1,000")


async def _pace(work: Work, times: int) -> tuple[float, float]:
    """How many in a second, and this process's CPU seconds for 1,000."""
    left = iter(range(times))

    async def worker() -> None:
        for _ in left:
            await work()

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    took = time.perf_counter() - started
    return times / took, (time.process_time() - cpu) / times * 1000


async def _stall(store: RegionStore) -> None:
    """Puts here, alone and while as many puts wait for a region that does not answer."""
    names = map(str, itertools.count())
    alone: list[float] = []
    beside: list[float] = []
    async with FaultProxy(store.settings.endpoint) as proxy:
        proxy.fail(Fault.STALL, times=10**9)
        access = replace(store.settings.access, endpoint=proxy.endpoint)
        stalled = Bucket(store.settings.bucket, access, deadline=3.0)

        async def wait_for_it() -> None:
            while True:
                try:
                    await stalled.put_if_absent(f"stalled/{next(names)}", BODY)
                except Unavailable:
                    continue

        async def put() -> None:
            await store.mail.put_if_absent(f"beside/{next(names)}", BODY, fresh_key=True)

        for _ in range(ROUNDS):
            alone.append((await _pace(put, PUTS))[0])
            waiting = [asyncio.create_task(wait_for_it()) for _ in range(IN_FLIGHT)]
            beside.append((await _pace(put, PUTS))[0])
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    slower = 1 - median(beside) / median(alone)
    verdict = "met" if slower <= SLOWER else "MISSED"
    print(f"{'beside a stalled region':<32} {slower:8.1%} slower  target {SLOWER:.0%}: {verdict}")


async def _walk(store: RegionStore) -> None:
    """Time and peak of Python's memory for a walk, before and after 90,000 objects more."""
    names = map(str, itertools.count())

    async def put() -> None:
        await store.mail.put_if_absent(f"mail/{ACCOUNT}/{next(names)}", b"x", fresh_key=True)

    await _pace(put, FEW)
    few, _, _ = await _walked(store)
    await _pace(put, MANY - FEW)
    many, versions, took = await _walked(store)
    print(f"fence walk over {versions:,} versions: {took:.1f} s, {versions / took:,.0f}/s")
    print(f"its peak of memory: {few / 2**20:.1f} MiB before, {many / 2**20:.1f} MiB with {MANY:,} objects")


async def _walked(store: RegionStore) -> tuple[int, int, float]:
    def home(account: AccountId) -> RegionCode | None:
        return IRELAND.code if account == ACCOUNT else None

    async def again() -> HomeOf:
        return home

    tracemalloc.start()
    started = time.perf_counter()
    walk = await FenceWalk(store.settings, DEPLOYMENT).run(home, again)
    took = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, walk.versions, took


if __name__ == "__main__":
    run()
