"""Running reduction per key: every item updates the accumulator of its key and emits it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from sage.api.context import RuntimeContext
from sage.kernel.operators.base import StatefulOperator
from sage.kernel.operators.defaults import value_factory
from sage.kernel.operators.emit import DROPPED
from sage.kernel.operators.keys import check_hashable

NO_INITIAL: Final = object()
"""No initial accumulator: the first item of a key is its accumulator."""


class ReduceOperator(StatefulOperator):
    """``accumulators[key] = function(accumulators[key], item)``, emitted every time.

    Without ``initial`` the first item of a key becomes its accumulator and is emitted as it is. A
    call that raises, or whose policy dropped it, leaves the accumulator as it was.

    Args:
        initial: First accumulator of each key: a value (copied if it is a list, dict or set) or a
            zero-argument factory.

    Attributes:
        accumulators: key -> accumulator; the compiler's generated code may update it directly.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        ctx: RuntimeContext,
        *,
        initial: Any = NO_INITIAL,
    ) -> None:
        self._function = function
        self._ctx = ctx
        self._initial = initial
        self._factory = None if initial is NO_INITIAL else value_factory(initial)
        self.accumulators: dict[Any, Any] = {}

    def process(self, value: Any, port: int = 0) -> Iterable[Any]:
        """Take one item; outputs that it completes."""
        key = self._ctx.key
        accumulators = self.accumulators
        try:
            if key in accumulators:
                result = self._function(accumulators[key], value)
            elif self._factory is not None:
                result = self._function(self._factory(), value)
            elif self._initial is not NO_INITIAL:
                result = self._function(self._initial, value)
            else:
                result = value
        except TypeError:
            check_hashable(self._ctx)
            raise
        if result is DROPPED:
            return ()
        accumulators[key] = result
        return (result,)

    def snapshot(self) -> dict[str, Any]:
        """State as plain data and the user's values."""
        return {"accumulators": [[key, value] for key, value in self.accumulators.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        # In place: generated code holds a reference to the dict.
        """Continue from a snapshot."""
        self.accumulators.clear()
        self.accumulators.update((key, value) for key, value in state["accumulators"])
