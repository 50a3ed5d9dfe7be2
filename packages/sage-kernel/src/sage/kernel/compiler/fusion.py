"""Which steps run together: the plan of segments and channels for a validated graph.

Consecutive synchronous steps of the same width fuse into one segment (one thread, one generated
function), fan-out and fan-in included as long as the generated code stays small; consecutive async
steps fuse into one coroutine under one in-flight budget. A step gets a segment of its own when it
is asynchronous beside synchronous ones, vectorised, in processes, keyed with several subtasks,
timed behind a source (a source that blocks cannot fire timers), or reached by feedback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.common.errors import GraphError
from sage.kernel.compiler import traits
from sage.kernel.compiler.model import ChannelPlan, ExecutionGraph, SegmentPlan
from sage.kernel.graph.model import DEAD_LETTER, Edge, Node, StreamGraph

DEFAULT_IN_FLIGHT = 32
"""Items in flight of an async segment when neither the step nor the environment says."""

MAX_COPIES = 8
"""Largest number of steps repeated in generated code where two branches meet."""

MAX_DEPTH = 5
"""Nested expansions (flatmap, branch) in one generated function: CPython allows 20 blocks."""

STATEFUL = frozenset({"window", "batch", "process", "reduce", "join"})
KEYED_KINDS = frozenset({"window", "process", "reduce", "join"})
PROCESS_KINDS = ("map", "flatmap", "filter", "route", "sink")
"""Steps that can run in worker processes."""


def plan_execution(graph: StreamGraph) -> ExecutionGraph:
    """Plan segments and channels. The graph must be valid."""
    return _Planner(graph).run()


def mode_of(node: Node, config: Mapping[str, Any]) -> tuple[str, int]:
    """How a step runs by itself: ``(mode, width)``; see ``sage.kernel.compiler.model``."""
    options = node.options
    if node.kind in ("source", "future", "union", "batch", "window", "reduce", "keyby"):
        return "sync", 1
    if options.executor == "process":
        if node.kind not in PROCESS_KINDS:
            raise GraphError(
                f"step {node.name!r}: executor='process' is for {', '.join(PROCESS_KINDS)} steps; "
                f"put the expensive part of this {node.kind} into a map before it",
                step=node.name,
            )
        return "process", options.parallelism or int(config.get("processes") or _cpu_count())
    vector = any(traits.batch_method_of(s) is not None for s in node.specs) and node.kind == "map"
    if any(traits.is_async(spec, node.kind) for spec in node.specs):
        default = int(config.get("max_in_flight") or DEFAULT_IN_FLIGHT)
        width = options.concurrency or options.parallelism or default
        return ("vector_async" if vector else "async"), width
    if vector:
        return "vector", options.parallelism or 1
    if node.kind in STATEFUL:
        return "sync", 1
    width = options.parallelism or options.concurrency or 1
    return ("parallel" if width > 1 else "sync"), width


def _cpu_count() -> int:
    import os  # noqa: PLC0415 - only when a step runs in processes

    return os.cpu_count() or 1


def is_timed(node: Node) -> bool:
    """Whether the step may want to be called by the clock."""
    params = node.params
    return (
        node.kind == "process"
        or (node.kind == "window" and params.get("type") == "time")
        or (node.kind == "batch" and params.get("timeout") is not None)
        or (node.kind == "join" and params.get("window") is not None)
    )


class _Planner:
    def __init__(self, graph: StreamGraph) -> None:
        self.graph = graph
        self.config = graph.config
        self.fusion = bool(graph.config.get("fusion", True))
        self.plan = ExecutionGraph()
        self.edges: dict[int, list[tuple[Edge, bool]]] = {}
        self.depth: dict[int, int] = {}
        self.steps: dict[int, int] = {}

    def run(self) -> ExecutionGraph:
        plan = self.plan
        for node in self.graph.nodes.values():
            if node.kind != "future":
                plan.nodes[node.id] = node
                plan.consumers[node.id] = []
        for node in plan.nodes.values():
            self.edges[node.id] = [self._resolve(edge) for edge in node.inputs]
        for node in plan.nodes.values():
            for index, (edge, _) in enumerate(self.edges[node.id]):
                plan.consumers[edge.source].append((node, index, edge.port))
        self._find_keys()
        self._set_flags()
        for node in self._topological():
            self._place(node)
        for node in plan.nodes.values():
            self._connect(node)
        self._find_loops()
        return plan

    def _resolve(self, edge: Edge) -> tuple[Edge, bool]:
        feedback = False
        while (node := self.graph.nodes[edge.source]).kind == "future":
            edge, feedback = node.params["filled_by"], True
        return edge, feedback

    def _most_feedback(self, node: Node, index: int) -> int | None:
        """How many items may come through an input that is fed back (``max_items``)."""
        source = self.graph.nodes[node.inputs[index].source]
        most: int | None = source.params.get("max_items") if source.kind == "future" else None
        return most

    def _find_keys(self) -> None:
        """Which key_by gives the key of an input: the nearest one, seen through filters."""
        for node in self.plan.nodes.values():
            for index, (edge, _) in enumerate(self.edges[node.id]):
                up = self.plan.nodes[edge.source]
                while up.kind == "filter" and edge.port != DEAD_LETTER:
                    edge, _ = self.edges[up.id][0]  # noqa: PLW2901 - one step up
                    up = self.plan.nodes[edge.source]
                if up.kind == "keyby" and edge.port != DEAD_LETTER:
                    self.plan.key_of[node.id, index] = up

    def _set_flags(self) -> None:
        flags = self.plan.flags
        for node in self.plan.nodes.values():
            mine = flags[node.id] = set()
            if any(traits.is_async(spec, node.kind) for spec in node.specs):
                mine.add("async")
            if any(traits.is_async_generator(spec, node.kind) for spec in node.specs):
                mine.add("async_generator")
            if node.options.retry is not None or node.options.on_error not in ("fail", "skip"):
                mine.add("materialise")
        for node in self.plan.nodes.values():
            if any((node.id, i) in self.plan.key_of for i in range(len(node.inputs))):
                if node.kind in KEYED_KINDS:
                    flags[node.id].add("uses_key")
                elif (
                    node.kind not in ("filter", "keyby", "union")
                    and any(traits.is_step_object(spec) for spec in node.specs)
                    and "async" not in flags[node.id]
                ):
                    flags[node.id] |= {"uses_key", "context_key"}
        for node in self.plan.nodes.values():
            if "uses_key" in flags[node.id]:
                for index in range(len(node.inputs)):
                    self._mark_key_used(node, index)

    def _mark_key_used(self, node: Node, index: int) -> None:
        key = self.plan.key_of.get((node.id, index))
        if key is None:
            return
        self.plan.flags[key.id].add("key_used")
        up = self.plan.nodes[self.edges[node.id][index][0].source]
        while up.kind == "filter":
            self.plan.flags[up.id].add("uses_key")
            up = self.plan.nodes[self.edges[up.id][0][0].source]

    def _topological(self) -> list[Node]:
        waiting = {
            node.id: sum(not feedback for _, feedback in self.edges[node.id])
            for node in self.plan.nodes.values()
        }
        ready = [node for node in self.plan.nodes.values() if waiting[node.id] == 0]
        order: list[Node] = []
        while ready:
            node = ready.pop(0)
            order.append(node)
            for consumer, index, _ in self.plan.consumers[node.id]:
                if self.edges[consumer.id][index][1]:
                    continue
                waiting[consumer.id] -= 1
                if waiting[consumer.id] == 0:
                    ready.append(consumer)
        return order

    def _subtasks(self, node: Node) -> int:
        parallelism = node.options.parallelism or node.options.concurrency or 1
        if node.options.executor == "process" or parallelism == 1 or node.kind == "keyby":
            return 1
        if node.kind == "map" and any(traits.batch_method_of(spec) for spec in node.specs):
            return 1
        keys = [self.plan.key_of.get((node.id, i)) for i in range(len(self.edges[node.id]))]
        if node.kind in KEYED_KINDS:
            return parallelism if all(keys) and keys else 1
        stateful = any(traits.is_step_object(spec) for spec in node.specs)
        asynchronous = any(traits.is_async(spec, node.kind) for spec in node.specs)
        return parallelism if all(keys) and keys and stateful and not asynchronous else 1

    def _place(self, node: Node) -> None:
        subtasks = self._subtasks(node)
        mode, width = ("sync", 1) if subtasks > 1 else mode_of(node, self.config)
        reason, host = self._host(node, mode, width, subtasks)
        if host is None:
            ordered = node.options.ordered is not False
            host = SegmentPlan(len(self.plan.segments), mode, width=width, ordered=ordered)
            host.subtasks = subtasks
            self.plan.segments.append(host)
            self.depth[host.id] = self.steps[host.id] = 0
            host.decisions.append(f"{node.name}: {reason}")
        elif reason:
            host.decisions.append(f"{node.name}: {reason}")
        host.nodes.append(node)
        self.plan.segment_of[node.id] = host
        self.steps[host.id] += 1
        ups = [self.plan.nodes[edge.source] for edge, _ in self.edges[node.id]]
        if node.kind in ("flatmap", "window", "process", "batch", "route") or any(
            len(self.plan.consumers[up.id]) > 1 for up in ups
        ):
            self.depth[host.id] += 1

    def _host(
        self, node: Node, mode: str, width: int, subtasks: int
    ) -> tuple[str, SegmentPlan | None]:
        """The segment a step joins, or ``None`` and the reason for a new one."""
        edges = self.edges[node.id]
        if not edges:
            return "starts a thread: it is a source", None
        if any(feedback for _, feedback in edges):
            return "reads feedback, so it has an inbox of its own", None
        if any(edge.port == DEAD_LETTER for edge, _ in edges):
            return "reads dead letters, so it has an inbox of its own", None
        hosts = {self.plan.segment_of[edge.source].id for edge, _ in edges}
        host = self.plan.segments[next(iter(hosts))]
        problem = ""
        if not self.fusion:
            problem = "fusion is off"
        elif subtasks > 1:
            problem = f"keyed, {subtasks} subtasks by hash of the key"
        elif mode in ("vector", "vector_async", "process"):
            problem = {
                "vector": "has execute_batch: gets natural batches",
                "vector_async": "has async execute_batch: gets natural batches",
                "process": f"runs in {width} worker processes",
            }[mode]
        elif len(hosts) > 1:
            problem = "its inputs come from different segments"
        elif host.mode != mode or host.subtasks != subtasks:
            problem = f"is {mode} after {host.mode}"
        elif mode in ("async", "parallel") and (
            not self._same_budget(node, host, width)
            or len(self.plan.consumers[edges[0][0].source]) > 1
        ):
            problem = f"has another {mode} budget" if host.width != width else "input fans out"
        elif is_timed(node) and host.source is not None:
            problem = "has timers, which a blocked source could not fire"
        elif len(edges) > 1 and self._copies(node) > MAX_COPIES:
            problem = "too many steps to repeat where branches meet"
        elif self.depth[host.id] >= MAX_DEPTH or self.steps[host.id] >= 60:
            problem = "the generated function would nest too deep"
        if problem:
            return problem, None
        return f"fused into segment {host.id}", host

    def _same_budget(self, node: Node, host: SegmentPlan, width: int) -> bool:
        said = node.options.concurrency or node.options.parallelism
        ordered = node.options.ordered is not False
        return host.ordered == ordered and (said is None or width == host.width)

    def _copies(self, node: Node) -> int:
        """Steps downstream of a meeting point, which the generated code has once per input."""
        seen: set[int] = set()
        todo = [node.id]
        while todo:
            current = todo.pop()
            if current not in seen:
                seen.add(current)
                todo.extend(consumer.id for consumer, _, _ in self.plan.consumers[current])
        return len(seen)

    def _connect(self, node: Node) -> None:
        plan = self.plan
        target = plan.segment_of[node.id]
        for index, (edge, feedback) in enumerate(self.edges[node.id]):
            source = plan.segment_of[edge.source]
            if source is target and not feedback:
                continue
            channel = ChannelPlan(
                len(plan.channels),
                edge.source,
                edge.port,
                node.id,
                index,
                keyed="uses_key" in plan.flags[node.id] and (node.id, index) in plan.key_of,
                feedback=feedback,
                most=self._most_feedback(node, index),
            )
            plan.channels.append(channel)
            source.outputs.append(channel)
            target.inputs.append(channel)

    def _find_loops(self) -> None:
        """Sets of segments that feed back into themselves; their channels are counted."""
        reach: dict[int, set[int]] = {}
        after: dict[int, set[int]] = {segment.id: set() for segment in self.plan.segments}
        for channel in self.plan.channels:
            after[self.plan.segment_of[channel.source].id].add(
                self.plan.segment_of[channel.target].id
            )
        for start, direct in after.items():
            seen: set[int] = set()
            todo = list(direct)
            while todo:
                current = todo.pop()
                if current not in seen:
                    seen.add(current)
                    todo.extend(after[current])
            reach[start] = seen
        placed: set[int] = set()
        for segment in self.plan.segments:
            if segment.id in placed or segment.id not in reach[segment.id]:
                continue
            loop = {other for other in reach[segment.id] if segment.id in reach[other]}
            placed |= loop
            self.plan.loops.append(loop)
        for channel in self.plan.channels:
            channel.counted = any(
                self.plan.segment_of[channel.target].id in loop for loop in self.plan.loops
            )
