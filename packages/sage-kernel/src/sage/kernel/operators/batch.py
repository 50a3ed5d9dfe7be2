"""Batches: lists of up to ``size`` items of a key, complete after ``timeout`` at the latest."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from sage.api.context import RuntimeContext
from sage.kernel.operators.emit import GroupOperator
from sage.kernel.operators.keys import check_hashable


class BatchOperator(GroupOperator):
    """Emit a list when it has ``size`` items, or ``timeout`` seconds after its first item.

    A batch never mixes keys; on a stream without keys there is one open batch. At the end of the
    input the open batches are emitted, the one that began first before the others.

    Args:
        size: Largest batch, >= 1.
        timeout: Seconds a batch may wait for more items; ``None`` waits until it is full.
        clock: Unix seconds now.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], Any] | None,
        ctx: RuntimeContext,
        *,
        size: int,
        timeout: float | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(function, ctx)
        self._size = size
        self._timeout = math.inf if timeout is None else timeout
        self._clock = clock
        # Ordered by deadline: a batch enters when it begins and all wait equally long.
        self._open: OrderedDict[Any, tuple[float, list[Any]]] = OrderedDict()

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        key = self._ctx.key
        try:
            entry = self._open.get(key)
        except TypeError:
            check_hashable(self._ctx)
            raise
        if entry is None:
            if self._size == 1:
                return self._emit([value])
            deadline = math.inf if self._timeout == math.inf else self._clock() + self._timeout
            self._open[key] = (deadline, [value])
            return ()
        items = entry[1]
        items.append(value)
        if len(items) < self._size:
            return ()
        del self._open[key]
        return self._emit(items)

    def next_time(self) -> float | None:
        """When ``on_time`` wants to be called next (unix seconds)."""
        if self._timeout == math.inf or not self._open:
            return None
        return next(iter(self._open.values()))[0]

    def on_time(self, now: float) -> Iterable[Any]:
        """Outputs that are due."""
        while self._open and next(iter(self._open.values()))[0] <= now:
            key, (_, items) = self._open.popitem(last=False)
            self._ready.append((key, items))
        return self._emit_ready()

    def finish(self) -> Iterable[Any]:
        """Outputs of what is left when the input has ended."""
        return self.on_time(math.inf)

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {
            "open": [
                [key, None if deadline == math.inf else deadline, list(items)]
                for key, (deadline, items) in self._open.items()
            ]
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._open = OrderedDict(
            (key, (math.inf if deadline is None else deadline, list(items)))
            for key, deadline, items in state["open"]
        )
