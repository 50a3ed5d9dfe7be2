"""From a node of the graph to the operator that the runtime drives.

Predecessor: ``sage.kernel.compiler``; successor: ``sage.kernel.runtime``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sage.api.context import RuntimeContext
from sage.api.functions import ProcessFunction
from sage.common.errors import GraphError
from sage.kernel.graph.model import Node
from sage.kernel.operators.base import StatefulOperator
from sage.kernel.operators.batch import BatchOperator
from sage.kernel.operators.join import HashJoin, InnerJoinOne
from sage.kernel.operators.process import ProcessOperator
from sage.kernel.operators.reduce import NO_INITIAL, ReduceOperator
from sage.kernel.operators.window import SlidingCountWindow, TimeWindow, TumblingCountWindow

STATEFUL_KINDS: Final = frozenset({"window", "batch", "join", "process", "reduce"})
"""Node kinds that ``make_operator`` knows."""

_ASYNC_FLAGS: Final = 0x80 | 0x200
"""Code flags of ``async def`` functions and async generators."""


def make_operator(
    node: Node,
    functions: tuple[Any, ...],
    ctx: RuntimeContext,
    state: Any,
    clock: Callable[[], float],
) -> StatefulOperator:
    """Build the operator of one subtask of ``node``.

    Args:
        node: A step of one of ``STATEFUL_KINDS``.
        functions: The callables for ``node.specs``, ready to be called (bound ``execute`` of open
            instances, with the step's policy around them); for ``process`` the instance itself.
        ctx: Context of the subtask, whose ``key`` the runtime sets before each item.
        state: Keyed state of the subtask (``sage.kernel.state.StateBackend``); users reach it
            through ``ctx``.
        clock: Unix seconds now.

    Raises:
        GraphError: The node is of another kind, or its settings are wrong.
    """
    if state is not None and ctx._state is None:
        ctx._state = state
    function = functions[0] if functions else None
    if node.kind == "window":
        return _window(node, function, ctx, clock)
    if node.kind == "batch":
        timeout = node.params.get("timeout")
        if timeout is not None:
            timeout = _seconds(node, "timeout", timeout)
        size = _count(node, "size", node.params.get("size"))
        return BatchOperator(function, ctx, size=size, timeout=timeout, clock=clock)
    if node.kind == "join":
        return _join(node, function, ctx, clock)
    if node.kind == "process":
        return _process(node, function, ctx)
    if node.kind == "reduce":
        if function is None:
            raise GraphError(f"step {node.name!r}: reduce needs a function", operator=node.name)
        return ReduceOperator(function, ctx, initial=node.params.get("initial", NO_INITIAL))
    raise GraphError(
        f"step {node.name!r} of kind {node.kind!r} has no stateful operator; "
        f"known kinds: {', '.join(sorted(STATEFUL_KINDS))}",
        operator=node.name,
    )


def _window(
    node: Node, function: Any, ctx: RuntimeContext, clock: Callable[[], float]
) -> StatefulOperator:
    kind = node.params.get("type", "count")
    size, slide = node.params.get("size"), node.params.get("slide")
    if kind == "count":
        size = _count(node, "size", size)
        slide = size if slide is None else _count(node, "slide", slide)
        if slide == size:
            return TumblingCountWindow(function, ctx, size=size)
        return SlidingCountWindow(function, ctx, size=size, slide=slide)
    if kind == "time":
        size = _seconds(node, "size", size)
        slide = size if slide is None else _seconds(node, "slide", slide)
        return TimeWindow(function, ctx, size=size, slide=slide, clock=clock)
    raise _setting(node, "type", kind, "'count' or 'time'")


def _join(
    node: Node, function: Any, ctx: RuntimeContext, clock: Callable[[], float]
) -> StatefulOperator:
    how = node.params.get("how") or "inner"
    match = node.params.get("match") or "all"
    window = node.params.get("window")
    if how not in ("inner", "left", "right", "outer"):
        raise _setting(node, "how", how, "'inner', 'left', 'right' or 'outer'")
    if match not in ("all", "one"):
        raise _setting(node, "match", match, "'all' or 'one'")
    if window is not None:
        window = _seconds(node, "window", window)
    if how == "inner" and match == "one" and window is None:
        return InnerJoinOne(function, ctx)
    outer = (how in ("left", "outer"), how in ("right", "outer"))
    return HashJoin(function, ctx, outer=outer, once=match == "one", window=window, clock=clock)


def _process(node: Node, function: Any, ctx: RuntimeContext) -> StatefulOperator:
    if not isinstance(function, ProcessFunction) and not hasattr(function, "process"):
        raise GraphError(
            f"step {node.name!r}: process needs a ProcessFunction, got {type(function).__name__!r}",
            operator=node.name,
        )
    for method in ("process", "on_timer"):
        code = getattr(getattr(function, method, None), "__code__", None)
        if code is not None and code.co_flags & _ASYNC_FLAGS:
            raise GraphError(
                f"step {node.name!r}: {method} of {type(function).__name__!r} is async; keyed "
                "state is read and written in order, so make it a plain method and put the "
                "awaiting call into a .map(...) before it",
                operator=node.name,
            )
    return ProcessOperator(function, ctx)


def _count(node: Node, name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _setting(node, name, value, "an int >= 1 (number of items)")
    return value


def _seconds(node: Node, name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise _setting(node, name, value, "a number > 0 (seconds)")
    return float(value)


def _setting(node: Node, name: str, found: Any, expected: str) -> GraphError:
    return GraphError(
        f"step {node.name!r}: {node.kind} {name} must be {expected}, got {found!r}",
        operator=node.name,
    )
