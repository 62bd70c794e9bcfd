"""Several requests in flight over one stream, answered in the stream's order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


async def in_order(
    items: AsyncIterator[_T], work: Callable[[_T], Awaitable[_R]], width: int
) -> AsyncGenerator[_R]:
    """`work` on each item, `width` at most at a time (finished ones that wait for their turn
    count), in the order of the items. The first error ends the stream, and whatever is in flight
    with it; so does closing it (`aclosing`: whoever may leave early must say when he left)."""

    async def run(item: _T) -> _R:
        return await work(item)

    running: deque[asyncio.Task[_R]] = deque()
    try:
        async for item in items:
            running.append(asyncio.create_task(run(item)))
            if len(running) >= width:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def as_stream(items: Iterable[_T]) -> AsyncIterator[_T]:
    for item in items:
        yield item
