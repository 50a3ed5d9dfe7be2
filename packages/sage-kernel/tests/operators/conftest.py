from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sage.api.context import RuntimeContext
from sage.kernel.graph.model import FunctionSpec, Node
from sage.kernel.operators import StatefulOperator, make_operator
from sage.kernel.state import StateBackend


class Rig:
    """An operator with a clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.ctx = RuntimeContext(job_id="j", job_name="job", operator="step", uid="u")
        self.operator: StatefulOperator = StatefulOperator()

    def make(
        self, kind: str, function: Any = None, *, keyed: bool = True, **params: Any
    ) -> StatefulOperator:
        functions = () if function is None else (function,)
        specs = tuple(FunctionSpec(f) for f in functions)
        node = Node(1, kind, "step", uid="u", specs=specs, params=params)
        state = StateBackend(self.ctx, lambda: self.now) if keyed else None
        self.operator = make_operator(node, functions, self.ctx, state, lambda: self.now)
        return self.operator

    def feed(self, key: Any, value: Any, port: int = 0) -> list[Any]:
        self.ctx.key = key
        return list(self.operator.process(value, port))

    def advance(self, seconds: float) -> list[Any]:
        """Move the clock and fire what is due, like the runtime."""
        self.now += seconds
        out: list[Any] = []
        while (at := self.operator.next_time()) is not None and at <= self.now:
            out += list(self.operator.on_time(self.now))
        return out

    def keyed(self, outputs: Iterable[Any]) -> list[tuple[Any, Any]]:
        """Outputs with the key that was current for each."""
        return [(self.ctx.key, value) for value in outputs]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture(scope="session")
def new_rig() -> Callable[[], Rig]:
    return Rig
