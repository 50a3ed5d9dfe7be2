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

from collections.abc import Callable, Iterable
from typing import Any


class StatefulOperator:
    """Base of the kernel's own operators; see the module for when each method is called."""

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        raise NotImplementedError

    def next_time(self) -> float | None:
        """Earliest time at which ``on_time`` wants to be called, or ``None``."""
        return None

    def on_time(self, now: float) -> Iterable[Any]:
        """Outputs that are due."""
        return ()

    def end_input(self, port: int) -> Iterable[Any]:
        """One input has ended."""
        return ()

    def finish(self) -> Iterable[Any]:
        """Outputs of what is left when the input has ended."""
        return ()

    def snapshot(self) -> dict[str, Any]:
        """State as lists, dicts and the user's values; taken between two calls."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a ``snapshot``; called before the first item."""

    def merge(self, states: list[dict[str, Any]], owns: Callable[[Any], bool]) -> dict[str, Any]:
        """One snapshot from those of several subtasks, with the keys that ``owns`` accepts.

        Here for snapshots that are lists of entries which begin with the key.
        """
        return {
            name: [entry for state in states for entry in state[name] if owns(entry[0])]
            for name in states[0]
        }
