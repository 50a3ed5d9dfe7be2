"""Numbers of a step, added up over its tasks.

Predecessor: the tasks; successor: ``job.metrics()``.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from sage.kernel.compiler.model import SegmentPlan
from sage.kernel.graph.model import Node
from sage.kernel.runtime.metrics import StepMetrics, describe
from sage.kernel.runtime.task import Task


def describe_step(node: Node, segment: SegmentPlan, tasks: list[Task]) -> dict[str, Any]:
    """What ``job.metrics()`` says of a step; see there."""
    step = StepMetrics()
    into = out = queue = flight = 0
    idle = blocked = elapsed = 0.0
    counters: dict[str, float] = {}
    now = perf_counter()
    for task in tasks:
        step.add(task.steps[node.id])
        flow = task.flows()[node.id]
        into, out = into + flow[0], out + flow[1]
        if node is segment.nodes[0] or any(p.target == node.id for p, _ in task.inputs):
            queue += sum(len(c.items) for p, c in task.inputs if p.target == node.id)
        flight = max(flight, task.in_flight())
        if task.started:
            elapsed += (task.ended or now) - task.started
            idle += task.gate.idle_seconds if task.gate is not None else 0.0
            idle += task.async_idle(now)
            blocked += sum(c.blocked_seconds for cs in task.outputs.values() for c in cs)
        for name, amount in task.custom_counters(node.id).items():
            counters[name] = counters.get(name, 0) + amount
    width = elapsed or 1.0
    idle_ratio = min(1.0, idle / width)
    back_ratio = min(1.0 - idle_ratio, blocked / width)
    return describe(
        node.name,
        node.kind,
        into=into,
        out=out,
        step=step,
        queue=queue,
        busy=max(0.0, 1.0 - idle_ratio - back_ratio) if elapsed else 0.0,
        idle=idle_ratio,
        backpressured=back_ratio,
        in_flight=flight,
        segment=segment.id,
        counters=counters,
    )
