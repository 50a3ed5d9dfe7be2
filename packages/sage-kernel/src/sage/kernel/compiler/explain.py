"""The physical plan as text: segments, channels, and why each decision was made."""

from __future__ import annotations

from sage.kernel.compiler.fusion import plan_execution
from sage.kernel.compiler.model import ChannelPlan, ExecutionGraph, SegmentPlan
from sage.kernel.graph.model import StreamGraph

_HOW = {
    "sync": "one thread",
    "parallel": "{width} threads sharing one inbox",
    "async": "the event loop, up to {width} items in flight",
    "vector": "{width} thread(s), natural batches to execute_batch",
    "vector_async": "{width} thread(s), natural batches to an async execute_batch",
    "process": "{width} worker processes",
}


def explain_plan(graph: StreamGraph) -> str:
    """Describe how a valid graph will run.

    Args:
        graph: The logical graph.

    Returns:
        Lines: one block per segment with its steps, how it runs, its channels and the reasons.
    """
    plan = plan_execution(graph)
    lines = ["physical plan:"]
    for segment in plan.segments:
        lines += _segment(plan, segment)
    for loop in plan.loops:
        members = ", ".join(str(i) for i in sorted(loop))
        lines.append(f"  loop over segments {members}: ends when it is empty and its inputs ended")
    return "\n".join(lines)


def _segment(plan: ExecutionGraph, segment: SegmentPlan) -> list[str]:
    how = _HOW[segment.mode].format(width=segment.width)
    if segment.subtasks > 1:
        how += f", {segment.subtasks} subtasks by hash of the key"
    if segment.mode != "sync" and not segment.ordered:
        how += ", results as they come"
    lines = [f"  segment {segment.id}: {segment.name}", f"    runs on {how}"]
    lines += [f"    {_channel(plan, channel)}" for channel in segment.outputs]
    lines += [f"    - {decision}" for decision in segment.decisions]
    for node in segment.nodes:
        if node.kind == "keyby" and "key_used" not in plan.flags[node.id]:
            lines.append(f"    - {node.name}: the key is not computed, no step after it needs it")
    return lines


def _channel(plan: ExecutionGraph, channel: ChannelPlan) -> str:
    target = plan.segment_of[channel.target]
    how = "by hash of the key" if target.subtasks > 1 else "in order"
    if channel.feedback:
        how = "feedback, unbounded"
    port = f" (route {channel.port!r})" if channel.port is not None else ""
    return f"-> segment {target.id}: {plan.nodes[channel.target].name}{port}, {how}"
