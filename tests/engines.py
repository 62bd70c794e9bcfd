"""Fixtures: regions on real S3 servers, moto and SeaweedFS, one process for each region.

The processes live as long as the test session (one set for each xdist worker) and are started
when a test first asks for them. What a test stands in them is its own: bucket names are fresh.

    async def test_something(region: RegionStore): ...            # runs on moto and on SeaweedFS
    async def test_abroad(settle: Settle):
        ireland = await provisioned(settle(EngineKind.MOTO, IRELAND))
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import pytest

from gateway.demo.engines import Credentials, EngineProcess, RunningEngine, start_moto, start_seaweedfs
from policy.geography import Jurisdiction, Region, RegionCode
from storage.credentials import StaticKeys
from storage.provision import provision
from storage.region import KeyFileSettings, RegionSettings, RegionStore

DEPLOYMENT: Final = "test"

IRELAND: Final = Region(RegionCode("eu-west-1"), Jurisdiction("IE"))
GERMANY: Final = Region(RegionCode("eu-central-1"), Jurisdiction("DE"))
VIRGINIA: Final = Region(RegionCode("us-east-1"), Jurisdiction("US"))


class EngineKind(StrEnum):
    MOTO = "moto"
    SEAWEEDFS = "seaweedfs"


# (engine, region) -> settings with buckets that do not exist yet.
Settle = Callable[[EngineKind, Region], RegionSettings]


class Engines:
    """The session's S3 servers, each started at its first use."""

    def __init__(self, state: Path) -> None:
        self._state: Final = state
        self._running: Final[dict[tuple[EngineKind, Region], RunningEngine]] = {}

    def of(self, kind: EngineKind, region: Region) -> EngineProcess:
        """The server of that kind for that region."""
        if (kind, region) not in self._running:
            self._running[kind, region] = self.start(kind, self._state / str(region.code))
        return self._running[kind, region].engine

    @staticmethod
    def start(kind: EngineKind, state: Path, credentials: Credentials | None = None) -> RunningEngine:
        """A server of the caller's own, to kill, restart and stop."""
        credentials = credentials or Credentials.fresh()
        return start_moto(credentials) if kind is EngineKind.MOTO else start_seaweedfs(credentials, state)

    def stop(self) -> None:
        for running in self._running.values():
            running.kill()


def settings_on(engine: EngineProcess, region: Region, keys: Path) -> RegionSettings:
    """Settings for a region on a running engine, with bucket names that nobody has used."""
    name = f"situs-{secrets.token_hex(8)}"
    return RegionSettings(
        region=region,
        endpoint=engine.endpoint,
        bucket=f"{name}-mail",
        audit_bucket=f"{name}-audit",
        credentials=StaticKeys(engine.access_key_id, engine.secret_access_key),
        key_service=KeyFileSettings(keys / f"{name}.key"),
        audit_retention_days=1,
    )


def keys_of(settings: RegionSettings) -> StaticKeys:
    """The keys of `settings_on`, for a client that is not ours."""
    assert isinstance(settings.credentials, StaticKeys)
    return settings.credentials


async def provisioned(settings: RegionSettings) -> RegionStore:
    """The region, made and opened."""
    await provision(settings, DEPLOYMENT)
    return await RegionStore.open(settings, DEPLOYMENT)


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    started = Engines(tmp_path_factory.mktemp("engines"))
    yield started
    started.stop()


@pytest.fixture
def settle(engines: Engines, tmp_path: Path) -> Settle:
    """Settings of a region that is not provisioned yet."""
    return lambda kind, region: settings_on(engines.of(kind, region), region, tmp_path)


@pytest.fixture(params=list(EngineKind), ids=str)
def engine_kind(request: pytest.FixtureRequest) -> EngineKind:
    """Each test that asks for it, or for `region`, runs on every kind of engine."""
    kind: EngineKind = request.param
    return kind


@pytest.fixture(scope="session")
def shared_regions(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[EngineKind], RegionStore]:
    """A provisioned region on each kind of engine, for tests that keep to a folder of their own."""
    made: dict[EngineKind, RegionStore] = {}

    def shared(kind: EngineKind) -> RegionStore:
        if kind not in made:
            settings = settings_on(engines.of(kind, IRELAND), IRELAND, tmp_path_factory.mktemp("keys"))
            made[kind] = asyncio.run(provisioned(settings))
        return made[kind]

    return shared


@pytest.fixture
def shared_region(
    shared_regions: Callable[[EngineKind], RegionStore], engine_kind: EngineKind
) -> RegionStore:
    """A region in Ireland that other tests use too: provisioning takes longer than most tests."""
    return shared_regions(engine_kind)


@pytest.fixture
async def region(settle: Settle, engine_kind: EngineKind) -> RegionStore:
    """A provisioned region in Ireland."""
    return await provisioned(settle(engine_kind, IRELAND))
