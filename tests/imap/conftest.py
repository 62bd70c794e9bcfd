"""An owners' door for each test, on folders in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, cast

import pytest
from prometheus_client import CollectorRegistry

from gateway.bell import Bells
from gateway.imap import replies as say
from gateway.imap.commons import Commons
from gateway.imap.metrics import ImapMetrics
from gateway.imap.replies import Refused
from gateway.imap.signing_in import Credentials, Owner, SignIn
from gateway.ingress.admission import Admission, PeerAddress
from gateway.ingress.door import Door
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.memory import Memory
from gateway.ingress.wire import MESSAGE_BLOCK
from gateway.owners_door import serve_imap
from policy.geography import Jurisdiction, Region, RegionCode
from storage.folders import Folders
from storage.identity import AccountId
from storage.keys import PublicKeys
from storage.located import AccountStatus, Located
from tests.imap.memory_folders import MemoryFolder, MemoryFolders
from tests.imap.transcripts import Client

MIB: Final = 1024 * 1024
SMALL: Final = Limits(message_size=MIB, memory=32 * MIB, connections=64, store_timeout=2.0, stop_timeout=5.0)
ANYWHERE: Final = ListenerSettings()
IRELAND: Final = Region(RegionCode("eu-west-1"), Jurisdiction("IE"))


class MemoryOwner:
    """Somebody who has signed in; `open` false: the account was closed, or has moved."""

    def __init__(self, account: AccountId, folders: MemoryFolders) -> None:
        # No mail is sealed in these tests: the keys are nobody's.
        keys = cast(PublicKeys, None)
        self.located = Located(account, IRELAND, keys, AccountStatus.ACTIVE)
        self.folders = cast(Folders, folders)
        self.open = True

    async def is_still_open(self) -> bool:
        return self.open


class MemorySignIn:
    """One owner, `aoife@example.ie` with the password `secret`."""

    def __init__(self, owner: MemoryOwner) -> None:
        self._owner: Final = owner

    async def owner(self, peer: PeerAddress | None, credentials: Credentials) -> Owner:
        if (credentials.user, credentials.password) != (b"aoife@example.ie", b"secret"):
            raise Refused(say.WRONG_PASSWORD)
        return cast(Owner, self._owner)


@dataclass
class House:
    """An open door with one owner's folders behind it."""

    door: Door
    commons: Commons
    owner: MemoryOwner
    folders: MemoryFolders
    clients: list[Client] = field(default_factory=list)

    @property
    def inbox(self) -> MemoryFolder:
        return self.folders.of("INBOX")

    def ring(self) -> None:
        """As a delivery in the same process does."""
        self.commons.bells.ring(self.owner.located.account)

    async def client(self) -> Client:
        """Connected, and nothing read yet."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.door.port))
        self.clients.append(client)
        return client

    async def resident(self) -> Client:
        """Signed in."""
        client = await self.client()
        await client.play(
            """
            S: * OK [CAPABILITY IMAP4rev1 ...] imap.example.ie Situs
            C: in LOGIN aoife@example.ie secret
            S: in OK [CAPABILITY ...] signed in
            """
        )
        return client

    async def reader(self, verb: str = "SELECT", name: str = "INBOX") -> Client:
        """Signed in, with a mailbox open."""
        client = await self.resident()
        lines = await client.command("sel", f"{verb} {name}")
        assert lines[-1].startswith("sel OK"), lines
        return client


OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_house() -> AsyncIterator[OpenHouse]:
    """`await open_house(limits=..., settings=..., poll_seconds=...)`: a house, closed after the test."""
    async with AsyncExitStack() as stack:

        async def opened(
            *, limits: Limits = SMALL, settings: ListenerSettings = ANYWHERE, poll_seconds: float = 60.0
        ) -> House:
            folders = MemoryFolders()
            owner = MemoryOwner(AccountId.new(), folders)
            commons = Commons(
                hostname="imap.example.ie",
                sign_in=cast(SignIn, MemorySignIn(owner)),
                bells=Bells(),
                limits=limits,
                memory=Memory(limits),
                landing=memoryview(bytearray(MESSAGE_BLOCK)),
                admission=Admission(limits),
                metrics=ImapMetrics(CollectorRegistry()),
                poll_seconds=poll_seconds,
            )
            door = await serve_imap(settings, commons)
            house = House(door, commons, owner, folders)
            stack.push_async_callback(_leave, house)
            return house

        yield opened


async def _leave(house: House) -> None:
    for client in house.clients:
        client.writer.close()
    await house.door.close()


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house()
