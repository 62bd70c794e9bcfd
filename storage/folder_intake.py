"""What of an account's mail is in its folders: `folders/<account>/intake`, by compare-and-swap."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, NamedTuple, final

from storage.errors import Conflict, Corrupt, NotFound
from storage.folder_documents import milliseconds
from storage.folder_vault import FolderVault
from storage.identity import MessageId
from storage.objects import ETag

OVERLAP: Final = timedelta(minutes=10)  # by how much clocks may differ, and a put be late
RETRIES: Final = timedelta(days=5)  # RFC 5321 4.5.4.1: a sender may go on trying for 4 to 5 days
_DELIVERIES: Final = 2000  # remembered at most
_VERSION: Final = 1
_VERSIONS: Final = 64  # how many replaced ones may lie in the bucket


class Delivery(NamedTuple):
    """A delivery that was entered: when, in milliseconds since 1970, and what tells it from others."""

    at: int
    digest: str


@final
@dataclass(frozen=True, slots=True)
class Known:
    """What has been taken in. Times in milliseconds since 1970; `compared` is when the folders were last
    compared with all that lies there."""

    serial: int = 0
    watermark: int = 0
    recent: frozenset[str] = frozenset()
    deliveries: tuple[Delivery, ...] = ()
    compared: int = 0

    @property
    def since(self) -> str:
        """Where the next listing begins, as the beginning of a message's name."""
        return f"{max(0, self.watermark - OVERLAP // timedelta(milliseconds=1)):012x}"

    def delivered(self) -> frozenset[str]:
        return frozenset(one.digest for one in self.deliveries)

    def with_messages(self, messages: Collection[MessageId]) -> Known:
        """What is older than the overlap is never listed again, and need not be known."""
        recent = self.recent.union(map(str, messages))
        return replace(self, recent=frozenset(one for one in recent if one >= self.since))


def milliseconds_of(message: MessageId) -> int:
    return int(str(message)[:12], 16)


@final
class Intake:
    """Reads and changes it. Changes only add, so that several at once are true together."""

    def __init__(self, vault: FolderVault) -> None:
        self._vault: Final = vault
        self._key: Final = f"{vault.prefix}intake"

    async def read(self) -> Known:
        return (await self._read())[0]

    async def remember(self, messages: Collection[MessageId]) -> None:
        """Of messages that a session has entered itself: they need not be looked at again."""
        await self._change(lambda known: known.with_messages(messages))

    async def note(self, messages: Collection[MessageId], deliveries: Collection[Delivery]) -> None:
        """Every message up to the newest of these was looked at."""
        newest = max(map(milliseconds_of, messages))
        # A name from the future must not carry the watermark beyond mail that is still to come.
        watermark = min(milliseconds(self._vault.clock()), newest)

        def noted(known: Known) -> Known:
            oldest = watermark - RETRIES // timedelta(milliseconds=1)
            all_of_them = sorted({*known.deliveries, *deliveries})
            kept = tuple(one for one in all_of_them if one.at >= oldest)[-_DELIVERIES:]
            later = replace(known, watermark=max(known.watermark, watermark), deliveries=kept)
            return later.with_messages(messages)

        await self._change(noted)

    async def compared(self) -> None:
        """The folders were compared with all that lies there."""
        now = milliseconds(self._vault.clock())
        await self._change(lambda known: replace(known, compared=max(now, known.compared)))

    async def _change(self, change: Callable[[Known], Known]) -> None:
        await self._vault.refuse_while_frozen()
        while True:
            before, etag = await self._read()
            after = change(before)
            if after == before:
                return
            after = replace(after, serial=before.serial + 1)
            try:
                await self._vault.compare_and_swap(self._key, _write(after), etag)
            except Conflict:
                continue
            if after.serial % _VERSIONS == 0:
                await self._vault.forget_replaced(self._key)
            return

    async def _read(self) -> tuple[Known, ETag | None]:
        try:
            blob = await self._vault.get(self._key)
        except NotFound:
            return Known(), None
        return _parse(self._key, blob.body), blob.etag


def _write(known: Known) -> bytes:
    document = {
        "version": _VERSION,
        "serial": known.serial,
        "watermark": known.watermark,
        "recent": sorted(known.recent),
        "deliveries": known.deliveries,
        "compared": known.compared,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _parse(key: str, body: bytes) -> Known:
    try:
        found: dict[str, Any] = json.loads(body)
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']!r} is unknown")
        return Known(
            int(found["serial"]),
            int(found["watermark"]),
            frozenset(map(str, found["recent"])),
            tuple(Delivery(int(at), str(digest)) for at, digest in found["deliveries"]),
            int(found["compared"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(key, f"not what was taken in ({type(error).__name__})") from None
