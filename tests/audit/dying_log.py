"""A process that appends to a log and is killed at one of its writes: run by test_killed.py.

On its standard input, one JSON line. The write at which it dies is sent to the engine before or not
at all, and `kill -9` is what ends it: nothing of Python's runs after. What is acknowledged is printed
as `number index`, after the log has said so and not before.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from storage.audit.log import AuditLog
from storage.credentials import StaticKeys
from storage.engine import Access
from storage.objects import Blob, Bucket, ETag, Listed
from tests.audit.logs import REGION, SIGNER, entry
from tests.faults import Moment


class DyingBackend:
    """A bucket whose `last`-th write is the end of the process (0: of no write)."""

    def __init__(self, bucket: Bucket, last: int, moment: Moment) -> None:
        self._bucket: Final = bucket
        self._last: Final = last
        self._moment: Final = moment
        self._writes = 0

    async def put_if_absent(self, key: str, body: bytes, *, fresh_key: bool = False) -> ETag:
        with self._write():
            return await self._bucket.put_if_absent(key, body, fresh_key=fresh_key)

    async def compare_and_swap(self, key: str, body: bytes, expected: ETag | None) -> ETag:
        with self._write():
            return await self._bucket.compare_and_swap(key, body, expected)

    async def get(self, key: str) -> Blob:
        return await self._bucket.get(key)

    def list(self, prefix: str, *, start_after: str | None = None) -> AsyncIterator[Listed]:
        return self._bucket.list(prefix, start_after=start_after)

    @contextmanager
    def _write(self) -> Iterator[None]:
        """The engine may refuse a write as well as take it: the process dies of either answer."""
        self._writes += 1
        dies = self._writes == self._last
        if dies and self._moment is Moment.BEFORE:
            _die()
        try:
            yield
        finally:
            if dies:
                _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(task: dict[str, Any]) -> None:
    bucket = Bucket(
        task["bucket"], Access(REGION, task["endpoint"], StaticKeys(task["id"], task["secret"])), deadline=10
    )
    backend = DyingBackend(bucket, task["last"], Moment(task["moment"]))
    async with await AuditLog.open(backend, REGION, SIGNER, deadline=30) as log:
        for number in range(task["first"], task["first"] + task["count"]):
            committed = await log.append(entry(number))
            print(number, committed.index, flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
    # A thread of the S3 client may still be about to let go of an answer. Python 3.11 ends such a thread
    # while it takes itself down, which a client written in Rust answers with abort(): the log is closed
    # by now, and how an interpreter ends is not what is tested.
    sys.stdout.flush()
    os._exit(0)
