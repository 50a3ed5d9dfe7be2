"""The items of a source, given out in chunks whose loop another thread can end.

Generated code loops over a chunk without asking for each item whether to stop: ``stop`` exhausts
the iterator that the loop is driven by. It holds until ``stopped`` is reset, which comes before a
look at why it was called: so no call is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from types import WrapperDescriptorType
from typing import Any

_numbers: list[int] = []
"""1, 2, …: as many as the longest chunk so far had items."""


class RangeItems:
    """Iterates over a range. A value says how far the loop is, so that nothing is counted.

    Attributes:
        chunk: Iterator over what ``take`` gave last.
        stopped: Whether the chunk may have ended early.
    """

    __slots__ = ("_before", "_rest", "chunk", "stopped")

    def __init__(self, values: range) -> None:
        self._before = self._rest = values
        self.stopped = False
        self.chunk = iter(values[:0])

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        for item in self.take(1):
            return item
        raise StopIteration

    def take(self, most: int) -> range:
        """The next ``most`` items, fewer at the end."""
        self._before = self._rest
        given, self._rest = self._rest[:most], self._rest[most:]
        self.chunk = iter(given)
        if self.stopped:
            _exhaust(self.chunk)
        return given

    def stop(self) -> None:
        """End the loop over ``chunk`` before its next item. Called by any thread."""
        self.stopped = True
        _exhaust(self.chunk)

    def ended_after(self, count: int) -> None:
        """The loop over ``chunk`` was ended behind its first ``count`` items: go on there."""
        self._rest = self._before[count:]


class CountedItems:
    """Numbers the items of any iterator, so that counting them costs no step of its own.

    Attributes:
        items: The iterator; ``iter`` of it does not start it anew.
        stopped: Whether the chunk may have ended early.
    """

    __slots__ = ("_numbers", "items", "stopped")

    def __init__(self, items: Iterator[Any]) -> None:
        own = isinstance(getattr(type(items), "__iter__", None), WrapperDescriptorType)
        self.items = items if own else chain(Begun(items))
        self.stopped = False
        self._numbers = iter(_numbers[:0])

    def take(self, most: int) -> Iterator[tuple[int, Any]]:
        """``(1, item), (2, item), …`` of the next ``most`` items, fewer at the end."""
        numbers = self._numbers = iter(_first_numbers(most))
        if self.stopped:
            _exhaust(numbers)
        return zip(numbers, self.items, strict=False)

    def stop(self) -> None:
        """Pull nothing more. Called by any thread."""
        self.stopped = True
        _exhaust(self._numbers)

    def ended_after(self, count: int) -> None:
        """As ``RangeItems``; nothing was pulled that was not given."""


class Begun:
    """``iter`` of it is the iterator as it is.

    A class may reset itself in ``__iter__``, as many a textbook's does, or have no such method.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return self._items


def _first_numbers(most: int) -> list[int]:
    global _numbers  # noqa: PLW0603 - made once for all sources
    numbers = _numbers
    if len(numbers) < most:
        numbers = _numbers = list(range(1, most + 1))
    return numbers[:most]


def _exhaust(iterator: Iterator[int]) -> None:
    iterator.__setstate__(sys.maxsize)  # type: ignore[attr-defined]
