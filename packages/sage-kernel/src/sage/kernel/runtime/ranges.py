"""A range as a source: given out in chunks, which another thread can end."""

from __future__ import annotations

import sys
from collections.abc import Iterator


class RangeItems:
    """Iterates over a range.

    Generated code loops over ``chunk`` itself: no record is counted or asked whether to stop,
    because a value says how far the loop is, and ``stop`` exhausts the iterator.

    Attributes:
        chunk: Iterator over what ``take`` gave last.
    """

    __slots__ = ("_rest", "_stopped", "chunk")

    def __init__(self, values: range) -> None:
        self._rest = values
        self._stopped = False
        self.chunk = iter(values[:0])

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        for item in self.take(1):
            return item
        raise StopIteration

    def take(self, most: int) -> range:
        """The next ``most`` items, fewer at the end."""
        given, self._rest = self._rest[:most], self._rest[most:]
        self.chunk = iter(given)
        if self._stopped:
            self._end()
        return given

    def stop(self) -> None:
        """End the loop over ``chunk`` before its next item. Called by any thread."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        self.chunk.__setstate__(sys.maxsize)  # type: ignore[attr-defined]
