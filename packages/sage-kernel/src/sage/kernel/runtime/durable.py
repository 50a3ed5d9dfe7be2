"""The part of a job that makes it survive: its run folder, coordinator, restore and restarts.

Predecessor: ``sage.kernel.runtime.local.submit``; successor: ``sage.kernel.checkpoint``.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from sage.api.context import RuntimeContext
from sage.common.errors import GraphError, JobError
from sage.kernel.checkpoint.coordinator import Coordinator
from sage.kernel.checkpoint.restarts import RestartPolicy
from sage.kernel.checkpoint.runs import FINISHED, Run, open_run, replace_run
from sage.kernel.checkpoint.settings import FaultTolerance, fault_tolerance
from sage.kernel.checkpoint.store import Checkpoint, CheckpointInfo, CheckpointStore, open_savepoint
from sage.kernel.compiler.model import ExecutionGraph
from sage.kernel.graph.model import StreamGraph
from sage.kernel.runtime.partaking import PartakingServices, roll_back
from sage.kernel.runtime.snapshots import Saved, restore_records
from sage.kernel.runtime.task import Task
from sage.kernel.state.annotations import check_annotation

if TYPE_CHECKING:
    from sage.kernel.runtime.job import Job


class Durable:
    """Run, checkpoints and restarts of one job.

    Attributes:
        settings: Fault tolerance of the environment.
        run: The run, locked until ``close``.
        coordinator: Of the tasks that run now.
        restored: Number of the checkpoint the tasks go on from, or ``None``.
    """

    def __init__(self, graph: StreamGraph, plan: ExecutionGraph, new_id: str) -> None:
        settings = fault_tolerance(graph.config)
        assert settings is not None, "made only for environments with fault tolerance"
        refuse_types(plan)
        self.settings: FaultTolerance = settings
        self.run: Run = open_run(settings, graph.name, new_id)
        self.restored: int | None = None
        self.coordinator: Coordinator
        self._plan = plan
        self._restarts = RestartPolicy(settings.restart)
        self._started = 0.0
        self._began = False
        try:
            self._store = CheckpointStore(
                self.run.checkpoints, keep=settings.keep, durability=settings.durability
            )
            self._checkpoint = self._first_checkpoint()
        except BaseException:
            self.run.close()
            raise

    def _first_checkpoint(self) -> Checkpoint | None:
        newest = self._store.load() if self.run.resumed else None
        if newest is None and self.settings.savepoint is not None:
            return open_savepoint(self.settings.savepoint)
        return newest

    # ------------------------------------------------------------------ tasks

    def coordinate(self, job: Job) -> Coordinator:
        """A coordinator for tasks about to be made."""
        known = self._store.list()
        settings = self.settings
        self.coordinator = Coordinator(
            self._store,
            interval=settings.interval,
            every=settings.every,
            timeout=settings.timeout,
            first=max((info.id for info in known), default=0) + 1,
            announce=job.announce,
            tell=job.tell,
            failed=job.closing_failed,
        )
        if job.ledger is not None:
            self.coordinator.before_write = job.ledger.store.drain
        return self.coordinator

    def restore(self, job: Job, tasks: Mapping[int, list[Task]]) -> None:
        """Give new tasks the state of the checkpoint they go on from, if there is one.

        Raises:
            JobError: It holds what no step of the graph takes, and that is not to be dropped.
        """
        self.coordinator.facts = self._facts(tasks)
        checkpoint = self._checkpoint
        if checkpoint is None:
            return
        saved = Saved(checkpoint.parts, checkpoint.facts)
        for group in tasks.values():
            for task in group:
                task.restore(saved)
        plan = self._plan
        producers = {
            cid: channels
            for segment in plan.segments
            for task in reversed(tasks[segment.id])
            for cid, channels in task.outputs.items()
        }
        for node in plan.nodes.values():
            restore_records(saved, plan, node, producers)
        job.letters.rewind({node.uid: set(saved.letters(node.uid)) for node in plan.nodes.values()})
        left = saved.left()
        if left and not self.settings.allow_dropped:
            raise JobError(
                f"checkpoint {checkpoint.id} of run {self.run.id} holds state that no step of this "
                f"graph takes: {'; '.join(left)}. Give the steps the uid they had, or set "
                "allow_dropped=True to go on without it"
            )
        self.restored = checkpoint.id

    def _epoch(self) -> int:
        """Number of the checkpoint of this run that the tasks go on from, 0 without one."""
        checkpoint = self._checkpoint
        if checkpoint is None or checkpoint.facts.get("run") != self.run.id:
            return 0
        return checkpoint.id

    def attach(
        self, context: RuntimeContext, services: Any, lock: AbstractContextManager[Any]
    ) -> None:
        """Let what a step writes outside of the job be known by its epoch."""
        context.epoch = self._epoch()
        if services is not None:
            context._services = PartakingServices(services, context, lock)

    def roll_back(self, tasks: Iterable[Task], services: Any) -> None:
        """Take what was written outside of the job back to where the tasks go on from.

        Called when the services have started and before the tasks run.

        Raises:
            JobError: The run that the savepoint is from is being executed.
        """
        tasks, checkpoint = list(tasks), self._checkpoint
        if self.run.resumed or self._began:
            roll_back(tasks, services, self.run.id, self._epoch())
        run = self.run.id if checkpoint is None else str(checkpoint.facts.get("run"))
        if checkpoint is not None and run != self.run.id and self.settings.roll_back:
            replace_run(self.settings.store, run, self.run.id)
            roll_back(tasks, services, run, checkpoint.id)
        self._began = True

    def _facts(self, tasks: Mapping[int, list[Task]]) -> Mapping[str, Any]:
        steps = {}
        for node in self._plan.nodes.values():
            group = tasks[self._plan.segment_of[node.id].id]
            count = sum(len(task.all_functions) for task in group)
            steps[node.uid] = {"name": node.name, "kind": node.kind, "subtasks": count}
        return {
            "run": self.run.id,
            "name": self.run.facts["name"],
            "sage": version("isage-kernel"),
            "python": platform.python_version(),
            "steps": steps,
        }

    # ------------------------------------------------------------------ life cycle

    def started(self) -> None:
        """The tasks run."""
        self._started = monotonic()
        self.run.record(status="RUNNING")

    def savepoint(self, path: Path, timeout: float | None) -> CheckpointInfo:
        """Take a checkpoint and export it."""
        return self.coordinator.request(path, timeout)

    def restart_delay(self) -> float | None:
        """Seconds to wait before the job starts again after a failure; ``None``: it has failed."""
        now = monotonic()
        return self._restarts.next_delay(now, now - self._started)

    def reload(self) -> None:
        """Go on from the newest checkpoint (of this run, if it has one by now)."""
        self.coordinator.stop()
        self._checkpoint = self._store.load() or self._checkpoint

    def finish(self) -> None:
        """All input is worked off: the last checkpoint, then the run is over."""
        self.coordinator.finish()
        self.run.record(status=FINISHED)

    def close(self, status: str) -> None:
        """The job ended, or never began; let the run go."""
        if hasattr(self, "coordinator"):
            self.coordinator.stop()
        try:
            if self.run.facts.get("status") != FINISHED:
                self.run.record(status=status)
        finally:
            self._store.close()
            self.run.close()


def refuse_types(plan: ExecutionGraph) -> None:
    """Refuse a plan whose records on their way are of a type that cannot be saved, where known.

    Records are saved in front of steps that work on several at a time, and in loops.

    Raises:
        GraphError: Names each such step and type.
    """
    problems = []
    for channel in plan.channels:
        node, source = plan.nodes[channel.target], plan.nodes[channel.source]
        if plan.segment_of[node.id].mode == "sync" and not channel.feedback:
            continue
        for declared in (node.in_type, source.out_type):
            problem = None if declared is None else check_annotation(declared)
            if problem is not None:
                problems.append(
                    f"step {node.name!r} takes items that no checkpoint holds: {problem}"
                )
                break
    if problems:
        raise GraphError("; ".join(problems))
