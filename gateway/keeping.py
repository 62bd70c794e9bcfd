"""Behind the doors: holds are covered, and mail that has outlived its time goes.

Any number of processes may do this for a region; they share the work through the buckets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from gateway.config import ConfigError
from gateway.house import House
from policy.geography import RegionCode
from storage.errors import StorageError
from storage.keeping import HoldKeeper
from storage.retention import Sweeper

KEEP_EVERY: Final = 20.0  # seconds: how long a hold's objects may wait for the bucket's own lock
SWEEP_EVERY: Final = 15 * 60.0  # seconds between looks for accounts that were not swept today

_log: Final = structlog.get_logger("situs.keeping")


@asynccontextmanager
async def keeping(
    house: House, *, keep_every: float = KEEP_EVERY, sweep_every: float = SWEEP_EVERY
) -> AsyncIterator[None]:
    """Covers holds and sweeps, in each region served, until the context is left."""
    tasks = [
        asyncio.create_task(_again_and_again(name, every, code, work), name=f"{name} {code}")
        for code in house.config.serves
        for name, every, work in (
            ("holds.keep", keep_every, lambda code: _keep(house, code)),
            ("retention.sweep", sweep_every, lambda code: _sweep(house, code)),
        )
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(house: House, code: RegionCode) -> None:
    chamber, register = await house.chamber(code), await house.holds(code)
    await HoldKeeper(chamber.store, register, house.directory).keep()


async def _sweep(house: House, code: RegionCode) -> None:
    chamber, register = await house.chamber(code), await house.holds(code)
    report = await Sweeper(chamber.store, register).sweep()
    if report.accounts:
        _log.info("retention.swept", region=str(code), **report.to_json())


async def _again_and_again(
    name: str, every: float, code: RegionCode, work: Callable[[RegionCode], Awaitable[None]]
) -> None:
    while True:
        await asyncio.sleep(every)  # first, too: a process that starts has its doors to open
        try:
            await work(code)
        except (StorageError, ConfigError) as error:
            # A region that is down, or a register that cannot be read: nothing was deleted.
            _log.warning(f"{name}.later", region=str(code), reason=str(error))
