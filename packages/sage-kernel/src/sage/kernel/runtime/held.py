"""Value states that generated code holds in slots while a step runs, and failures meanwhile.

Python code for each read and write of ``state.value`` costs more than the rest of a small keyed
step. See ``sage.kernel.state.memory.HeldValueState``.
"""

from __future__ import annotations

from typing import Any

from sage.common.errors import GraphError
from sage.kernel.compiler.model import ExecutionGraph, SegmentPlan
from sage.kernel.operators.keys import check_hashable
from sage.kernel.runtime.binding import Functions
from sage.kernel.runtime.failure import FailureHandler
from sage.kernel.state.memory import HeldValueState, MemoryValueState

_STEPS = ("map", "sink")
"""Steps that are done with their state when their call returns."""


class HeldStates:
    """The held value states of one subtask.

    Attributes:
        by_node: Node id -> its states.
    """

    __slots__ = ("_contexts", "_handler", "by_node")

    def __init__(
        self,
        plan: ExecutionGraph,
        segment: SegmentPlan,
        functions: Functions,
        handler: FailureHandler,
    ) -> None:
        self._handler = handler
        self._contexts = functions.contexts
        self.by_node: dict[int, tuple[HeldValueState, ...]] = {}
        for node in segment.nodes:
            if (
                node.kind in _STEPS
                and "context_key" in plan.flags[node.id]
                and not node.options.timeout  # whose call goes on in another thread
            ):
                states = functions.contexts[node.id]._state.hold_values()
                if states:
                    self.by_node[node.id] = states

    def handle(self, node_id: int, value: Any, error: Exception, n: Any, key: Any) -> Any:
        """Apply the policy of a step that holds states; see ``FailureHandler.handle``."""
        states = self.by_node[node_id]
        try:
            check_hashable(self._contexts[node_id])
        except GraphError as better:
            return self._handle_no_key(states, node_id, value, better, n, key)
        except Exception:  # noqa: BLE001 - the key's own __hash__ failed, which ``error`` says
            return self._handle_no_key(states, node_id, value, error, n, key)
        result = self._handler.handle(node_id, value, error, n, key)
        for state in states:
            state.write_back()
        return result

    def _handle_no_key(
        self,
        states: tuple[HeldValueState, ...],
        node_id: int,
        value: Any,
        error: Exception,
        n: Any,
        key: Any,
    ) -> Any:
        """The same where the key has no state, so that nothing was put in."""
        for state in states:
            state.__class__ = MemoryValueState  # type: ignore[assignment]
        try:
            return self._handler.handle(node_id, value, error, n, key)
        finally:
            for state in states:
                state.__class__ = HeldValueState
                state.let_go()
