"""Contract of stateful operators that the engine drives: windows, joins, batches, timers.

Pure: an operator takes values and returns outputs; the clock is passed in. The runtime calls, from
one thread at a time per subtask:

1. ``process(value, port)`` for each item (``port`` is the input index; 0 unless comap or join); for
   keyed operators ``ctx.key`` (the shared ``RuntimeContext``) holds the key;
2. ``on_time(now)`` when the clock passed ``next_time()`` (unix seconds);
3. ``end_input(port)`` when an input ended, then, after the last, ``finish()``.

Each returns an iterable of outputs (an empty tuple when there is none), emitted in that order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class StatefulOperator:
    """Base of the kernel's own operators; see the module for when each method is called."""

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        raise NotImplementedError

    def next_time(self) -> float | None:
        """Earliest time at which ``on_time`` wants to be called, or ``None``."""
        return None

    def on_time(self, now: float) -> Iterable[Any]:
        return ()

    def end_input(self, port: int) -> Iterable[Any]:
        return ()

    def finish(self) -> Iterable[Any]:
        return ()
