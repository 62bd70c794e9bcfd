"""A log read over HTTP, as any tlog-tiles client would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

import aiohttp

from storage.audit.note import NOTE_LIMIT
from storage.audit.tiles import ENTRY_LIMIT, TILE_WIDTH
from storage.errors import NotFound, Unavailable
from storage.web_answers import TooLong, read_whole

_LIMIT: Final = max(NOTE_LIMIT, TILE_WIDTH * (ENTRY_LIMIT + 2))  # octets: the largest bundle there can be
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=10)


@final
class UrlSource:
    """The log under a URL prefix, such as `https://mail.example/v1/audit/eu-west-1`."""

    near: Final = False

    def __init__(self, prefix: str, session: aiohttp.ClientSession) -> None:
        self._prefix: Final = prefix.rstrip("/")
        self._session: Final = session

    @classmethod
    @asynccontextmanager
    async def open(cls, prefix: str) -> AsyncIterator[UrlSource]:
        """A source with a connection pool of its own."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            yield cls(prefix, session)

    async def read(self, path: str) -> bytes:
        """Raises NotFound for 404 and 410 alone; anything else that is not the object, Unavailable."""
        url = f"{self._prefix}/{path}"
        try:
            async with self._session.get(url) as response:
                if response.status in (404, 410):
                    raise NotFound(url)
                if response.status != 200:
                    raise Unavailable(f"{url}: HTTP {response.status}")
                return await read_whole(response.content, _LIMIT)
        except (aiohttp.ClientError, TimeoutError, OSError, TooLong) as error:
            raise Unavailable(f"{url}: {error or type(error).__name__}") from None

    async def lock(self) -> None:
        """The lock is not served."""
        return

    def paths(self) -> None:
        """A web server does not list."""
        return
