"""Timers of a keyed process step: a heap without duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import isfinite
from typing import Any

from sage.common.errors import GraphError


class Timers:
    """Pending ``(key, time)`` pairs; the same pair registered twice fires once.

    Equal times fire in the order of registration.
    """

    __slots__ = ("_heap", "_pending", "_sequence")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._pending: set[tuple[Any, float]] = set()
        self._sequence = 0

    def register(self, key: Any, at: float) -> None:
        """Remember to fire ``at`` (unix seconds) for ``key``.

        Raises:
            GraphError: ``at`` is not a finite number.
        """
        try:
            at = float(at)
        except (TypeError, ValueError) as error:
            raise GraphError(f"a timer needs a time in unix seconds, got {at!r}") from error
        if not isfinite(at):
            raise GraphError(f"a timer needs a finite time in unix seconds, got {at!r}")
        if (key, at) not in self._pending:
            self._pending.add((key, at))
            self._sequence += 1
            heappush(self._heap, (at, self._sequence, key))

    def next_time(self) -> float | None:
        """The earliest pending time."""
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[Any, float]:
        """Remove and return the earliest ``(key, time)``."""
        at, _, key = heappop(self._heap)
        self._pending.discard((key, at))
        return key, at

    def pop_all(self) -> list[tuple[Any, float]]:
        """Remove and return all, in time order."""
        return [self.pop() for _ in range(len(self._heap))]

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[tuple[Any, float]]:
        return ((key, at) for at, _, key in sorted(self._heap, key=lambda entry: entry[:2]))
