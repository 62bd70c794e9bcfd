"""One bucket, and the few things that Situs does with it.

What callers may rely on, on every engine that passes `tests/storage/test_objects_contract.py`:

- a write that returns is durable as the engine understands the word, and visible to every reader;
- `put_if_absent` and `compare_and_swap` are atomic: of any number of racers one wins;
- every call ends within the bucket's deadline, with a result or an error of `storage.errors`;
- requests that failed for the moment are sent again by this module and by nobody else (the
  client library's own retries are off), so that a write's outcome is never guessed: when the
  engine answers 412 to a *repeated* conditional write, the object is read back, since the
  first attempt may have taken effect before its answer was lost;
- no write follows a redirect to another host.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NewType, TypeVar
from weakref import WeakValueDictionary

from obstore.store import S3Store

from storage.ending import EndOfListing
from storage.engine import Access, EngineError, Sends, Verdict, open_store, summary, verdict
from storage.errors import AlreadyExists, Conflict, Forbidden, NotFound, Rejected, StorageError, Unavailable
from storage.plain_puts import PlainPuts

if TYPE_CHECKING:
    from obstore import ListStream, ObjectMeta, PutMode

__all__ = ["PAGE", "Access", "Blob", "Bucket", "ETag", "Listed"]

ETag = NewType("ETag", str)

PAGE: Final = 1000  # objects in one LIST answer: the most that S3 gives
_FIRST_PAUSE: Final = 0.05  # seconds before the second attempt, doubled for each one after it
_LONGEST_PAUSE: Final = 2.0
# What every engine stores and lists alike. (SeaweedFS lists names with bytes below "/" out of
# order when they stand beside a "folder" of the same beginning: `list` checks the order.)
_KEY: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]|/(?=[A-Za-z0-9_]))*\Z")
_MAX_KEY: Final = 1024  # bytes, S3's limit

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Blob:
    """An object as read: all its bytes, and the tag to compare-and-swap against."""

    body: bytes
    etag: ETag


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as listed; `size` in bytes."""

    key: str
    size: int
    etag: ETag


class Bucket:
    """The objects of one bucket. Made by `storage.region` and `storage.provision` alone."""

    def __init__(self, name: str, access: Access, *, deadline: float = 10.0) -> None:
        """`deadline` in seconds bounds every call (of a listing: every page)."""
        self.name: Final = name
        self.deadline: Final = deadline
        self._reads: Final = open_store(name, access, deadline)
        self._puts: Final = open_store(name, access, deadline, Sends.PUTS)
        self._held_puts: Final = open_store(name, access, deadline, Sends.PUTS_UNDER_HOLD)
        self._plain: Final = PlainPuts.of(name, access, deadline)
        self._turns: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()
        self._end: Final = EndOfListing(name, access, deadline)

    async def put_if_absent(
        self, key: str, body: bytes, *, legal_hold: bool = False, fresh_key: bool = False
    ) -> ETag:
        """Write an object that must not exist yet.

        `legal_hold` writes it with S3 Object Lock's legal hold already on. `fresh_key` promises
        that nobody else can be writing this key (it ends in a UUID made for this call): then the
        first attempt asks for nothing, which spares the engine a lock and a look, and only those
        that follow an ambiguous one are conditional. What they find is known for one's own without
        reading back, which an ingress process has no right to do.

        Raises AlreadyExists, and whatever `get` raises but NotFound. Two racers with the same
        bytes could both believe to have won only if one of them lost its answer: put something
        of your own into a body that decides a race.
        """
        if fresh_key:
            return await self._within("PUT", key, self._fresh(key, body, legal_hold))
        store = self._held_puts if legal_hold else self._puts
        work = self._conditional(store, key, body, None)
        return await self._within("PUT", key, self._in_turn(key, work))

    async def compare_and_swap(self, key: str, body: bytes, expected: ETag | None) -> ETag:
        """Replace the object that had the tag `expected` (None: there was no object).

        Raises Conflict when it is another one by now. Tags are content hashes on some engines:
        a body that may return to an earlier value needs a counter in it.
        """
        work = self._conditional(self._puts, key, body, expected)
        try:
            return await self._within("PUT", key, self._in_turn(key, work))
        except AlreadyExists:
            raise Conflict(key) from None

    async def put(self, key: str, body: bytes | memoryview) -> ETag:
        """Write an object, whatever was there: for what is the same whoever writes it."""

        async def attempt() -> ETag:
            return _etag(await self._puts.put_async(_checked(key), body, use_multipart=False))

        return await self._within("PUT", key, self._repeated("PUT", key, attempt))

    async def get(self, key: str) -> Blob:
        """The whole object. Raises NotFound, Unavailable, Forbidden or Rejected."""
        return await self._within("GET", key, self._repeated("GET", key, lambda: self._read(key)))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, fewer at the object's end, none beyond it."""

        async def attempt() -> bytes:
            return bytes(await self._reads.get_range_async(_checked(key), start=start, length=length))

        try:
            return await self._within("GET", key, self._repeated("GET", key, attempt))
        except _BeyondTheEnd:
            return b""

    async def delete(self, key: str) -> None:
        """Hide the object. The buckets are versioned: its versions stay until they are erased."""

        async def attempt() -> None:
            await self._reads.delete_async(_checked(key))

        await self._within("DELETE", key, self._repeated("DELETE", key, attempt))

    async def list(self, prefix: str, *, start_after: str | None = None) -> AsyncGenerator[Listed]:
        """The objects under the folder `prefix` ("" for all) in byte order, a page in memory at a time.

        `start_after` is a key, excluded. A page that fails is asked for again from where the
        listing stood. Raises Unavailable if the engine lists out of order, or its listing ends
        where its objects do not: a caller that takes a key range for a date range must not miss
        an object in silence.
        """
        last = start_after
        stream: ListStream[Sequence[ObjectMeta]] | None = None

        async def page() -> Sequence[ObjectMeta]:
            nonlocal stream
            if stream is None:
                stream = self._reads.list(prefix.rstrip("/") or None, offset=last, chunk_size=PAGE)
            try:
                return await anext(stream)
            except StopAsyncIteration:
                stream = None
                await self._end.confirm(prefix, last)
                return ()
            except BaseException:
                stream = None  # a stream that failed does not say whether it goes on: ask anew
                raise

        while found := await self._within("LIST", prefix, self._repeated("LIST", prefix, page)):
            for meta in found:
                if last is not None and meta["path"] <= last:
                    raise Unavailable(f"{self.name}: the engine lists {prefix} out of order")
                last = meta["path"]
                yield Listed(last, meta["size"], ETag(meta["e_tag"] or ""))

    async def _read(self, key: str) -> Blob:
        result = await self._reads.get_async(_checked(key))
        if not (etag := result.meta["e_tag"]):
            # Somebody's web page with status 200: a balancer that lost its engine shows such things.
            raise ConnectionError("an answer without ETag")
        return Blob(bytes(await result.bytes_async()), ETag(etag))

    async def _fresh(self, key: str, body: bytes, legal_hold: bool) -> ETag:
        unanswered = False  # has an attempt of this call perhaps taken effect?

        async def attempt() -> ETag:
            nonlocal unanswered
            store = self._held_puts if legal_hold else self._puts
            try:
                if unanswered:
                    put = await store.put_async(_checked(key), body, mode="create", use_multipart=False)
                elif self._plain is not None:
                    return ETag(await self._plain.put(_checked(key), body, legal_hold=legal_hold))
                else:
                    put = await store.put_async(_checked(key), body, mode="overwrite", use_multipart=False)
                return _etag(put)
            except EngineError as error:
                meaning = verdict(error)
                if unanswered and meaning is Verdict.TAKEN:
                    return ETag("")
                unanswered = unanswered or meaning is Verdict.AGAIN
                raise

        return await self._repeated("PUT", key, attempt)

    async def _conditional(self, store: S3Store, key: str, body: bytes, expected: ETag | None) -> ETag:
        mode: PutMode = "create" if expected is None else {"e_tag": expected}
        unanswered = False  # has an attempt of this call perhaps taken effect?

        async def attempt() -> ETag | None:
            nonlocal unanswered
            try:
                return _etag(await store.put_async(_checked(key), body, mode=mode, use_multipart=False))
            except EngineError as error:
                meaning = verdict(error)
                if meaning is Verdict.TAKEN:
                    return None
                unanswered = unanswered or meaning is Verdict.AGAIN
                raise

        if (etag := await self._repeated("PUT", key, attempt)) is not None:
            return etag
        if unanswered:
            found = await self._repeated("GET", key, lambda: self._read_or_none(key))
            if found is not None and found.body == body:
                return found.etag
        raise AlreadyExists(key)

    async def _read_or_none(self, key: str) -> Blob | None:
        try:
            return await self._read(key)
        except EngineError as error:
            if verdict(error) is Verdict.ABSENT:
                return None
            raise

    async def _repeated(self, verb: str, key: str, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Try until the deadline of `_within` cuts it off; turn the engine's errors into ours."""
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        until = loop.time() + self.deadline
        while True:
            try:
                return await attempt()
            except EngineError as error:
                meaning = verdict(error)
                what = f"{self.name}: {verb} {key}: {summary(error)}"
                if meaning not in (Verdict.AGAIN, Verdict.RACING):
                    raise _error(meaning, key, what) from error
                if loop.time() + pause >= until:
                    raise Unavailable(what) from error
            # Full jitter: many callers that a SlowDown has stopped must not come back at once.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _in_turn(self, key: str, work: Awaitable[_T]) -> _T:
        """Of this process's racers for a key, one asks the engine at a time.

        It is the engine that decides. But SeaweedFS lets those who find a key locked look again
        once a second, and AWS answers 409: fifty who queue here are done before three there.
        """
        lock = self._turns.setdefault(key, asyncio.Lock())
        async with lock:
            return await work

    async def _within(self, verb: str, key: str, work: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self.deadline):
                return await work
        except TimeoutError:
            raise Unavailable(f"{self.name}: {verb} {key}: no answer in {self.deadline:g} s") from None


def _error(meaning: Verdict, key: str, what: str) -> StorageError:
    match meaning:
        case Verdict.ABSENT:
            return NotFound(key)
        case Verdict.TAKEN:
            return AlreadyExists(key)
        case Verdict.BEYOND:
            return _BeyondTheEnd(what)
        case Verdict.FORBIDDEN:
            return Forbidden(what)
        case Verdict.NOWHERE:
            return Unavailable(what)  # never NotFound: "unknown user" must not follow from it
        case _:
            return Rejected(what)


class _BeyondTheEnd(StorageError):
    """A range that starts at or after the end of the object."""


def _etag(result: object) -> ETag:
    tag = result["e_tag"] if isinstance(result, dict) else None
    return ETag(tag or "")


def _checked(key: str) -> str:
    if len(key) > _MAX_KEY or not _KEY.match(key):
        raise ValueError(f"{key!r} is not an object key: segments of [A-Za-z0-9._-] parted by single '/'")
    return key
