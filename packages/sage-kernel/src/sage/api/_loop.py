"""Builds the nodes of ``DataStream.iterate``; ``sage.kernel.graph.loops`` says how they work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sage.api.datastream import DataStream
from sage.common.errors import GraphError
from sage.kernel.graph.builder import add_node
from sage.kernel.graph.loops import AGAIN, DONE, Decide, DecideAsync, count, enter, leave
from sage.kernel.graph.model import Edge, FunctionSpec
from sage.kernel.graph.steps import is_coroutine_function

T = TypeVar("T")


def build_loop(
    stream: DataStream[T],
    body: Callable[[DataStream[T]], DataStream[T]],
    until: Callable[[T], Any],
    max_iterations: int,
    name: str | None,
) -> DataStream[T]:
    """Nodes of one loop, and the stream of the items that left it."""
    if (
        isinstance(max_iterations, bool)
        or not isinstance(max_iterations, int)
        or max_iterations < 1
    ):
        raise GraphError(f"iterate: max_iterations must be an int >= 1, got {max_iterations!r}")
    if not callable(until) or isinstance(until, type):
        raise GraphError(f"iterate: until must be a function of the item, got {until!r}")
    if not callable(body):
        raise GraphError(f"iterate: body must be a function of a stream, got {body!r}")
    if stream._loop is not None:
        raise GraphError(
            "iterate inside of the body of another iterate is not supported: move the inner loop "
            "into a function, or put the loops one after the other"
        )
    env, graph = stream.environment, stream.environment.stream_graph
    known = {node.name for node in graph.nodes.values()}
    label = name or "iterate"
    number = 1
    while f"{label}.enter" in known:
        number += 1
        label = f"{name or 'iterate'}#{number}"
    params = {"loop": label}

    def inside(kind: str, part: str, inputs: list[Edge], **more: Any) -> Any:
        return add_node(
            graph,
            kind,
            inputs=inputs,
            options={"name": f"{label}.{part}"},
            specs=more.get("specs", ()),
            params={**params, **more.get("params", {})},
        )

    first = inside("map", "enter", [stream.edge], specs=(FunctionSpec(enter),))
    feedback = inside("future", "feedback", [], params={"filled_by": None, "max_items": None})
    head = inside("union", "head", [Edge(first.id), Edge(feedback.id)])
    result = body(DataStream(env, head, loop=label))
    if not isinstance(result, DataStream) or result._loop != label or result._node is head:
        got = result if not isinstance(result, DataStream) else f"the stream {result.name!r}"
        raise GraphError(
            f"iterate {label!r}: body must return the stream that its own steps made from the "
            f"stream it was given, got {got}"
        )
    decide = DecideAsync if is_coroutine_function(until) else Decide
    exits = inside(
        "route",
        "until",
        [result.edge],
        specs=(FunctionSpec(decide(until, max_iterations)),),
        params={"ports": (AGAIN, DONE), "max_iterations": max_iterations},
    )
    again = inside("map", "again", [Edge(exits.id, AGAIN)], specs=(FunctionSpec(count),))
    feedback.params["filled_by"] = Edge(again.id)
    feedback.params["max_iterations"] = max_iterations
    done = inside("map", "done", [Edge(exits.id, DONE)], specs=(FunctionSpec(leave),))
    return DataStream(env, done)
