"""A store that trusts nobody, and is not to be trusted.

It keeps every version, fails a test in which an immutable object changes, and carries out
a plan of faults: each call may fail before it takes effect, after it, or take effect late.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from hashlib import sha256

from storage.audit.backend import CHECKPOINT, LOCK
from storage.errors import AlreadyExists, Conflict, NotFound, Unavailable
from storage.objects import Blob, ETag, Listed

MUTABLE = {LOCK, CHECKPOINT}


class Fault(StrEnum):
    """What happens to a write."""

    BEFORE = "fails, and took no effect"
    AFTER = "fails, and took effect"
    LATE = "fails, and takes effect later"
    SPURIOUS = "says Conflict, though nobody else wrote"
    KILLED_BEFORE = "never answers, and took no effect"  # the process is killed at this step
    KILLED_AFTER = "never answers, and took effect"


class Kind(StrEnum):
    """The log's writes, in the order of the protocol."""

    STAGING = "staging"
    LOCK = "lock"
    BUNDLE = "bundle"
    TILE = "tile"
    CHECKPOINT = "checkpoint"


def kind_of(key: str) -> Kind:
    if key == LOCK:
        return Kind.LOCK
    if key == CHECKPOINT:
        return Kind.CHECKPOINT
    if key.startswith("staging/"):
        return Kind.STAGING
    return Kind.BUNDLE if key.startswith("log/tile/entries/") else Kind.TILE


class SuspiciousBucket:
    """A `LogBackend` in memory. `plan(kind, nth)` says what becomes of the n-th write of a kind."""

    def __init__(self) -> None:
        self.versions: dict[str, list[bytes]] = {}
        self.plan: Callable[[Kind, int], Fault | None] = lambda _kind, _nth: None
        self.read_fails: Callable[[], bool] = lambda: False
        self.down = False
        self.writes: Counter[Kind] = Counter()
        self.calls = 0
        self.late: list[Callable[[], None]] = []
        self.hanging = asyncio.Event()

    def objects(self) -> dict[str, bytes]:
        return {key: versions[-1] for key, versions in sorted(self.versions.items())}

    async def get(self, key: str) -> Blob:
        await self._answer()
        if self.read_fails():
            raise Unavailable(f"{key}: lost on the way")
        if key not in self.versions:
            raise NotFound(key)
        body = self.versions[key][-1]
        return Blob(body, _tag(body))

    async def put_if_absent(self, key: str, body: bytes, *, fresh_key: bool = False) -> ETag:
        def write() -> None:
            if fresh_key and self.versions.get(key) == [body]:
                return  # asks for nothing, so it may land late: over nothing but the same octets
            assert not (fresh_key and key in self.versions), f"{key} is another's"
            if key in self.versions:
                raise AlreadyExists(key)
            self._keep(key, body)

        await self._write(key, write)
        return _tag(body)

    async def compare_and_swap(self, key: str, body: bytes, expected: ETag | None) -> ETag:
        def write() -> None:
            current = _tag(self.versions[key][-1]) if key in self.versions else None
            if current != expected:
                raise Conflict(key)
            self._keep(key, body)

        await self._write(key, write)
        return _tag(body)

    async def list(self, prefix: str, *, start_after: str | None = None) -> AsyncIterator[Listed]:
        await self._answer()
        for key, body in self.objects().items():
            if key.startswith(prefix) and (start_after is None or key > start_after):
                yield Listed(key, len(body), _tag(body))

    def land_late_writes(self) -> None:
        """What was under way arrives now, if its condition still holds."""
        for write in self.late:
            try:
                write()
            except (AlreadyExists, Conflict):
                continue
        self.late.clear()

    async def _write(self, key: str, write: Callable[[], None]) -> None:
        await self._answer()
        kind = kind_of(key)
        self.writes[kind] += 1
        match self.plan(kind, self.writes[kind]):
            case Fault.BEFORE:
                raise Unavailable(f"{key}: lost on the way")
            case Fault.AFTER:
                write()
                raise Unavailable(f"{key}: the answer was lost")
            case Fault.LATE:
                self.late.append(write)
                raise Unavailable(f"{key}: delayed on the way")
            case Fault.SPURIOUS:
                raise Conflict(key)
            case Fault.KILLED_BEFORE:
                await self._hang()
            case Fault.KILLED_AFTER:
                write()
                await self._hang()
            case None:
                write()

    async def _hang(self) -> None:
        self.hanging.set()
        await asyncio.Event().wait()

    async def _answer(self) -> None:
        self.calls += 1
        await asyncio.sleep(0)  # let others in between, as a network does
        if self.down:
            raise Unavailable("the store is down")

    def _keep(self, key: str, body: bytes) -> None:
        assert body, f"{key} is written empty"
        versions = self.versions.setdefault(key, [])
        assert key in MUTABLE or not versions, f"immutable {key} is written again"
        versions.append(body)


def _tag(body: bytes) -> ETag:
    return ETag(sha256(body).hexdigest())
