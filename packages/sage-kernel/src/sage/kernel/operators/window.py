"""Windows by count and by processing time, tumbling and sliding, per key.

Order of what is emitted:

* a count window when its last item arrives, so per key in the order of the items;
* time windows in the order of their ends, and within one window the keys in the order of their
  first item; items inside a window in arrival order;
* at the end of the input the windows that are still open (partial ones), in the same order.

Time windows are aligned to the unix epoch: a 60 s window is one minute of the wall clock (UTC).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any

from sage.api.context import RuntimeContext
from sage.kernel.operators.emit import GroupOperator
from sage.kernel.operators.keys import check_hashable

Function = Callable[[list[Any]], Any]


class TumblingCountWindow(GroupOperator):
    """``size`` consecutive items of a key; each item is in exactly one window.

    At the end of the input a last, shorter window is emitted for every key that has one.
    """

    def __init__(self, function: Function | None, ctx: RuntimeContext, *, size: int) -> None:
        super().__init__(function, ctx)
        self._size = size
        self._open: dict[Any, list[Any]] = {}

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        key = self._ctx.key
        try:
            items = self._open.get(key)
        except TypeError:
            check_hashable(self._ctx)
            raise
        if items is None:
            items = self._open[key] = []
        items.append(value)
        if len(items) < self._size:
            return ()
        del self._open[key]
        return self._emit(items)

    def finish(self) -> Iterable[Any]:
        """Outputs of what is left when the input has ended."""
        self._ready.extend(self._open.items())
        self._open = {}
        return self._emit_ready()

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {"open": [[key, list(items)] for key, items in self._open.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._open = {key: list(items) for key, items in state["open"]}


class SlidingCountWindow(GroupOperator):
    """Windows of ``size`` items of a key that start every ``slide`` items.

    A window is emitted when it is full. At the end of the input one shorter window is emitted for
    every key that has items which no window held yet (no item is lost, and no suffix of a window
    that was emitted is repeated). With ``slide > size`` the items between windows are left out.
    """

    def __init__(
        self, function: Function | None, ctx: RuntimeContext, *, size: int, slide: int
    ) -> None:
        super().__init__(function, ctx)
        self._size = size
        self._slide = slide
        # key -> [items since the start of the oldest open window, how many of these were emitted,
        # items still to leave out before that window starts]
        self._open: dict[Any, list[Any]] = {}

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        try:
            entry = self._open.get(self._ctx.key)
        except TypeError:
            check_hashable(self._ctx)
            raise
        if entry is None:
            entry = self._open[self._ctx.key] = [[], 0, 0]
        if entry[2]:
            entry[2] -= 1
            return ()
        items: list[Any] = entry[0]
        items.append(value)
        if len(items) < self._size:
            return ()
        entry[0] = items[self._slide :]
        entry[1] = len(entry[0])
        entry[2] = max(0, self._slide - self._size)
        return self._emit(items)

    def finish(self) -> Iterable[Any]:
        """Outputs of what is left when the input has ended."""
        self._ready.extend(
            (key, items) for key, (items, emitted, _) in self._open.items() if len(items) > emitted
        )
        self._open = {}
        return self._emit_ready()

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {"open": [[key, list(e[0]), e[1], e[2]] for key, e in self._open.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._open = {key: [list(items), n, skip] for key, items, n, skip in state["open"]}


class TimeWindow(GroupOperator):
    """Windows ``[k * slide, k * slide + size)`` of processing time; tumbling if ``slide == size``.

    Counted in whole nanoseconds: with floats a window could end after the next one begins.

    Args:
        size, slide: Seconds, > 0. With ``slide > size`` items between windows are left out.
        clock: Unix seconds now.
    """

    def __init__(
        self,
        function: Function | None,
        ctx: RuntimeContext,
        *,
        size: float,
        slide: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(function, ctx)
        self._size = max(1, _nanoseconds(size))
        self._slide = max(1, _nanoseconds(slide))
        self._clock = clock
        self._open: dict[int, dict[Any, list[Any]]] = {}
        self._order: list[int] = []

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        seconds = self._clock()
        now = _nanoseconds(seconds)
        key = self._ctx.key
        k = now // self._slide
        try:
            while k * self._slide + self._size > now:
                window = self._open.get(k)
                if window is None:
                    window = self._open[k] = {}
                    heappush(self._order, k)
                items = window.get(key)
                if items is None:
                    window[key] = [value]
                else:
                    items.append(value)
                k -= 1
        except TypeError:
            check_hashable(self._ctx)
            raise
        if self._order and self._end(self._order[0]) <= now:
            return self.on_time(seconds)
        return ()

    def _end(self, k: int) -> int:
        return k * self._slide + self._size

    def next_time(self) -> float | None:
        """When ``on_time`` wants to be called next (unix seconds)."""
        return self._end(self._order[0]) / 1e9 if self._order else None

    def on_time(self, now: float) -> Iterable[Any]:
        """Outputs that are due."""
        limit = math.inf if now == math.inf else _nanoseconds(now)
        while self._order and self._end(self._order[0]) <= limit:
            self._ready.extend(self._open.pop(heappop(self._order)).items())
        return self._emit_ready()

    def finish(self) -> Iterable[Any]:
        """Outputs of what is left when the input has ended."""
        return self.on_time(math.inf)

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {
            "open": [
                [k, [[key, list(items)] for key, items in self._open[k].items()]]
                for k in sorted(self._open)
            ]
        }

    def merge(self, states: list[dict[str, Any]], owns: Callable[[Any], bool]) -> dict[str, Any]:
        """One snapshot from those of several subtasks."""
        merged: dict[int, list[Any]] = {}
        for state in states:
            for k, groups in state["open"]:
                merged.setdefault(k, []).extend(g for g in groups if owns(g[0]))
        return {"open": [[k, groups] for k, groups in sorted(merged.items())]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self._open = {k: {key: list(v) for key, v in groups} for k, groups in state["open"]}
        self._order = sorted(self._open)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
