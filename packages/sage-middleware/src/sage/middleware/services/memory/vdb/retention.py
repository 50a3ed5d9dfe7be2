"""The bounds of a collection, checked."""

from __future__ import annotations

from sage.middleware.services.memory.errors import InvalidInputError


def check_bounds(max_rows: int | None, max_age: float | None) -> None:
    """Refuse bounds that make no sense.

    Raises:
        InvalidInputError: ``max_rows`` is not a positive integer, or ``max_age`` not above 0.
    """
    if max_rows is not None and (isinstance(max_rows, bool) or max_rows < 1):
        raise InvalidInputError(f"max_rows is {max_rows!r}; expected a positive integer")
    if max_age is not None and (isinstance(max_age, bool) or not max_age > 0):
        raise InvalidInputError(f"max_age is {max_age!r}; expected seconds above 0")
