"""Views of the logical graph: plain dict, Mermaid, text.

Predecessor: ``sage.kernel.graph.model``; successors: ``env.graph()``, ``sage explain``, the
dashboard. User text never becomes markup: labels are escaped.
"""

from __future__ import annotations

from typing import Any

from sage.kernel.graph.inference import infer
from sage.kernel.graph.loops import unwrapped
from sage.kernel.graph.model import Edge, FunctionSpec, Node, StreamGraph
from sage.kernel.graph.types import show

_SHAPES = {
    "source": ("([", "])"),
    "sink": ("[[", "]]"),
    "route": ("{", "}"),
    "filter": ("{", "}"),
    "union": ("((", "))"),
    "join": ("((", "))"),
    "future": (">", "]"),
}
_ESCAPES = {ord(c): f"#{ord(c)};" for c in '"#<>&[](){}|`\\;'}


def to_dict(graph: StreamGraph) -> dict[str, Any]:
    """The graph as plain values: ``name``, ``config``, ``services`` (names), ``nodes``, ``edges``.

    A node has ``id, kind, name, uid, function, options, params, in_type, out_type, location``; an
    edge ``source, target, input, port, feedback``.
    """
    infer(graph)
    edges = []
    for node in graph.nodes.values():
        for index, edge in enumerate(node.inputs):
            edges.append(_edge(edge, node, index, feedback=False))
        filled = _filled_by(node)
        if filled is not None:
            edges.append(_edge(filled, node, 0, feedback=True))
    return {
        "name": graph.name,
        "config": dict(graph.config),
        "services": sorted(graph.services),
        "nodes": [_node(node) for node in graph.nodes.values()],
        "edges": edges,
    }


def to_mermaid(graph: StreamGraph) -> str:
    """The graph as a Mermaid flowchart; feedback edges are dashed."""
    lines = ["flowchart LR"]
    for node in graph.nodes.values():
        left, right = _SHAPES.get(node.kind, ("[", "]"))
        lines.append(f'    n{node.id}{left}"{_escaped(node.name)}"{right}')
    for node in graph.nodes.values():
        for edge in node.inputs:
            label = "" if edge.port is None else f'|"{_escaped(edge.port)}"|'
            lines.append(f"    n{edge.source} -->{label} n{node.id}")
        filled = _filled_by(node)
        if filled is not None:
            lines.append(f"    n{filled.source} -. feedback .-> n{node.id}")
    return "\n".join(lines) + "\n"


def to_text(graph: StreamGraph) -> str:
    """The logical plan, one line per step: name, types, inputs, options, place of the call."""
    infer(graph)
    lines = [f"Logical plan of {graph.name!r}: {len(graph.nodes)} steps"]
    for name, (factory, _, _) in sorted(graph.services.items()):
        lines.append(f"  service {name}: {getattr(factory, '__name__', type(factory).__name__)}")
    for node in graph.nodes.values():
        reads = [*node.inputs]
        feedback = _filled_by(node)
        inputs = [_input(graph, edge) for edge in reads]
        if feedback is not None:
            inputs.append(f"feedback from {_input(graph, feedback)}")
        line = f"  {node.name}"
        if node.kind != "sink":
            line += f" → {show(node.out_type)}"
        if inputs:
            line += f"  ← {', '.join(inputs)}"
        settings = [*_shown_options(node).items(), *_shown_params(node).items()]
        if settings:
            line += "  [" + ", ".join(f"{key}={value!r}" for key, value in settings) + "]"
        if node.location is not None:
            line += f"  ({node.location[0].rpartition('/')[2]}:{node.location[1]})"
        lines.append(line)
    return "\n".join(lines)


def _node(node: Node) -> dict[str, Any]:
    functions = [unwrapped(spec).label for spec in node.specs]
    return {
        "id": node.id,
        "kind": node.kind,
        "name": node.name,
        "uid": node.uid,
        "function": functions[0] if functions else None,
        "functions": functions,
        "options": _shown_options(node),
        "params": _shown_params(node),
        "in_type": None if node.in_type is None else show(node.in_type),
        "out_type": None if node.out_type is None else show(node.out_type),
        "location": None if node.location is None else f"{node.location[0]}:{node.location[1]}",
    }


def _edge(edge: Edge, node: Node, index: int, *, feedback: bool) -> dict[str, Any]:
    return {
        "source": edge.source,
        "target": node.id,
        "input": index,
        "port": edge.port,
        "feedback": feedback,
    }


def _filled_by(node: Node) -> Edge | None:
    edge = node.params.get("filled_by") if node.kind == "future" else None
    return edge if isinstance(edge, Edge) else None


def _input(graph: StreamGraph, edge: Edge) -> str:
    source = graph.nodes.get(edge.source)
    name = source.name if source is not None else f"?{edge.source}"
    return name if edge.port is None else f"{name}[{edge.port}]"


def _shown_options(node: Node) -> dict[str, Any]:
    return {key: _plain(value) for key, value in node.options.items() if key not in ("name", "uid")}


def _shown_params(node: Node) -> dict[str, Any]:
    return {
        key: _plain(value)
        for key, value in node.params.items()
        if value is not None and key != "filled_by"
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, FunctionSpec):
        return unwrapped(value).label
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return show(value) if isinstance(value, type) else repr(value)


def _escaped(text: str) -> str:
    return " ".join(text.translate(_ESCAPES).split())
