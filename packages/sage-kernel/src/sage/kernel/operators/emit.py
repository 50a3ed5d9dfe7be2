"""How operators call the user's function and emit what it returns.

The runtime gives operators functions that already apply the step's error policy (retry, dead
letter, fallback). Such a wrapper returns ``DROPPED`` for a call whose policy was to go on without a
result, and operators emit nothing for it. A wrapper that raises ends the call of the operator;
since operators take what they are about to emit out of their state first, the runtime may call
``on_time``, ``end_input`` or ``finish`` again, which continues with the rest. Nothing is computed
or emitted twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from sage.api.context import RuntimeContext
from sage.kernel.operators.base import StatefulOperator


class _Dropped:
    """Type of ``DROPPED``; falsy, so that a filter drops the item too."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "DROPPED"

    def __reduce__(self) -> str:
        return "DROPPED"


DROPPED: Final = _Dropped()
"""Returned by a policy wrapper instead of a result: emit nothing for this call."""


class GroupOperator(StatefulOperator):
    """Base of operators that collect items per key and emit ``function(list)``, or the list.

    Groups that are complete wait in a queue until they were handed out. Before each output,
    ``ctx.key`` is set to the key of its group.

    Args:
        function: Called with the list of a group; ``None`` emits the list.
        ctx: Context of the subtask; ``ctx.key`` is ``None`` on streams without keys.
    """

    def __init__(self, function: Callable[[list[Any]], Any] | None, ctx: RuntimeContext) -> None:
        self._function = function
        self._ctx = ctx
        self._ready: deque[tuple[Any, list[Any]]] = deque()

    def _emit_ready(self) -> Iterator[Any]:
        """Hand out the complete groups, oldest first."""
        ready, function, ctx = self._ready, self._function, self._ctx
        before = ctx.key
        while ready:
            ctx.key, items = ready.popleft()
            result = items if function is None else function(items)
            if result is not DROPPED:
                yield result
        ctx.key = before

    def _emit(self, items: list[Any]) -> tuple[Any, ...]:
        """Result of one group of the current key."""
        if self._function is None:
            return (items,)
        result = self._function(items)
        return () if result is DROPPED else (result,)
