"""Several requests in flight over one stream, answered in the stream's order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


async def in_order(
    items: AsyncIterator[_T],
    work: Callable[[_T], Awaitable[_R]],
    width: int,
    *,
    weigh: Callable[[_T], int] = lambda _: 0,
    budget: int = 0,
) -> AsyncGenerator[_R]:
    """`work` on each item, `width` at most at a time (finished ones that wait for their turn
    count), in the order of the items. With `weigh`, items under way weigh no more than `budget`
    together, or are one alone. The first error ends the stream, and whatever is in flight
    with it; so does closing it (`aclosing`: whoever may leave early must say when he left)."""

    async def run(item: _T) -> _R:
        return await work(item)

    running: deque[tuple[asyncio.Task[_R], int]] = deque()
    load = 0
    try:
        async for item in items:
            weight = weigh(item)
            while running and (len(running) >= width or load + weight > budget > 0):
                task, lighter = running.popleft()
                load -= lighter
                yield await task
            running.append((asyncio.create_task(run(item)), weight))
            load += weight
        while running:
            yield await running.popleft()[0]
    finally:
        tasks = [task for task, _ in running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def as_stream(items: Iterable[_T]) -> AsyncIterator[_T]:
    for item in items:
        yield item
