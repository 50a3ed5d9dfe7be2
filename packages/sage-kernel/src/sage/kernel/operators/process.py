"""Drives a ``ProcessFunction``: keyed state, timers, several outputs per item."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from sage.api.context import RuntimeContext
from sage.api.functions import ProcessFunction
from sage.kernel.operators.base import StatefulOperator
from sage.kernel.operators.timers import Timers


class ProcessOperator(StatefulOperator):
    """Calls ``process`` per item and ``on_timer`` per timer, with ``ctx.key`` set for both.

    A call is complete before its outputs are emitted, so one that raises emits nothing and may be
    tried again. Timers fire in time order. When the input ends, the timers that are pending then
    fire; those registered by these last calls are dropped, so that the stream ends.

    Args:
        function: The user's function, already open.
        ctx: Context of the subtask; its timers are set here.
    """

    def __init__(self, function: ProcessFunction[Any, Any], ctx: RuntimeContext) -> None:
        self._function = function
        self._ctx = ctx
        self._last: deque[tuple[Any, float]] | None = None
        self.timers = Timers()
        ctx._timers = self.timers

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        return _outputs(self._function, self._function.process(value))

    def next_time(self) -> float | None:
        """When ``on_time`` wants to be called next (unix seconds)."""
        return self.timers.next_time()

    def on_time(self, now: float) -> Iterator[Any]:
        """Outputs that are due."""
        timers, ctx = self.timers, self._ctx
        before = ctx.key
        while (at := timers.next_time()) is not None and at <= now:
            ctx.key, at = timers.pop()
            yield from _outputs(self._function, self._function.on_timer(at))
        ctx.key = before

    def finish(self) -> Iterator[Any]:
        """Outputs of what is left when the input has ended."""
        if self._last is None:
            self._last = deque(self.timers.pop_all())
        while self._last:
            self._ctx.key, at = self._last.popleft()
            yield from _outputs(self._function, self._function.on_timer(at))
        self.timers.pop_all()

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {"timers": [[key, at] for key, at in self.timers]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self.timers.pop_all()
        for key, at in state["timers"]:
            self.timers.register(key, at)


def _outputs(function: Any, returned: Iterable[Any] | None) -> Iterable[Any]:
    if returned is None:
        return ()
    if isinstance(returned, str | bytes | dict) or not hasattr(returned, "__iter__"):
        raise TypeError(
            f"{type(function).__name__} must yield its outputs or return a list of them, "
            f"but it returned {type(returned).__name__!r}"
        )
    return returned if isinstance(returned, list | tuple) else list(returned)
