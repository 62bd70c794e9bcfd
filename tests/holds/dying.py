"""A process that dies at its n-th write to one region: before the engine has seen it, or after.

From then on nothing that the process does reaches any bucket. What it leaves behind is what the
next process finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from unittest import mock

from storage.objects import Bucket
from storage.versions import Versions
from tests.faults import Moment

_T = TypeVar("_T")
_WRITES: Final = ("put_if_absent", "compare_and_swap", "put", "delete")


class Death(Exception):
    """The process is dead. No error of storage: nothing may catch it and go on."""


class Life:
    """Counts the writes to a bucket, and ends at one of them (0: at none)."""

    def __init__(self, bucket: str, last: int, moment: Moment) -> None:
        self._bucket: Final = bucket
        self._last: Final = last
        self._moment: Final = moment
        self.writes = 0
        self.dead = False

    async def write(self, bucket: str, work: Callable[[], Awaitable[_T]]) -> _T:
        if self.dead:
            raise Death
        if bucket == self._bucket:
            self.writes += 1
            self.dead = self.writes == self._last
        dies = self.dead
        if dies and self._moment is Moment.BEFORE:
            raise Death
        done = await work()
        if dies:
            raise Death
        return done


@contextmanager
def living(bucket: str, last: int = 0, moment: Moment = Moment.BEFORE) -> Iterator[Life]:
    """Everything that is done in the context is done by one process with this life."""
    life = Life(bucket, last, moment)
    with mock.patch.multiple(Bucket, **dict[str, Any]({name: _writing(life, name) for name in _WRITES})):
        ask = Versions.ask

        async def asking(self: Versions, what: str, request: Any) -> Any:
            if what.startswith(("the versions", "list", "lock of")):  # reads
                return await ask(self, what, request)
            return await life.write(self._bucket, lambda: ask(self, what, request))

        with mock.patch.object(Versions, "ask", asking):
            yield life


def _writing(life: Life, name: str) -> Callable[..., Awaitable[Any]]:
    original = getattr(Bucket, name)

    async def writing(self: Bucket, *arguments: Any, **named: Any) -> Any:
        return await life.write(self.name, lambda: original(self, *arguments, **named))

    return writing


async def dying(work: Coroutine[Any, Any, _T], bucket: str, nth: int, moment: Moment) -> _T | Death:
    """The process dies at its nth write to a bucket, if it gets so far, with all that it had under way."""
    before = asyncio.all_tasks()
    with living(bucket, nth, moment):
        try:
            return await work
        except Death as death:
            return death
        finally:
            left = {task for task in asyncio.all_tasks() - before if "FaultProxy" not in repr(task)}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
