"""Run a graph in this process: no port, no daemon, no signal handlers.

Predecessor: ``sage.kernel.compiler``; what it makes is a running ``sage.kernel.runtime.job.Job``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sage.kernel.compiler.fusion import plan_execution
from sage.kernel.compiler.model import ExecutionGraph, SegmentPlan
from sage.kernel.graph.model import DEAD_LETTER, StreamGraph
from sage.kernel.runtime.channel import (
    DEFAULT_BYTES,
    DEFAULT_CAPACITY,
    SLOW_CAPACITY,
    Channel,
)
from sage.kernel.runtime.exit import track
from sage.kernel.runtime.job import Job
from sage.kernel.runtime.loops import LoopGuard
from sage.kernel.runtime.sharing import Sharing
from sage.kernel.runtime.sync_task import SyncTask
from sage.kernel.runtime.task import Task

if TYPE_CHECKING:
    from sage.kernel.runtime.durable import Durable


def submit_local(graph: StreamGraph) -> Job:
    """Compile a validated graph and start it.

    Functions are constructed here, so that a wrong configuration raises before anything runs;
    services start before the tasks. Ctrl-C meanwhile ends what has started and is raised again.

    Raises:
        ConfigError: The configuration of a step is wrong.
        ServiceError: A service does not start.
    """
    plan = plan_execution(graph)
    durable = make_durable(graph, plan)
    job = Job(new_job_id() if durable is None else durable.run.id, graph, plan, durable)
    try:
        services = make_services(job, graph)
        job._services = services
        job.rebuild = partial(build_tasks, job, plan, graph, durable)
        tasks = job.rebuild()
        if services is not None:
            services.start()
        track(job)
        job.start(tasks, services)
    except BaseException as error:
        job.start_failed(error)
        raise
    return job


def make_durable(graph: StreamGraph, plan: ExecutionGraph) -> Durable | None:
    """The run that the job executes, where fault tolerance is on."""
    if not graph.config.get("fault_tolerance"):
        return None
    from sage.kernel.runtime.durable import Durable  # noqa: PLC0415 - attrs, msgspec

    return Durable(graph, plan, new_job_id())


def build_tasks(
    job: Job, plan: ExecutionGraph, graph: StreamGraph, durable: Durable | None
) -> list[Task]:
    """New tasks, connected, in the state of the checkpoint they go on from."""
    job.sharing = Sharing()
    job.barrier = 0
    if durable is not None:
        job.checkpoints = durable.coordinate(job)
    tasks = make_tasks(job, plan)
    connect(job, plan, tasks, graph)
    if durable is not None:
        durable.restore(tasks)
    return [task for group in tasks.values() for task in group]


def new_job_id() -> str:
    """A sortable unique id: milliseconds and 40 random bits."""
    import os  # noqa: PLC0415
    import time  # noqa: PLC0415

    return f"job-{int(time.time() * 1000):011x}-{os.urandom(5).hex()}"


def make_services(job: Job, graph: StreamGraph) -> Any:
    """The registry of the graph's services, or ``None`` without any."""
    if not graph.services:
        return None
    from sage.kernel.runtime.services import ServiceRegistry  # noqa: PLC0415

    registry = ServiceRegistry(
        job_id=job.id, job_name=job.name, config=graph.config, async_runner=job.run_async
    )
    for name, (target, args, kwargs) in graph.services.items():
        registry.register(name, target, args, kwargs)
    return registry


def make_tasks(job: Job, plan: ExecutionGraph) -> dict[int, list[Task]]:
    """Tasks by segment id, one per subtask."""
    guards = [(loop, LoopGuard()) for loop in plan.loops]
    tasks: dict[int, list[Task]] = {}
    for segment in plan.segments:
        guard = next((g for loop, g in guards if segment.id in loop), None)
        kind = task_class(segment)
        tasks[segment.id] = [kind(job, plan, segment, i, guard) for i in range(segment.subtasks)]
    return tasks


def task_class(segment: SegmentPlan) -> type[Task]:
    """The task that runs a segment of this mode; imported when it is needed."""
    if segment.mode == "sync":
        return SyncTask
    if segment.mode == "async":
        from sage.kernel.runtime.async_task import AsyncTask  # noqa: PLC0415 - imports asyncio

        return AsyncTask
    if segment.mode == "process":
        from sage.kernel.runtime.process_task import ProcessTask  # noqa: PLC0415

        return ProcessTask
    from sage.kernel.runtime.pooled_task import ParallelTask, VectorTask  # noqa: PLC0415

    return ParallelTask if segment.mode == "parallel" else VectorTask


def connect(
    job: Job, plan: ExecutionGraph, tasks: dict[int, list[Task]], graph: StreamGraph
) -> None:
    """Make the channels: one per producing and consuming subtask."""
    chosen = graph.config.get("channel_capacity")
    most_bytes = int(graph.config.get("channel_bytes") or DEFAULT_BYTES)
    for channel_plan in plan.channels:
        producers = tasks[plan.segment_of[channel_plan.source].id]
        consumers = tasks[plan.segment_of[channel_plan.target].id]
        slow = consumers[0].segment.mode != "sync"
        capacity = int(chosen or (SLOW_CAPACITY if slow else DEFAULT_CAPACITY))
        inside = {task.segment.id for task in consumers}
        for producer in producers:
            made: list[Channel] = []
            for consumer in consumers:
                channel = Channel(
                    capacity=capacity,
                    max_bytes=most_bytes,
                    unbounded=channel_plan.feedback,
                    reader=consumer.signal,
                )
                made.append(channel)
                consumer.inputs.append((channel_plan, channel))
                if consumer.guard is not None:
                    consumer.guard.add(
                        channel,
                        feedback=channel_plan.feedback,
                        outside=not _in_loop(plan, producer.segment.id, inside),
                    )
            if channel_plan.port == DEAD_LETTER:
                producer.letters.setdefault(channel_plan.source, []).extend(made)
            else:
                producer.outputs[channel_plan.id] = made
    for group in tasks.values():
        for task in group:
            task.prepare()


def _in_loop(plan: ExecutionGraph, producer: int, consumers: set[int]) -> bool:
    return any(producer in loop and consumers & loop for loop in plan.loops)
