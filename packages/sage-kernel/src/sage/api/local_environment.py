"""Runs a pipeline on this machine, in this process.

Predecessor: ``sage.api.base_environment``; successor: ``sage.kernel.runtime.local``.

With ``SAGE_CHECK_ONLY`` set (``sage check app.py`` does that) nothing runs: ``submit`` validates
and returns a ``CheckedJob``, see ``sage.api.checking``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sage.api import hosting
from sage.api.base_environment import BaseEnvironment
from sage.common.errors import JobError

if TYPE_CHECKING:
    from sage.kernel.runtime.job import Job

CHECK_ONLY = "SAGE_CHECK_ONLY"
"""Environment variable: validate instead of running; its value may name a report file."""

on_submit: list[Callable[[Job], None]] = []
"""Called with each submitted job; ``sage run`` follows the jobs of a program this way."""


class LocalEnvironment(BaseEnvironment):
    """A pipeline on this machine: threads, worker processes and one event loop.

    Used as a context manager it waits for its jobs at the end (and raises what failed), or cancels
    them when the block raises.

    Args:
        name: Name of the pipeline.
        config: Settings, see ``sage.kernel.graph.settings.SETTINGS``.
    """

    def __init__(self, name: str = "sage", config: Mapping[str, Any] | None = None) -> None:
        super().__init__(name, config)
        self._jobs: list[Job] = []

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs submitted so far, in order."""
        return tuple(self._jobs)

    def submit(self, autostop: bool = False) -> Job:
        """Start the pipeline and return at once; the process stays alive until the job ended.

        Ctrl-C during the call cancels the job and is raised, as in ``Job.wait``. In the process of
        a managed job the pipeline runs as that job, see ``sage.api.hosting``.

        Args:
            autostop: Wait until the job ended, and raise when it failed.

        Raises:
            GraphError: The graph is not valid; lists everything that is wrong.
            JobFailedError: With ``autostop``, an operator failed.
        """
        check_only = os.environ.get(CHECK_ONLY)
        if check_only:
            from sage.api.checking import check_job  # noqa: PLC0415

            checked: Job = check_job(self, check_only)
            return checked
        from sage.kernel.graph.validate import validate  # noqa: PLC0415
        from sage.kernel.runtime.local.submit import submit_local  # noqa: PLC0415

        validate(self.stream_graph)
        start = submit_local if hosting.host is None else hosting.host.submit
        job: Job = start(self.stream_graph)
        try:
            self._jobs.append(job)
            for listener in on_submit:
                listener(job)
        except BaseException:
            job.cancel()
            raise
        if autostop:
            self._wait(job, None)
        return job

    def execute(self, timeout: float | None = None) -> Job:
        """``submit`` and wait.

        Args:
            timeout: Seconds to wait, ``None`` for as long as it takes.

        Raises:
            TimeoutError: The job runs still; it is not canceled.
            JobFailedError: An operator failed.
        """
        job = self.submit()
        self._wait(job, timeout)
        return job

    def wait_for_completion(
        self, job: Job | str | None = None, timeout: float | None = None
    ) -> None:
        """Wait for a job, given as such or by its id, or for all jobs of this environment.

        Args:
            job: The job; ``None`` for all.
            timeout: Seconds in total.

        Raises:
            TimeoutError: They run still.
            JobFailedError: One failed.
            JobError: No job here has that id.
        """
        if job is None:
            jobs = list(self._jobs)
            if not jobs:
                raise JobError(
                    f"environment {self.name!r} has no job to wait for: call submit() first"
                )
        elif isinstance(job, str):
            jobs = [each for each in self._jobs if each.id == job]
            if not jobs:
                known = ", ".join(each.id for each in self._jobs) or "none"
                raise JobError(f"environment {self.name!r} has no job {job!r} (jobs: {known})")
        else:
            jobs = [job]
        end = None if timeout is None else time.monotonic() + timeout
        for each in jobs:
            self._wait(each, None if end is None else max(0.0, end - time.monotonic()))

    def stop(self) -> None:
        """Cancel the running jobs; returns at once.

        May be called from any thread, also by a step.
        """
        for job in list(self._jobs):
            if not job.done():
                job.cancel(wait=False)

    def close(self) -> None:
        """Cancel the running jobs and wait until they ended. Not for use inside of a step."""
        self.stop()
        for job in list(self._jobs):
            job.cancel(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.close()
        elif self._jobs:
            try:
                self.wait_for_completion()
            finally:
                self.close()

    def _wait(self, job: Job, timeout: float | None) -> None:
        job.wait(timeout)
        if not job.done():
            raise TimeoutError(f"job {job.id} still runs after {timeout} seconds")
