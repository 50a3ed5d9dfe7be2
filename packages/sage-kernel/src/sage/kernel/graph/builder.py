"""Adds checked nodes with unique names and stable uids to a ``StreamGraph``.

Predecessor: the fluent API and spec files; successor: ``sage.kernel.graph.validate``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sage.common.errors import GraphError
from sage.kernel.graph.loops import unwrapped
from sage.kernel.graph.model import (
    STEP_OPTIONS,
    Edge,
    FunctionSpec,
    Node,
    StepOptions,
    StreamGraph,
)
from sage.kernel.graph.options import ON_ERROR_WORDS, make_options
from sage.kernel.graph.steps import make_spec

_OWN = tuple(__file__.rsplit("/kernel/graph/", 1)[0] + part for part in ("/api/", "/kernel/graph/"))


def call_site() -> tuple[str, int] | None:
    """File and line of the nearest caller outside of the fluent API."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_OWN):
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def split_options(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Step options, and what is left for the constructor of the step."""
    options = {key: value for key, value in given.items() if key in STEP_OPTIONS}
    rest = {key: value for key, value in given.items() if key not in STEP_OPTIONS}
    return options, rest


def add_node(
    graph: StreamGraph,
    kind: str,
    *,
    specs: tuple[FunctionSpec, ...] = (),
    options: StepOptions | Mapping[str, Any] | None = None,
    inputs: Sequence[Edge] = (),
    params: Mapping[str, Any] | None = None,
    label: str | None = None,
) -> Node:
    """Append a node; its name and uid come from the options or are derived.

    A derived name is ``kind-id:label``. A derived uid does not hold the id, so that inserting an
    unrelated step elsewhere does not rename the state of this one.

    Raises:
        GraphError: An option is wrong.
    """
    node_id = max(graph.nodes, default=-1) + 1
    label = label or (unwrapped(specs[0]).label if specs else "")
    auto = f"{kind}-{node_id}:{label}" if label else f"{kind}-{node_id}"
    if not isinstance(options, StepOptions):
        given = dict(options or {})
        on_error = given.get("on_error")
        if on_error is not None and not isinstance(on_error, FunctionSpec):
            given["on_error"] = fallback_spec(on_error)
        options = make_options(str(given.get("name") or label or kind), given)
    name = options.name or auto
    uid = options.uid
    if uid is None:
        stem = options.name or (f"{kind}:{label}" if label else kind)
        taken = {node.uid for node in graph.nodes.values()}
        uid, count = stem, 1
        while uid in taken:
            count += 1
            uid = f"{stem}#{count}"
    node = Node(
        node_id,
        kind,
        name,
        uid=uid,
        specs=specs,
        options=options,
        inputs=tuple(inputs),
        params=params,
        location=call_site(),
    )
    graph.nodes[node_id] = node
    return node


def fallback_spec(step: Any) -> Any:
    """What ``on_error`` stands for: one of its words as it is, or the function to fall back to.

    Raises:
        GraphError: Neither a word nor a step.
    """
    if isinstance(step, str) and step in ON_ERROR_WORDS:
        return step
    if isinstance(step, str):
        from sage.common.errors import PluginError  # noqa: PLC0415

        try:
            return make_spec(step, (), {}, "fallback")
        except PluginError as exc:
            from sage.kernel.graph.options import suggest  # noqa: PLC0415

            raise GraphError(
                f"on_error must be 'fail', 'skip', 'dead_letter' or a step to fall back to, "
                f"got {step!r}, which is no registered operator either"
                f"{suggest(step, ON_ERROR_WORDS)}"
            ) from exc
    return step_spec(step, "fallback")


def step_spec(step: Any, kind: str) -> FunctionSpec:
    """A step given as one value: a callable, class, name, or ``(class or name, config, ...)``."""
    if isinstance(step, tuple) and step:
        return make_spec(step[0], tuple(step[1:]), {}, kind)
    return make_spec(step, (), {}, kind)
