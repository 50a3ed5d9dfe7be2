"""Initial values that belong to one key: state defaults and initial accumulators.

A user writes ``default=0``, ``default=list`` or ``default=[]``. Each key must get its own object,
so a callable is a factory, and a mutable container is copied; anything else is shared as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

_MUTABLE = (list, dict, set, bytearray, deque)


def value_factory(default: Any) -> Callable[[], Any] | None:
    """A zero-argument factory for ``default``, or ``None`` when the value itself can be shared."""
    if callable(default):
        return default  # type: ignore[no-any-return]
    if isinstance(default, _MUTABLE):
        from copy import deepcopy  # noqa: PLC0415 - only steps with such a default pay for it

        return lambda: deepcopy(default)
    return None
