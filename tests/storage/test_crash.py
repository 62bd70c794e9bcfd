"""kill -9 of the S3 server and of Situs, under load: what was acknowledged is there, once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import pytest

from gateway.demo.engines import Credentials, RunningEngine
from storage.directory import Directory
from storage.located import Located
from storage.provision import provision
from storage.region import Ground, RegionSettings
from tests.engines import DEPLOYMENT, IRELAND, EngineKind, Engines, keys_of, settings_on
from tests.storage.grounds import AOIFE, DIRECTORY_KEY, opened

ROUNDS: Final = 20
ENOUGH: Final = 50  # acknowledged mails, before anything is killed


class Site:
    """One region on a SeaweedFS that is killed and started again on the same disk."""

    def __init__(self, state: Path) -> None:
        self._state: Final = state
        self._credentials: Final = Credentials.fresh()
        self.engine: RunningEngine = self._started()
        self._settings: Final = settings_on(self.engine.engine, IRELAND, state)

    @property
    def settings(self) -> RegionSettings:
        return replace(self._settings, endpoint=self.engine.engine.endpoint)

    def restart(self) -> None:
        self.engine = self._started()

    def _started(self) -> RunningEngine:
        return Engines.start(EngineKind.SEAWEEDFS, self._state / "weed", self._credentials)

    @contextlib.asynccontextmanager
    async def ground(self) -> AsyncIterator[tuple[Ground, Directory]]:
        async with await Ground.open([self.settings], DEPLOYMENT) as ground:
            yield ground, Directory(ground, DIRECTORY_KEY, IRELAND.code, IRELAND.code)


async def situs(site: Site, first: int) -> asyncio.subprocess.Process:
    """A process of Situs that has begun to take in mail, numbered from `first` on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.storage.crash_writer",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    settings = site.settings
    task = {
        "code": str(settings.region.code),
        "country": str(settings.region.country),
        "settings": {name: getattr(settings, name) for name in ("endpoint", "bucket", "audit_bucket")}
        | {"audit_retention_days": settings.audit_retention_days, "deadline_seconds": 2.0},
        "keys": asdict(keys_of(settings)),
        "directory_key": DIRECTORY_KEY.hex(),
        "recipient": str(AOIFE),
        "first": first,
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode() + b"\n")
    await process.stdin.drain()
    return process


async def lines(process: asyncio.subprocess.Process) -> AsyncIterator[tuple[int, str]]:
    """What it says until it is dead. A line that the kill has cut off is no acknowledgement."""
    assert process.stdout is not None
    async for line in process.stdout:
        if line.endswith(b"\n"):
            number, message = line.split()
            yield int(number), message.decode()


async def one_round(site: Site, first: int, chance: random.Random) -> dict[int, str]:
    """Mail flows; the engine and Situs die, in either order; returns what was acknowledged."""
    process = await situs(site, first)
    said: dict[int, str] = {}
    flowing = asyncio.Event()

    async def listen() -> None:
        async for number, message in lines(process):
            said[number] = message
            if len(said) >= ENOUGH:
                flowing.set()

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(60):
        await flowing.wait()
    deaths = [site.engine.kill, process.kill]
    chance.shuffle(deaths)
    for die in deaths:
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        await asyncio.to_thread(die)
    await process.wait()
    await listening
    return said


@pytest.mark.timeout(900)
async def test_nothing_acknowledged_is_lost_in_twenty_rounds_of_kill_9(tmp_path: Path) -> None:
    chance = random.Random(20)
    site = await asyncio.to_thread(Site, tmp_path)
    acknowledged: dict[int, str] = {}
    try:
        await provision(site.settings, DEPLOYMENT)
        async with site.ground() as (_, directory):
            await directory.create(AOIFE, IRELAND.code)
        for number in range(ROUNDS):
            said = await one_round(site, number * 1_000_000, chance)
            acknowledged |= {one: message for one, message in said.items() if message != "-"}
            await asyncio.to_thread(site.restart)
        await _compare(site, acknowledged)
    finally:
        await asyncio.to_thread(site.engine.kill)
    assert len(acknowledged) >= ROUNDS * ENOUGH / 2


async def _compare(site: Site, acknowledged: dict[int, str]) -> None:
    """As the owner opens the mailbox: each acknowledged mail once, and no number twice."""
    async with site.ground() as (ground, directory):
        located: Located = await directory.locate(AOIFE)
        found = await opened(ground.home(located), located)
    numbers = [int(content.removeprefix(b"number ")) for _, content in found.values()]
    assert len(numbers) == len(set(numbers)), "a mail that was tried once is there twice"
    keys = {int(content.removeprefix(b"number ")): key for key, (_, content) in found.items()}
    lost = {number for number, message in acknowledged.items() if not keys.get(number, "").endswith(message)}
    assert lost == set(), f"{len(lost)} of {len(acknowledged)} acknowledged mails are lost"
