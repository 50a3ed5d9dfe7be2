"""What a plugin can listen to: hook specifications, one class per subject.

All are observers. A hook is called after the fact (or just before, where its name says so), in the
process in which the thing happened; its return value is ignored; an exception it raises is logged
with the plugin's distribution and changes nothing. Never one call per record. A hook should return
quickly: it runs on the thread that reports the event. Listeners are called in the reverse order of
registration (``tryfirst`` and ``trylast`` are honoured), and take only the arguments they name.

Successor: ``sage.common.hooks.manager``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pluggy

PROJECT = "sage"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class JobHooks:
    """A job as a whole. Called in the process that submitted or supervises the job."""

    @hookspec
    def job_submitted(self, job_id: str, name: str, graph: Mapping[str, Any]) -> None:
        """A job was accepted, before its first task starts; on the thread that submits.

        Args:
            job_id: Id of the run.
            name: Name of the environment.
            graph: The stream graph as plain data, as ``env.graph()`` returns it.
        """

    @hookspec
    def job_finished(
        self, job_id: str, name: str, status: str, error: BaseException | None
    ) -> None:
        """A job has ended and its steps are closed; once per job, on the thread that ended it.

        Args:
            job_id: Id of the run.
            name: Name of the environment.
            status: ``FINISHED``, ``FAILED`` or ``CANCELED``.
            error: What made it fail, else ``None``.
        """


class TaskHooks:
    """One subtask of a job. Called in the process of the task, on the task's own thread."""

    @hookspec
    def task_started(self, job_id: str, operator: str, subtask: int) -> None:
        """The steps of a task are open, before its first record.

        Args:
            job_id: Id of the run.
            operator: Name of the task: its step, or its fused steps joined by ``→``.
            subtask: Index of the subtask.
        """

    @hookspec
    def task_failed(self, job_id: str, operator: str, subtask: int, error: BaseException) -> None:
        """A task stops because of ``error``; called before ``task_finished``.

        Not for items that a policy (skip, retry, dead letter) took care of.
        """

    @hookspec
    def task_finished(
        self, job_id: str, operator: str, subtask: int, metrics: Mapping[str, Any]
    ) -> None:
        """A task has ended, in whatever way, and its steps are closed.

        Args:
            job_id: Id of the run.
            operator: Name of the task.
            subtask: Index of the subtask.
            metrics: Its last counters, as ``job.metrics()`` shows them.
        """


class CheckpointHooks:
    """Checkpoints. Called in the process that coordinates them, on the coordinator's thread."""

    @hookspec
    def checkpoint_completed(
        self, job_id: str, checkpoint_id: int, duration: float, size: int
    ) -> None:
        """A checkpoint is durable and its sinks have committed.

        Args:
            job_id: Id of the run.
            checkpoint_id: Number of the checkpoint, counted from 1.
            duration: Seconds from the first barrier to the commit.
            size: Bytes written.
        """

    @hookspec
    def checkpoint_failed(self, job_id: str, checkpoint_id: int, error: BaseException) -> None:
        """A checkpoint was given up; the previous one stays the last."""


class CallHooks:
    """Calls to models.

    Called in the task's process, on the thread (or event loop) that makes the call: a listener must
    not block.
    """

    @hookspec
    def call_started(self, operator: str, model: str, call_id: str) -> None:
        """A model call is about to be sent; once per call, not per attempt.

        Args:
            operator: Name of the step.
            model: The model that is asked for.
            call_id: Joins this event with ``call_finished``.
        """

    @hookspec
    def call_finished(
        self,
        operator: str,
        model: str,
        call_id: str,
        usage: Any,
        latency: float,
        error: BaseException | None,
    ) -> None:
        """A model call has an answer or was given up.

        Args:
            operator: Name of the step.
            model: The model that answered, as the provider names it.
            call_id: The id ``call_started`` had.
            usage: Tokens (``sage.lib.types.Usage``), or ``None`` when unknown.
            latency: Seconds, retries included.
            error: Why it was given up, else ``None``.
        """


class MetricsHooks:
    """Regular measurements of a running job."""

    @hookspec
    def metrics_reported(self, job_id: str, metrics: Mapping[str, Any]) -> None:
        """The metrics of a job were collected: at its end, in the process of the job.

        In jobs of the JobManager also with each of its samples.

        Args:
            job_id: Id of the run.
            metrics: By operator, as ``job.metrics()["operators"]`` has them.
        """


SPECS: tuple[type, ...] = (JobHooks, TaskHooks, CheckpointHooks, CallHooks, MetricsHooks)
