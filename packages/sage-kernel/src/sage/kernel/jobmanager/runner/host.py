"""What the user's code submits runs here, under the id and in the run folder of the managed job.

Predecessor: ``LocalEnvironment.submit`` and ``RemoteEnvironment.submit``, which ask
``sage.api.hosting``; successor: ``sage.kernel.runtime.local``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.api.hosting import FinishedJob
from sage.common.errors import JobCanceledError, JobError
from sage.common.paths import write_secret
from sage.kernel.checkpoint.runs import FINISHED, find_run
from sage.kernel.graph.model import StreamGraph
from sage.kernel.jobmanager.journal import METRICS, Journal
from sage.kernel.jobmanager.layout import JobFolder
from sage.kernel.jobmanager.runner.actions import Plan
from sage.kernel.runtime.job import Job


class Host:
    """The pipelines of one managed job. May be used by any thread.

    Args:
        folder: The job.
        journal: Where what happens is written.
        plan: What is done with the pipelines.
    """

    def __init__(self, folder: JobFolder, journal: Journal, plan: Plan) -> None:
        self.folder = folder
        self._journal = journal
        self._plan = plan
        self._lock = threading.Lock()
        self._jobs: list[Job] = []
        self._submitted = 0
        self._stopping = ""
        self._paused = False

    @property
    def stopping(self) -> str:
        """``cancel`` or ``suspend`` once one was asked for, else empty."""
        return self._stopping

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs so far, in order."""
        with self._lock:
            return tuple(self._jobs)

    def submit(self, graph: StreamGraph) -> Any:
        """Run a pipeline. The first has the id of the managed job; others count on: ``ID-2``.

        One that finished in an earlier attempt of this job is not run again.

        Raises:
            JobCanceledError: The managed job is being canceled.
        """
        with self._lock:
            if self._stopping:
                raise JobCanceledError(f"job {self.folder.id} is being canceled")
            self._submitted += 1
            number = self._submitted
        run_id = self.folder.id if number == 1 else f"{self.folder.id}-{number}"
        self._write_graph(graph, number)
        found = find_run(self.folder.home.runs, run_id)
        if found is not None and found[1].get("status") == FINISHED:
            return FinishedJob(run_id, graph.name)
        job = self._plan.start(graph, run_id)
        with self._lock:
            self._jobs.append(job)
            stopping, paused = self._stopping, self._paused
        if stopping:
            job.cancel(wait=False)
        elif paused:
            job.pause()
        job.when_something_happens(self._tell)
        return job

    def wait(self) -> None:
        """Wait until everything that was submitted has ended.

        Raises:
            JobFailedError: A pipeline failed.
        """
        seen = 0
        while seen < len(self.jobs):
            self.jobs[seen].wait()
            seen += 1

    def pause(self) -> None:
        """Let the sources of all pipelines wait."""
        with self._lock:
            self._paused = True
        for job in self.jobs:
            job.pause()

    def resume(self) -> None:
        """Go on after ``pause``."""
        with self._lock:
            self._paused = False
        for job in self.jobs:
            job.resume()

    def stop(self, how: str) -> None:
        """Cancel the pipelines; returns at once.

        Args:
            how: ``cancel``, or ``suspend``: go on later from the last checkpoint.
        """
        with self._lock:
            self._stopping = self._stopping or how
        for job in self.jobs:
            job.cancel(wait=False)

    def savepoint(self, path: Path) -> str:
        """Write a savepoint of the running pipeline.

        Raises:
            JobError: None runs, or several do.
        """
        running = [job for job in self.jobs if not job.done()]
        if len(running) != 1:
            raise JobError(
                f"a savepoint is of one running pipeline; job {self.folder.id} has {len(running)}"
            )
        running[0].savepoint(path)
        self._journal.append("savepoint", {"path": str(path)})
        return str(path)

    def sample(self) -> dict[str, Any] | None:
        """The metrics of all pipelines as one; ``None`` before the first."""
        jobs = self.jobs
        if not jobs:
            return None
        numbers = [job.metrics() for job in jobs]
        operators: dict[str, Any] = {}
        for each in numbers:
            for name, values in each["operators"].items():
                operators[name if name not in operators else f"{each['name']}.{name}"] = values
        return {
            "status": numbers[-1]["status"],
            "seconds": sum(each["seconds"] for each in numbers),
            "operators": operators,
        }

    def record_sample(self) -> None:
        """Write the metrics to the journal, and tell them to the plugins that listen."""
        sample = self.sample()
        if sample is not None:
            self._journal.append(METRICS, sample)
        for job in self.jobs:
            if not job.done():
                job.report_metrics()

    def _tell(self, event: Mapping[str, Any]) -> None:
        facts = {key: value for key, value in event.items() if key not in ("time", "job", "event")}
        self._journal.append(event.get("event", "pipeline"), {"run": event["job"], **facts})

    def _write_graph(self, graph: StreamGraph, number: int) -> None:
        from sage.kernel.graph.render import to_dict  # noqa: PLC0415

        if number == 1:
            write_secret(self.folder.graph, json.dumps(to_dict(graph), default=str))
