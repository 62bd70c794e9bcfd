"""The making of a package, which another process can take up where the last one left it.

    packages/<id>/making.json                 who is at it, when he last said so, for which release
    packages/<id>/<entry>/<SHA-256>           a part, under the digest of its encrypted octets
    packages/<id>/<entry>/steps/<00000>.json  which parts were finished together; where the next begins
    packages/<id>/<entry>/manifest.json       what the package is, once all of it is there

One process at a time is at it: whoever has swapped his name into `making.json`, and swaps it again every
few seconds. One who has been silent for `ALIVE` is taken for dead, and his place may be taken. Should he
have been asleep, nothing is lost: a step is written once (put-if-absent), so that of two who make the same
step one stops; and a part that is encrypted twice is two objects, of which steps and manifest name one.

If we crash before a step is written, its parts are objects that nothing names: they are made anew, and
removed with all that the manifest does not name. After it, they are never made again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, final

import structlog

from gateway.disclosure import models
from gateway.disclosure.lifecycle import DisclosureId
from storage.errors import AlreadyExists, Conflict, Corrupt, NotFound, StorageError
from storage.identity import Clock
from storage.objects import ETag
from storage.operators import Documents

ALIVE: Final = timedelta(seconds=45)
_BEAT: Final = 10.0  # seconds
_NOBODY: Final = ""
_log: Final = structlog.get_logger("situs.disclosure")


class Overtaken(Exception):
    """Another process makes this package now."""


class Stage(StrEnum):
    """What is read next."""

    PAPERS = "papers"
    TRAFFIC = "traffic"
    CONTENT = "content"
    CUSTODY = "custody"
    NOTHING = "nothing"


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a step begins: a stage, and in it behind a message (its name in the store)."""

    stage: Stage
    after: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Step:
    """What one step has brought. `messages` are rows of the manifest, as JSON already."""

    parts: tuple[models.Part, ...]
    messages: tuple[bytes, ...]
    errors: tuple[models.Omission, ...]
    traffic_records: int
    following: Place

    def to_bytes(self) -> bytes:
        head = {
            "version": 1,
            "stage": self.following.stage,
            "after": self.following.after,
            "parts": [part.model_dump(mode="json") for part in self.parts],
            "errors": [error.model_dump(mode="json") for error in self.errors],
            "traffic_records": self.traffic_records,
        }
        return json.dumps(head).encode()[:-1] + b', "messages": [' + b",".join(self.messages) + b"]}"

    @classmethod
    def from_bytes(cls, key: str, document: bytes) -> Step:
        """Raises Corrupt."""
        try:
            found = json.loads(document)
            return cls(
                tuple(models.Part.model_validate(each) for each in found["parts"]),
                tuple(
                    models.Message.model_validate(row).model_dump_json().encode() for row in found["messages"]
                ),
                tuple(models.Omission.model_validate(each) for each in found["errors"]),
                int(found["traffic_records"]),
                Place(Stage(found["stage"]), found["after"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(key, f"not a step of a package ({error})") from None


def folder(disclosure: DisclosureId, release: int) -> str:
    """Where the files of one release's package lie."""
    return f"{_home(disclosure)}/{release}"


def part_key(disclosure: DisclosureId, release: int, encrypted_sha256: str) -> str:
    return f"{folder(disclosure, release)}/{encrypted_sha256}"


def manifest_key(disclosure: DisclosureId, release: int) -> str:
    return f"{folder(disclosure, release)}/manifest.json"


def _home(disclosure: DisclosureId) -> str:
    return f"packages/{disclosure}"


@final
@dataclass(frozen=True, slots=True)
class _Sheet:
    """`terms` is the digest of what is released to whom on which order; `since` is the index in the log
    from which on the entry of the release may stand, `release` that index once it is known."""

    holder: str
    at: str
    terms: str
    since: int
    release: int | None
    began: str

    def to_bytes(self) -> bytes:
        return json.dumps({"version": 1, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, key: str, document: bytes) -> _Sheet:
        try:
            found: dict[str, Any] = json.loads(document)
            del found["version"]
            sheet = cls(**found)
            datetime.fromisoformat(sheet.at), datetime.fromisoformat(sheet.began)
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(key, f"not the making of a package ({error})") from None
        return sheet

    def is_held(self, now: datetime) -> bool:
        return self.holder != _NOBODY and now - datetime.fromisoformat(self.at) < ALIVE


@final
class Making:
    """One package in the making, by us. Made by `take_up`."""

    def __init__(
        self,
        documents: Documents,
        disclosure: DisclosureId,
        sheet: _Sheet,
        etag: ETag,
        clock: Clock,
        *,
        fresh: bool,
    ) -> None:
        self._documents: Final = documents
        self._disclosure: Final = disclosure
        self._sheet = sheet
        self._etag = etag
        self._clock: Final = clock
        self._swapping: Final = asyncio.Lock()
        self._overtaken = False
        self.is_fresh: Final = fresh

    @classmethod
    async def take_up(
        cls, documents: Documents, disclosure: DisclosureId, terms: str, since: int, clock: Clock
    ) -> Making | None:
        """Begin, or go on with what somebody has left; None while another process is at it.

        What was made under other terms (another decision, another recipient) is not gone on with: it
        is another release. Raises StorageError.
        """
        key, now = _key(disclosure), clock()
        mine = _Sheet(secrets.token_hex(8), now.isoformat(), terms, since, None, now.isoformat())
        fresh, etag = True, None
        try:
            blob = await documents.get(key)
        except NotFound:
            pass
        else:
            standing, etag = _Sheet.from_bytes(key, blob.body), blob.etag
            if standing.is_held(now):
                return None
            if fresh := standing.terms != terms:
                behind = standing.since if standing.release is None else standing.release + 1
                mine = replace(mine, since=behind)
            else:
                mine = replace(standing, holder=mine.holder, at=mine.at)
        try:
            tag = await documents.compare_and_swap(key, mine.to_bytes(), etag)
        except Conflict:
            return None
        return cls(documents, disclosure, mine, tag, clock, fresh=fresh)

    @property
    def release(self) -> int | None:
        """The index of the release's entry, where it is known."""
        return self._sheet.release

    @property
    def since(self) -> int:
        return self._sheet.since

    @property
    def began(self) -> datetime:
        return datetime.fromisoformat(self._sheet.began)

    async def entrust(self, release: int) -> None:
        """Remember the entry under which all of it is released. Raises Overtaken, StorageError."""
        await self._swap(release=release)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Says that we are at it, until the block is left; then anybody may take it up at once."""
        beating = asyncio.create_task(self._beat(), name=f"making {self._disclosure}")
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            # Should this fail, it is `ALIVE` until the next one comes.
            with suppress(StorageError, Overtaken):
                await asyncio.shield(self._swap(holder=_NOBODY))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            try:
                await self._swap()
            except Overtaken:
                return
            except StorageError as error:
                _log.warning("still making a package, and cannot say so", reason=str(error))

    async def _swap(self, **changes: Any) -> None:
        async with self._swapping:
            if self._overtaken:
                raise Overtaken
            changed = replace(self._sheet, at=self._clock().isoformat(), **changes)
            try:
                self._etag = await self._documents.compare_and_swap(
                    _key(self._disclosure), changed.to_bytes(), self._etag
                )
            except Conflict:
                self._overtaken = True
                raise Overtaken from None
            self._sheet = changed

    async def steps(self) -> list[Step]:
        """The steps that stand, from the first to the last whole one. Raises StorageError."""
        found: list[Step] = []
        with suppress(NotFound):
            while True:
                key = self._step(len(found))
                found.append(Step.from_bytes(key, (await self._documents.get(key)).body))
        return found

    async def record(self, number: int, step: Step) -> None:
        """Write a step whose parts stand in the store. Raises Overtaken, StorageError."""
        if self._overtaken:
            raise Overtaken
        try:
            await self._documents.put_if_absent(self._step(number), step.to_bytes())
        except AlreadyExists:
            self._overtaken = True
            raise Overtaken from None

    def _step(self, number: int) -> str:
        if self.release is None:
            raise RuntimeError("a step is of a release that stands in the log")
        return f"{folder(self._disclosure, self.release)}/steps/{number:05}.json"


async def is_left(documents: Documents, disclosure: DisclosureId) -> bool:
    """Whether a making has left its papers behind: they are removed last. Raises StorageError."""
    try:
        await documents.get(_key(disclosure))
    except NotFound:
        return False
    return True


def _key(disclosure: DisclosureId) -> str:
    return f"{_home(disclosure)}/making.json"
