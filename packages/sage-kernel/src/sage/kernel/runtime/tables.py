"""Tables of the generated hash join, one per side.

Key -> the value itself, or a ``Many`` where a key has several. (One table of ``[left, right]``
lists was measured twice as slow: the lists burden the garbage collector.)
"""

from __future__ import annotations

from collections import deque
from typing import Any


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


class Many(deque[Any]):
    """Several values of one key, in order of arrival."""

    __slots__ = ()


def add_to(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Add a further value of a key that the table has."""
    held = table[key]
    if held.__class__ is Many:
        held.append(value)
    else:
        table[key] = Many((held, value))


def take_first(table: dict[Any, Any], key: Any, many: Many) -> Any:
    """The first of several values that were just popped; the others go back."""
    first = many.popleft()
    if many:
        table[key] = many
    return first
