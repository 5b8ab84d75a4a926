"""Single flight: work that many want at once is done once, as urgently as the most urgent of them wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from mainstay.upstream.cost import Cost, current_cost

T = TypeVar("T")


class Flights(Generic[T]):
    """What is under way in one worker, by key."""

    def __init__(self) -> None:
        self._under_way: dict[str, tuple[asyncio.Task[T], Cost | None]] = {}

    def join(self, key: str) -> asyncio.Task[T] | None:
        """The work under that key, which the request of this task waits for from now on; None where there is none."""
        if key not in self._under_way:
            return None
        task, cost = self._under_way[key]
        if cost is not None:
            cost.join(current_cost())
        return task

    def begin(self, key: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin it. It belongs to nobody: who waits for it may leave."""
        task = asyncio.create_task(work)
        self._under_way[key] = task, current_cost()
        task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def close(self) -> None:
        """Break off what is under way."""
        tasks = [task for task, _ in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
