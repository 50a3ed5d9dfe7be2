"""What an action does with a pipeline: run, restore, replay, fork, requeue.

Predecessor: the submission; successor: ``sage.kernel.runtime.local``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.common.errors import JobError
from sage.kernel.checkpoint.runs import find_run
from sage.kernel.checkpoint.savepoint import MANIFEST
from sage.kernel.checkpoint.store import CheckpointStore
from sage.kernel.graph.model import StreamGraph
from sage.kernel.jobmanager.layout import JobFolder
from sage.kernel.jobmanager.submission import Submission, steps_changed
from sage.kernel.runtime.job import Job
from sage.kernel.runtime.local.again import configure_step, fork_run, replay_run
from sage.kernel.runtime.local.submit import submit_local


class Plan:
    """How the pipelines of a submission start.

    Args:
        submission: What was submitted.
        folder: The job.
    """

    def __init__(self, submission: Submission, folder: JobFolder) -> None:
        self._submission = submission
        self._folder = folder
        self._store = folder.home.runs

    def start(self, graph: StreamGraph, run_id: str) -> Job:
        """Start a pipeline under the id of its run, or go on with what an earlier attempt began.

        Raises:
            JobError: Its parent has no such run.
        """
        given = self._submission
        graph.config.setdefault("dead_letter_dir", str(self._folder.dead_letters))
        for earlier in given.inherited:
            for name, values in earlier.items():
                configure_step(graph, name, values)
        if given.action in ("run", "restore"):
            graph.config["fault_tolerance"] = self._fault_tolerance(graph, run_id)
            return submit_local(graph, run_id)
        assert given.parent is not None, "checked with the submission"
        graph.config["fault_tolerance"] = self._kept(graph)
        parent = given.parent + run_id.removeprefix(self._folder.id)
        output = self._folder.path / "output"
        if given.action == "replay":
            return replay_run(graph, self._store, parent, output=output, job_id=run_id)
        if given.action == "fork":
            changed = steps_changed(given)
            step = next(iter(changed), given.from_operator)
            return fork_run(
                graph,
                self._store,
                parent,
                from_=step,
                set=changed.get(step or "", {}),
                where=given.where,
                output=output,
                job_id=run_id,
            )
        items = ",".join(given.items)
        return fork_run(
            graph,
            self._store,
            parent,
            where=f"record={items}" if items else "status=failed",
            output=output,
            effects=True,
            job_id=run_id,
        )

    def _kept(self, graph: StreamGraph) -> dict[str, Any]:
        """The pipeline's own settings, but for the place and what belongs to another run."""
        given = graph.config.get("fault_tolerance")
        settings = dict(given) if isinstance(given, Mapping) else {}
        for key in ("savepoint", "allow_dropped", "resume"):
            settings.pop(key, None)
        return {**settings, "store": str(self._store)}

    def _fault_tolerance(self, graph: StreamGraph, run_id: str) -> dict[str, Any]:
        """Every managed job has a run folder and a ledger."""
        found = find_run(self._store, run_id)
        settings = {**self._kept(graph), "resume": "never" if found is None else run_id}
        if self._submission.action == "restore":
            assert self._submission.savepoint is not None, "the daemon filled it in"
            settings["savepoint"] = str(self._as_savepoint(Path(self._submission.savepoint)))
            settings["allow_dropped"] = self._submission.allow_dropped
        return settings

    def _as_savepoint(self, path: Path) -> Path:
        """A savepoint as it is; of the checkpoints of a run the newest, made one."""
        if (path / MANIFEST).exists():
            return path
        target = self._folder.savepoints / "restored"
        if not target.exists():
            with CheckpointStore(path) as store:
                checkpoint = store.load()
                if checkpoint is None:
                    raise JobError(f"{str(path)!r} has no checkpoint to restore")
                store.export(checkpoint, target)
        return target
