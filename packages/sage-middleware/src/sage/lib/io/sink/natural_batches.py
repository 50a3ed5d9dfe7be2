"""Batches that form by themselves while the one before is under way.

An ``async`` sink waits for the batch its item is in, so an item counts as delivered only when it
is, and a failure belongs to the items it concerns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Send = Callable[[Sequence[Any]], Awaitable[Sequence[BaseException | None]]]
"""Delivers items; one outcome per item, in order: ``None`` or why it failed."""


class NaturalBatches:
    """Groups concurrent calls of ``deliver`` into batches; for one event loop.

    Args:
        send: Delivers a batch. What it raises is the outcome of all items of the batch.
        size: Most items of a batch.
        in_flight: Most batches under way.
    """

    def __init__(self, send: Send, *, size: int, in_flight: int = 1) -> None:
        self._send = send
        self._size = size
        self._free = in_flight
        self._waiting: deque[tuple[Any, asyncio.Future[None]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._planned = False

    async def deliver(self, item: Any) -> None:
        """Return when the item is delivered.

        Raises:
            Exception: Why it is not.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((item, future))
        if self._free and not self._planned:
            # After this turn of the loop: what is delivered at the same time goes along.
            self._planned = True
            loop.call_soon(self._start)
        await future

    def _start(self) -> None:
        self._planned = False
        while self._waiting and self._free:
            batch: list[tuple[Any, asyncio.Future[None]]] = []
            while self._waiting and len(batch) < self._size:
                entry = self._waiting.popleft()
                if not entry[1].done():  # its caller was canceled
                    batch.append(entry)
            if batch:
                self._free -= 1
                task = asyncio.get_running_loop().create_task(self._run(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[tuple[Any, asyncio.Future[None]]]) -> None:
        try:
            outcomes = await self._send([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    if isinstance(error, Exception):
                        future.set_exception(error)
                    else:
                        future.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    if outcome is None:
                        future.set_result(None)
                    else:
                        future.set_exception(outcome)
        finally:
            self._free += 1
            self._start()
