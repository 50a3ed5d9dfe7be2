"""Several changes that happen together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.kv.codec import encode
from sage.middleware.services.memory.kv.keys import check_key

T = TypeVar("T")
Change: TypeAlias = tuple[str, bytes | None, float | None]
"""Key, bytes of the value or ``None`` to delete it, time it expires or ``None``."""


class Collected(Generic[T]):
    """Changes that are collected; a ``with`` block applies them at its end, or none on an error.

    Args:
        apply: Does the changes, all or none.
    """

    def __init__(self, apply: Callable[[list[T]], object]) -> None:
        self._apply = apply
        self._changes: list[T] = []

    def commit(self) -> None:
        """Applies what was collected, in order, and starts anew."""
        changes, self._changes = self._changes, []
        if changes:
            self._apply(changes)

    def __len__(self) -> int:
        return len(self._changes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self._changes.clear()


class Batch(Collected[Change]):
    """Puts and deletes that happen together.

    Reading from the collection meanwhile does not see them yet.

    Args:
        apply: Does the changes in one transaction.
        expiry: Makes the time a value expires from its time to live in seconds.
    """

    def __init__(
        self,
        apply: Callable[[list[Change]], object],
        expiry: Callable[[float | None], float | None],
    ) -> None:
        super().__init__(apply)
        self._expiry = expiry

    def put(self, key: str, value: Any, ttl: float | None = None) -> Self:
        """Sets a key; ``ttl`` in seconds."""
        self._changes.append((check_key(key), encode(value), self._expiry(ttl)))
        return self

    def delete(self, key: str) -> Self:
        """Removes a key, if it is there."""
        self._changes.append((check_key(key), None, None))
        return self


def check_ttl(ttl: float | None, now: float) -> float | None:
    """The time a value expires.

    Raises:
        InvalidInputError: ``ttl`` is not a positive number of seconds.
    """
    if ttl is None:
        return None
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not ttl > 0:
        raise InvalidInputError(f"ttl must be a positive number of seconds or None, got {ttl!r}")
    return now + ttl
