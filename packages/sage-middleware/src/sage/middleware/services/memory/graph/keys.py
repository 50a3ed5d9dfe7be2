"""What identifies a node, and in which direction its edges are followed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, TypeAlias, get_args

from sage.middleware.services.memory.errors import InvalidInputError

NodeKey: TypeAlias = str | int
Direction = Literal["out", "in", "both"]
Types: TypeAlias = str | Collection[str] | None
"""An edge type, several, or ``None`` for all."""


def check_key(key: Any) -> NodeKey:
    """The key, if it can be a node's.

    Raises:
        InvalidInputError: Neither a str with a UTF-8 form nor an int of 64 bits.
    """
    kind = type(key)
    if kind is int and -(2**63) <= key < 2**63:
        return key  # type: ignore[no-any-return]
    if kind is str:
        try:
            key.encode()
            return key  # type: ignore[no-any-return]
        except UnicodeEncodeError as exc:
            raise InvalidInputError(f"the node id {key!r} is not valid Unicode") from exc
    raise InvalidInputError(f"a node id must be a str or an int of 64 bits, got {key!r}")


def check_direction(direction: str) -> Direction:
    """The direction, if it is one.

    Raises:
        InvalidInputError: It is none.
    """
    if direction not in get_args(Direction):
        raise InvalidInputError(f"direction must be 'out', 'in' or 'both', got {direction!r}")
    return direction  # type: ignore[return-value]


def check_weight(weight: Any) -> float:
    """The weight of an edge.

    Raises:
        InvalidInputError: Not a finite number of at least 0.
    """
    if isinstance(weight, int | float) and not isinstance(weight, bool):
        number = float(weight)
        if 0 <= number < float("inf"):
            return number
    raise InvalidInputError(f"the weight of an edge must be a number of at least 0, got {weight!r}")
