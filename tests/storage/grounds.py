"""Grounds of several regions on moto servers, with a fault proxy before each where a test wants one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from policy.address import Address
from policy.geography import Region, RegionCode
from storage.directory import Directory
from storage.errors import NotFound
from storage.identity import Clock, utc_now
from storage.keyring import Keyholder, Keyring
from storage.keys import Purpose
from storage.located import Located
from storage.mailboxes import mailbox_of
from storage.provision import provision
from storage.region import Ground, RegionSettings, RegionStore
from storage.sealing import Binding, open_content, open_traffic, read_message_header
from storage.traffic import Envelope
from storage.unheld import refuse_if_held
from tests.engines import DEPLOYMENT, GERMANY, IRELAND, VIRGINIA, EngineKind, Settle
from tests.faults import Fault, FaultProxy, Moment
from tests.holds.ward import sites_of

DIRECTORY_KEY: Final = bytes(range(32))
NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
REGISTRAR: Final = IRELAND.code

AOIFE: Final = Address.parse("aoife@example.ie")
BORIS: Final = Address.parse("boris@example.de")
CAROL: Final = Address.parse("carol@example.com")


@dataclass
class Place:
    """One region under test: its settings behind the proxy, and the proxy."""

    settings: RegionSettings
    proxy: FaultProxy

    def goes_down(self) -> None:
        """Every request fails, at once: what is in order needs all the patience that it has."""
        self.proxy.fail(Fault.NOWHERE, Moment.BEFORE, times=1_000_000)

    def comes_back(self) -> None:
        self.proxy.heal()


@dataclass
class World:
    """A deployment's regions, as a process in `reads` knows them. Ireland is the registrar."""

    ground: Ground
    directory: Directory
    places: dict[RegionCode, Place]

    def place(self, region: Region) -> Place:
        return self.places[region.code]

    def store(self, region: Region) -> RegionStore:
        return next(store for store in self.ground.stores() if store.region == region)

    async def close(
        self, address: Address, directory: Directory | None = None, clock: Clock = utc_now
    ) -> None:
        """Close an account, as the command does: with the register's word that no hold keeps it."""
        directory = directory or self.directory
        located = await directory.find(address)
        with sites_of(directory.ground, clock) as sites:
            home = sites[located.home.code]
            mailbox = await mailbox_of(home.store, located.account)
            await directory.close(address, await refuse_if_held(home.register, mailbox, "closure", "ada"))

    def at(self, now: datetime) -> Directory:
        """The directory of a process whose clock shows `now`."""
        return Directory(self.ground, DIRECTORY_KEY, REGISTRAR, REGISTRAR, clock=lambda: now)

    def seen_from(self, region: Region) -> Directory:
        """The directory of a process in another region, with an empty memory."""
        return Directory(self.ground, DIRECTORY_KEY, REGISTRAR, region.code)


@contextlib.asynccontextmanager
async def world(
    settle: Settle,
    regions: Sequence[Region] = (IRELAND, GERMANY, VIRGINIA),
    kind: EngineKind = EngineKind.MOTO,
    *,
    deadline: float = 10.0,
) -> AsyncIterator[World]:
    """The regions, provisioned and open; every request goes through its region's proxy."""
    async with contextlib.AsyncExitStack() as stack:
        places = {}
        for region in regions:
            settings = settle(kind, region)
            await provision(settings, DEPLOYMENT)
            proxy = await stack.enter_async_context(FaultProxy(settings.endpoint))
            behind = replace(settings, endpoint=proxy.endpoint, deadline_seconds=deadline)
            places[region.code] = Place(behind, proxy)
        ground = await stack.enter_async_context(
            await Ground.open([place.settings for place in places.values()], DEPLOYMENT)
        )
        directory = Directory(ground, DIRECTORY_KEY, REGISTRAR, REGISTRAR)
        yield World(ground, directory, places)


def envelope(recipient: str = "aoife@example.ie", received_at: datetime = NOW) -> Envelope:
    return Envelope(
        "sender@elsewhere.test", recipient, "192.0.2.7", "mx.elsewhere.test", received_at, "ESMTPS"
    )


async def objects(store: RegionStore) -> dict[str, bytes]:
    """Everything in a region's mail bucket."""
    found = {}
    async for listed in store.mail.list(""):
        with contextlib.suppress(NotFound):
            found[listed.key] = (await store.mail.get(listed.key)).body
    return found


async def opened(home: RegionStore, located: Located) -> dict[str, tuple[bytes, bytes]]:
    """The account's messages, traffic and content, opened as its home can: key -> (traffic, content)."""
    keyring = await Keyring.load(home.mail, home.keys, Keyholder(home.region.code, located.account))
    found = {}
    async for listed in home.mail.list(f"mail/{located.account}/"):
        sealed = (await home.mail.get(listed.key)).body
        binding = Binding(home.region.code, listed.key)
        generation = read_message_header(binding, sealed).generation
        found[listed.key] = (
            open_traffic(await keyring.private(Purpose.TRAFFIC, generation, opens=""), binding, sealed),
            open_content(await keyring.private(Purpose.CONTENT, generation, opens=""), binding, sealed),
        )
    return found


def mode_0600(path: Path, octets: bytes) -> Path:
    path.write_bytes(octets)
    path.chmod(0o600)
    return path
