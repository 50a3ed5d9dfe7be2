"""Finds everything that is wrong with a graph before it runs.

Predecessor: ``sage.api``; successor: ``sage.kernel.compiler``, which may then rely on: every edge
leads to an existing output, all input counts are right, cycles pass a filled future, names and
uids are unique, keyed steps have keyed inputs, and no output is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sage.common.errors import GraphError
from sage.kernel.graph.inference import infer
from sage.kernel.graph.loops import unwrapped
from sage.kernel.graph.model import DEAD_LETTER, DEFAULT_ROUTE, KINDS, Edge, Node, StreamGraph
from sage.kernel.graph.options import option_problems, suggest
from sage.kernel.graph.settings import check_settings
from sage.kernel.graph.types import is_assignable, show

_INPUTS: dict[str, tuple[int, int | None]] = {
    "source": (0, 0),
    "future": (0, 0),
    "union": (2, None),
    "comap": (2, 2),
    "join": (2, 2),
}
_FUNCTIONS: dict[str, tuple[int, int | None]] = {
    "union": (0, 0),
    "batch": (0, 0),
    "future": (0, 0),
    "window": (0, 1),
    "comap": (1, 2),
    "fallback": (2, None),
}
_LETS_GO = frozenset(["filter", "route", "flatmap", "process", "join", "window"])
"""Kinds that can take an item out of a loop."""


def validate(graph: StreamGraph) -> None:
    """Check the whole graph.

    Raises:
        GraphError: Lists all problems, each with step names, types and the place of the call;
            ``problems`` holds them as a tuple of strings.
    """
    refuse(graph, list(find_problems(graph)))


def refuse(graph: StreamGraph, problems: list[str]) -> None:
    """Raise the ``GraphError`` that lists ``problems``, if there are any."""
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise GraphError(
            f"pipeline {graph.name!r} has {count}:{lines}",
            pipeline=graph.name,
            problems=tuple(problems),
        )


def find_problems(graph: StreamGraph) -> Iterator[str]:
    """The problems of a graph, one sentence or two each; sets the types of the nodes."""
    try:
        check_settings(graph.config, "environment")
    except GraphError as exc:
        yield str(exc)
    if not graph.nodes:
        yield "it has no steps: start with env.from_source(...) and end with .sink(...)"
        return
    if not any(node.kind == "source" for node in graph.nodes.values()):
        yield f"it has no source, so {at(next(iter(graph.nodes.values())))} never gets an item"
    if not any(node.kind == "sink" for node in graph.nodes.values()):
        last = list(graph.nodes.values())[-1]
        yield f"it has no sink: end {at(last)} with .sink(...), .print() or .discard()"
    broken = False
    for node in graph.nodes.values():
        for problem in _node_problems(graph, node):
            broken = True
            yield problem
    yield from _duplicates(graph)
    yield from _futures(graph)
    if broken:
        return  # the rest walks along edges and would only repeat the above in other words
    cycle = _undeclared_cycle(graph)
    if cycle:
        names = " → ".join(repr(node.name) for node in [*cycle, cycle[0]])
        yield (
            f"the steps {names} form a cycle; feed items back with env.from_future(...) and "
            f"env.fill_future(...) ({_place(cycle[0])})"
        )
        return
    yield from _dangling(graph)
    yield from _unreachable(graph)
    yield from _unbounded(graph)
    yield from _keys(graph)
    yield from _services(graph)
    yield from _types(graph)


def _node_problems(graph: StreamGraph, node: Node) -> Iterator[str]:
    if node.kind not in KINDS:
        yield f"{at(node)} has the unknown kind {node.kind!r}{suggest(node.kind, KINDS)}"
        return
    if graph.nodes.get(node.id) is not node:
        yield f"{at(node)} is stored under another id than its own ({node.id})"
    for what, limits, count in (
        ("input", _INPUTS.get(node.kind, (1, 1)), len(node.inputs)),
        ("function", _FUNCTIONS.get(node.kind, (1, 1)), len(node.specs)),
    ):
        low, high = limits
        if count < low or (high is not None and count > high):
            exact = f"exactly {low}" if low == high else f"at least {low}"
            if high is not None and low != high:
                exact = f"{low} to {high}"
            yield f"{at(node)} ({node.kind}) must have {exact} {what}(s), it has {count}"
    for edge in node.inputs:
        yield from _edge_problems(graph, node, edge)
    for problem in option_problems(node.options):
        yield f"{at(node)}: {problem}"
    yield from _parameter_problems(node)


def _edge_problems(graph: StreamGraph, node: Node, edge: Edge) -> Iterator[str]:
    source = graph.nodes.get(edge.source)
    if source is None:
        yield f"{at(node)} reads the step with id {edge.source}, which does not exist"
    elif edge.port == DEAD_LETTER:
        if source.options.on_error != "dead_letter":
            yield (
                f"{at(node)} reads the dead letters of {source.name!r}, whose on_error is not "
                "'dead_letter'"
            )
    elif source.kind == "sink":
        yield f"{at(node)} reads {source.name!r}, which is a sink and gives nothing"
    elif source.kind == "route":
        ports = (*source.params.get("ports", ()), DEFAULT_ROUTE)
        if edge.port not in ports:
            yield (
                f"{at(node)} reads the route {edge.port!r} of {source.name!r}"
                f"{suggest(str(edge.port), ports)} (routes: {', '.join(map(str, ports))})"
            )
    elif edge.port is not None:
        yield f"{at(node)} reads the output {edge.port!r} of {source.name!r}, which has only one"


def _parameter_problems(node: Node) -> Iterator[str]:
    params = node.params
    match node.kind:
        case "window":
            if params.get("type") not in ("count", "time"):
                found = params.get("type")
                yield f"{at(node)}: window type must be 'count' or 'time', got {found!r}"
            whole = params.get("type") == "count"
            for key in ("size", "slide"):
                if not _positive(params.get(key), whole):
                    unit = "an int >= 1 (items)" if whole else "a number > 0 (seconds)"
                    yield f"{at(node)}: window {key} must be {unit}, got {params.get(key)!r}"
        case "batch":
            if not _positive(params.get("size"), True):
                yield f"{at(node)}: batch size must be an int >= 1, got {params.get('size')!r}"
            timeout = params.get("timeout")
            if timeout is not None and not _positive(timeout, False):
                yield f"{at(node)}: batch timeout must be seconds > 0, got {timeout!r}"
        case "join":
            for key, allowed, default in (
                ("how", ("inner", "left", "right", "outer"), "inner"),
                ("match", ("all", "one"), "all"),
            ):
                value = params.get(key, default)
                if value not in allowed:
                    words = ", ".join(allowed)
                    yield f"{at(node)}: join {key} must be one of {words}, got {value!r}"
            window = params.get("window")
            if window is not None and not _positive(window, False):
                yield f"{at(node)}: join window must be seconds > 0, got {window!r}"
        case "route":
            ports = params.get("ports")
            good = isinstance(ports, tuple) and all(isinstance(p, str) and p for p in ports)
            if not good or len(set(ports or ())) != len(ports or ()):
                yield f"{at(node)}: routes must be different non-empty names, got {ports!r}"
        case "future":
            for key in ("max_items", "max_iterations"):
                value = params.get(key)
                if value is not None and not _positive(value, True):
                    yield f"{at(node)}: {key} must be an int >= 1, got {value!r}"


def _positive(value: Any, whole: bool) -> bool:
    kinds = (int,) if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and value > 0


def _duplicates(graph: StreamGraph) -> Iterator[str]:
    for what in ("name", "uid"):
        seen: dict[str, Node] = {}
        for node in graph.nodes.values():
            value = getattr(node, what)
            if value in seen:
                yield (
                    f"{at(node)} and {at(seen[value])} have the same {what} {value!r}: give one "
                    f"of them another {what}=..."
                )
            else:
                seen[value] = node


def _futures(graph: StreamGraph) -> Iterator[str]:
    fillers: dict[tuple[int, str | None], Node] = {}
    for node in graph.nodes.values():
        if node.kind != "future":
            continue
        edge = node.params.get("filled_by")
        if edge is None:
            yield f"{at(node)} is never filled: call env.fill_future(future, stream)"
            continue
        if not isinstance(edge, Edge):
            yield f"{at(node)} must be filled by one stream, got {edge!r}"
            continue
        yield from _edge_problems(graph, node, edge)
        if edge.source == node.id:
            yield f"{at(node)} is filled by itself"
        other = fillers.setdefault((edge.source, edge.port), node)
        if other is not node:
            yield f"{at(node)} and {at(other)} are filled by the same stream: use one of them"


def _undeclared_cycle(graph: StreamGraph) -> list[Node] | None:
    done: set[int] = set()
    for start in graph.nodes:
        path: list[int] = []
        on_path: set[int] = set()
        stack: list[tuple[int, Iterator[int]]] = [(start, _sources(graph, start))]
        while stack:
            node_id, rest = stack[-1]
            if node_id not in on_path:
                if node_id in done:
                    stack.pop()
                    continue
                path.append(node_id)
                on_path.add(node_id)
            following = next(rest, None)
            if following is None:
                stack.pop()
                path.pop()
                on_path.discard(node_id)
                done.add(node_id)
            elif following in on_path:
                return [graph.nodes[i] for i in reversed(path[path.index(following) :])]
            elif following not in done:
                stack.append((following, _sources(graph, following)))
    return None


def _sources(graph: StreamGraph, node_id: int) -> Iterator[int]:
    return (edge.source for edge in graph.nodes[node_id].inputs)


def _readers(graph: StreamGraph) -> set[tuple[int, str | None]]:
    read = {(edge.source, edge.port) for node in graph.nodes.values() for edge in node.inputs}
    for node in graph.nodes.values():
        edge = node.params.get("filled_by") if node.kind == "future" else None
        if isinstance(edge, Edge):
            read.add((edge.source, edge.port))
    return read


def _dangling(graph: StreamGraph) -> Iterator[str]:
    read = _readers(graph)
    for node in graph.nodes.values():
        if node.kind == "sink":
            continue
        if node.kind != "route":
            if (node.id, None) not in read:
                yield (
                    f"nothing reads {at(node)}, so its items would be lost: end it with "
                    ".sink(...), .print() or .discard()"
                )
            continue
        ports = node.params.get("ports", ())
        wanted = (
            [*ports, DEFAULT_ROUTE] if node.specs[0].label.lower().startswith("split") else ports
        )
        for port in wanted or [DEFAULT_ROUTE]:
            if (node.id, port) not in read:
                yield (
                    f"nothing reads the stream {port!r} of {at(node)}, so its items would be "
                    "lost: end it with .sink(...), .print() or .discard()"
                )


def _unreachable(graph: StreamGraph) -> Iterator[str]:
    reached: set[int] = set()
    fed: dict[int, list[int]] = {}
    for node in graph.nodes.values():
        edges = [*node.inputs]
        if node.kind == "future" and isinstance(node.params.get("filled_by"), Edge):
            edges.append(node.params["filled_by"])
        for edge in edges:
            fed.setdefault(edge.source, []).append(node.id)
    todo = [node.id for node in graph.nodes.values() if node.kind == "source"]
    while todo:
        node_id = todo.pop()
        if node_id not in reached:
            reached.add(node_id)
            todo.extend(fed.get(node_id, ()))
    if not todo and not reached:
        return  # said already: there is no source
    for node in graph.nodes.values():
        if node.id not in reached:
            yield f"{at(node)} is unreachable: no source leads to it"


def _unbounded(graph: StreamGraph) -> Iterator[str]:
    for node in graph.nodes.values():
        edge = node.params.get("filled_by")
        if node.kind != "future" or not isinstance(edge, Edge):
            continue
        if node.params.get("max_items") or node.params.get("max_iterations"):
            continue
        loop = _between(graph, node.id, edge.source)
        if loop and not any(graph.nodes[i].kind in _LETS_GO for i in loop):
            names = ", ".join(repr(graph.nodes[i].name) for i in sorted(loop))
            yield (
                f"the loop through {at(node)} never ends: none of its steps ({names}) can take "
                "an item out; put a .filter(...) or .route(...) into it, or give "
                "from_future(max_items=...)"
            )


def _between(graph: StreamGraph, start: int, end: int) -> set[int]:
    """Steps on a way from ``start`` to ``end``, both included; empty when there is none."""
    forward = _closure(start, lambda i: [node.id for node, _ in graph.consumers(i)])
    if end not in forward:
        return set()
    backward = _closure(end, lambda i: list(_sources(graph, i)))
    return forward & backward


def _closure(start: int, following: Any) -> set[int]:
    seen: set[int] = set()
    todo = [start]
    while todo:
        node_id = todo.pop()
        if node_id not in seen:
            seen.add(node_id)
            todo.extend(following(node_id))
    return seen


def _keys(graph: StreamGraph) -> Iterator[str]:
    for node in graph.nodes.values():
        keyed = [graph.is_keyed(edge) for edge in node.inputs]
        if node.kind == "join" and not all(keyed):
            sides = [
                repr(graph.nodes[edge.source].name)
                for edge, has_key in zip(node.inputs, keyed, strict=True)
                if not has_key
            ]
            verb = "is" if len(sides) == 1 else "are"
            yield (
                f"{at(node)} joins {' and '.join(sides)}, which {verb} not keyed: put "
                ".key_by(...) before connect, or use connect(...).key_by(left, right)"
            )
        gathers = node.kind in ("reduce", "window", "batch")
        if gathers and not all(keyed) and (node.options.parallelism or 1) > 1:
            yield (
                f"{at(node)} has parallelism {node.options.parallelism}, but its input is not "
                "keyed, so its result would depend on chance: put .key_by(...) before it"
            )


def _services(graph: StreamGraph) -> Iterator[str]:
    for node in graph.nodes.values():
        for spec in node.specs:
            needed: Iterable[str] = getattr(unwrapped(spec).target, "requires_services", ())
            for name in (needed,) if isinstance(needed, str) else needed:
                if name not in graph.services:
                    hint = (
                        "call env.set_memory()"
                        if name == "memory_service"
                        else f"call env.register_service({name!r}, ...)"
                    )
                    yield (
                        f"{at(node)} needs the service {name!r}, which is not registered"
                        f"{suggest(name, graph.services)}; {hint}"
                    )


def _types(graph: StreamGraph) -> Iterator[str]:
    wanted = infer(graph)
    for node in graph.nodes.values():
        kinds = wanted[node.id][0]
        edges = node.inputs
        if node.kind == "future":
            continue
        for i, edge in enumerate(edges):
            source = graph.nodes[edge.source]
            given = dict if edge.port == DEAD_LETTER else source.out_type
            expected = kinds[min(i, len(kinds) - 1)] if kinds else None
            if node.kind == "window":
                given = None if given is None else list[given]  # type: ignore[valid-type]
            if not is_assignable(given, expected):
                yield _mismatch(graph, source, node, given, expected)


def _mismatch(graph: StreamGraph, source: Node, node: Node, given: Any, wanted: Any) -> str:
    """Names the step that made the items, also where others handed them on as they were."""
    maker, through = source, []
    while maker.kind in ("filter", "keyby", "route") and maker.inputs:
        if maker.options.type is not None:
            break
        through.append(repr(maker.name))
        maker = graph.nodes[maker.inputs[0].source]
    via = f" through {' and '.join(reversed(through))}" if through else ""
    return f"{at(maker)} gives {show(given)}{via}, but {at(node)} takes {show(wanted)}"


def at(node: Node) -> str:
    """The step as messages name it, with the place of its call where that is known."""
    place = _place(node)
    return f"step {node.name!r}" + (f" ({place})" if place else "")


def _place(node: Node) -> str:
    return "" if node.location is None else f"{node.location[0]}:{node.location[1]}"
