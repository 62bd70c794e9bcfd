"""A door and a post office for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import uvloop

from gateway.ingress.door import Door
from gateway.ingress.limits import Limits, ListenerSettings
from gateway.ingress.reception import Reception
from gateway.ingress.screening import ContentCheck
from gateway.lmtp import serve_lmtp
from gateway.smtp import serve_smtp
from tests.ingress.posts import MemoryPost, three_regions
from tests.ingress.transcripts import Peer

MIB = 1024 * 1024
SMALL = Limits(message_size=MIB, memory=16 * MIB, connections=64, store_timeout=2.0, stop_timeout=5.0)
ANYWHERE = ListenerSettings()
NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@dataclass
class House:
    """An open door with its post office, and a way to come in."""

    post: MemoryPost
    reception: Reception
    door: Door

    async def peer(self) -> Peer:
        return await Peer.connect(self.door.port)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of a door runs on both event loops: they differ in how octets, EOF and errors arrive."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


OpenDoor = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_door() -> AsyncIterator[OpenDoor]:
    """`await open_door(lmtp=True, limits=..., settings=...)`: a house, closed after the test."""
    async with AsyncExitStack() as stack:

        async def opened(
            *,
            lmtp: bool = False,
            limits: Limits = SMALL,
            settings: ListenerSettings = ANYWHERE,
            check: ContentCheck | None = None,
        ) -> House:
            post = three_regions()
            reception = Reception(post, "mx.example.ie", limits, clock=lambda: NOON, check=check)
            door = await (serve_lmtp if lmtp else serve_smtp)(settings, reception)
            stack.push_async_callback(_close, post, door)
            return House(post, reception, door)

        yield opened


async def _close(post: MemoryPost, door: Door) -> None:
    post.release.set()
    await door.close()


@pytest.fixture
async def smtp(open_door: OpenDoor) -> House:
    return await open_door()


@pytest.fixture
async def lmtp(open_door: OpenDoor) -> House:
    return await open_door(lmtp=True)
