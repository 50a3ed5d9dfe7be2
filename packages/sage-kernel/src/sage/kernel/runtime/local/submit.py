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
    from collections.abc import Callable

    from sage.kernel.ledger.run import RunLedger
    from sage.kernel.runtime.durable import Durable
    from sage.kernel.runtime.recording import Recording


def submit_local(
    graph: StreamGraph,
    job_id: str | None = None,
    *,
    ledger: RunLedger | None = None,
    before: Callable[[Job], None] | None = None,
) -> Job:
    """Compile a validated graph and start it.

    Functions are constructed here, so that a wrong configuration raises before anything runs;
    services start before the tasks. Ctrl-C meanwhile ends what has started and is raised again.

    Args:
        graph: The graph.
        job_id: Id of the job, and of its run if that is a new one; default: a new id.
        ledger: Where calls are recorded or found, in place of the one the settings name; the job
            closes it.
        before: Called with the job before it starts.

    Raises:
        ConfigError: The configuration of a step is wrong.
        ServiceError: A service does not start.
    """
    plan = plan_execution(graph)
    new_id = job_id or new_job_id()
    durable = make_durable(graph, plan, new_id)
    job = Job(new_id if durable is None else durable.run.id, graph, plan, durable)
    try:
        if ledger is not None or (durable is not None and durable.settings.ledger):
            job.recording = make_recording(job, graph, ledger)
        if before is not None:
            before(job)
        if graph.config.get("limits") or graph.config.get("budget"):
            from sage.kernel.runtime.budgets import make_scheduling  # noqa: PLC0415 - attrs, YAML

            make_scheduling(job, graph, durable)
        services = make_services(job, graph)
        job._services = services
        job.again = runs_again
        job.rebuild = partial(build_tasks, job, plan, graph, durable)
        tasks = job.rebuild()
        if services is not None:
            services.start()
        if durable is not None:
            durable.roll_back(tasks, services)
        track(job)
        job.start(tasks, services)
    except BaseException as error:
        job.start_failed(error)
        raise
    return job


def runs_again() -> Any:
    """The module that makes runs from recorded ones."""
    from sage.kernel.runtime.local import again  # noqa: PLC0415 - it imports this module

    return again


def make_durable(graph: StreamGraph, plan: ExecutionGraph, new_id: str) -> Durable | None:
    """The run that the job executes, where fault tolerance is on."""
    if not graph.config.get("fault_tolerance"):
        return None
    from sage.kernel.runtime.durable import Durable  # noqa: PLC0415 - attrs, msgspec

    return Durable(graph, plan, new_id)


def make_recording(job: Job, graph: StreamGraph, ledger: RunLedger | None) -> Recording:
    """What lets the steps of the job record their calls."""
    from sage.kernel.runtime.recording import (  # noqa: PLC0415 - sqlite3, only with a ledger
        Recording,
        check_ledgered,
        open_job_ledger,
    )

    check_ledgered(graph)
    return Recording(ledger or open_job_ledger(job, graph), job, graph)


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
        durable.restore(job, tasks)
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
