"""Keyed state as a step sees it. The kernel's ``sage.kernel.state`` implements these.

Every access is for ``ctx.key``, the key of the current item.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class ValueState(Protocol):
    """One value per key."""

    @property
    def value(self) -> Any:
        """The value of the current key, or the default."""

    @value.setter
    def value(self, new: Any) -> None: ...

    def clear(self) -> None:
        """Forget the value of the current key."""


class ListState(Protocol):
    """A list per key."""

    def append(self, item: Any) -> None: ...

    def get(self) -> list[Any]:
        """A copy of the list of the current key."""

    def clear(self) -> None: ...


class MapState(Protocol):
    """A mapping per key."""

    def get(self, field: Any, default: Any = None) -> Any: ...

    def put(self, field: Any, value: Any) -> None: ...

    def remove(self, field: Any) -> None: ...

    def items(self) -> Iterator[tuple[Any, Any]]: ...

    def clear(self) -> None: ...
