"""``JobManager``: what the routes offer, without HTTP.

Predecessor: ``sage.kernel.jobmanager.routes``; successors: ``store``, ``supervisor`` and the files.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from sage.common.errors import ConfigError, JobError, NotFoundError
from sage.common.paths import within, write_secret
from sage.kernel.checkpoint.runs import find_run, safe_name
from sage.kernel.jobmanager import bundle, states
from sage.kernel.jobmanager.broker import Broker
from sage.kernel.jobmanager.layout import Home
from sage.kernel.jobmanager.model import DaemonInfo, JobInfo
from sage.kernel.jobmanager.settings import JobManagerSettings
from sage.kernel.jobmanager.store import Database, History, Jobs, Services
from sage.kernel.jobmanager.submission import (
    Submission,
    check_environment,
    check_spec,
    check_versions,
    read_submission,
    steps_changed,
)
from sage.kernel.jobmanager.supervisor import Supervisor, read_submission_json
from sage.kernel.ledger import forgetting, report
from sage.kernel.runtime.deadletter import read_letters
from sage.kernel.runtime.local.submit import new_job_id

log = logging.getLogger(__name__)
_HOUSEKEEPING = 300.0


class JobManager:
    """Jobs, their processes and what they said. May be used by any thread.

    Args:
        settings: Its settings.

    Attributes:
        home: Its folder.
        url: Where it listens; set by the daemon.
        mounts: Paths of mounted applications; set by the daemon.
    """

    def __init__(self, settings: JobManagerSettings) -> None:
        self.settings = settings
        self.home = Home(settings.data_dir)
        self.home.prepare()
        self.url = ""
        self.mounts: tuple[str, ...] = ()
        self.started = time.time()
        self.broker = Broker()
        self.database = Database(self.home.database)
        self.jobs = Jobs(self.database, self.broker.changed)
        self.history = History(self.database, self.broker.changed)
        self.services = Services(self.database)
        self.supervisor = Supervisor(self.home, settings, self.jobs, self.history, self.services)
        self._submitting = threading.Lock()
        self._ended = threading.Event()

    def start(self) -> None:
        """Recover the jobs of the daemon before, and keep house from now on."""
        self.supervisor.recover()
        threading.Thread(target=self._keep_house, name="housekeeping", daemon=True).start()

    def close(self, jobs: str = "keep") -> None:
        """End; see ``Supervisor.close``."""
        self._ended.set()
        self.supervisor.close(jobs)
        self.broker.close()

    def info(self) -> DaemonInfo:
        """Facts about the daemon."""
        return DaemonInfo(
            version=version("isage-kernel"),
            python=platform.python_version(),
            pid=os.getpid(),
            url=self.url,
            started=self.started,
            data_dir=str(self.home.path),
            log=str(self.home.log),
            jobs=self.jobs.counts(),
            running=self.supervisor.running,
            max_jobs=self.settings.max_jobs,
            mounts=self.mounts,
        )

    # -- submitting ------------------------------------------------------------------------------

    def put_bundle(self, digest: str, data: bytes) -> int:
        """Keep an archive; returns its size.

        Raises:
            ConfigError: It is not what its digest says, or not allowed; see ``check_archive``.
        """
        path = self.home.bundle(digest)
        if not self.settings.allow_code:
            raise ConfigError(_NO_CODE)
        bundle.check_archive(data, digest, self.settings.max_upload)
        write_secret(path, data)
        return len(data)

    def bundle_size(self, digest: str) -> int:
        """Size of an archive that is there.

        Raises:
            NotFoundError: It is not.
        """
        path = self.home.bundle(digest)
        try:
            os.utime(path)  # it is about to be used: the housekeeping leaves it
        except FileNotFoundError:
            raise NotFoundError(f"there is no archive {digest}", digest=digest) from None
        return path.stat().st_size

    def submit(self, raw: Any) -> JobInfo:
        """Store a job; it starts as soon as there is a place.

        Raises:
            ConfigError: The submission is wrong, its code is of other versions, or too many wait.
            GraphError: Its pipeline names code that is not allowed.
        """
        return self._add(read_submission(raw))

    def _add(self, submission: Submission) -> JobInfo:
        if not self.settings.allow_code:
            check_environment(submission)
        if submission.kind == "spec":
            known = self.settings.allow
            if not self.settings.allow_code and not set(submission.allow) <= set(known):
                raise ConfigError(_NO_CODE)
            allow = tuple(dict.fromkeys((*submission.allow, *known)))
            submission = attrs.evolve(submission, allow=allow)
            check_spec(submission.spec or {}, allow)
        else:
            if not self.settings.allow_code:
                raise ConfigError(_NO_CODE)
            check_versions(submission)
            self.bundle_size(submission.bundle or "")
        with self._submitting:
            waiting = self.jobs.counts().get(states.SUBMITTED, 0)
            if waiting >= self.settings.max_waiting:
                raise JobError(
                    f"{waiting} jobs wait already, which is the limit (jobmanager.max_waiting); "
                    "try again later"
                )
            job_id = new_job_id()
            folder = self.home.job(job_id)
            folder.prepare()
            write_secret(folder.submission, json.dumps(attrs.asdict(submission)))
            job = self.jobs.add(job_id, submission)
        self.supervisor.dispatch()
        return self.describe(job.id)

    def again(self, job_id: str, action: str, **changes: Any) -> JobInfo:
        """Submit the code of a job again, to ``restore``, ``replay``, ``fork`` or ``requeue`` it.

        Raises:
            NotFoundError: The job, its savepoint or its run is not there.
            ConfigError: A fork changes more than one step.
        """
        parent = self.jobs.get(job_id)
        given = read_submission_json(self.home, parent.id)
        changed = steps_changed(read_submission(given))
        inherited = [*given.get("inherited", ()), *([changed] if changed else ())]
        for key in ("savepoint", "allow_dropped", "from_operator", "changes", "where", "items"):
            given.pop(key, None)
        if action == "restore":
            changes["savepoint"] = str(self._restore_point(parent, changes.get("savepoint")))
        given |= {"action": action, "parent": parent.id, "inherited": inherited}
        submission = read_submission({**given, **changes})
        steps_changed(submission)
        return self._add(submission)

    def _restore_point(self, parent: JobInfo, savepoint: str | None) -> Path:
        if savepoint is not None:
            path = Path(savepoint)
            if not path.is_absolute():
                path = within(self.home.job(parent.id).savepoints, savepoint)
            if not path.is_dir():
                raise NotFoundError(f"there is no savepoint {str(path)!r}")
            return path
        found = find_run(self.home.runs, parent.id)
        if found is None or not (found[0] / "checkpoints").is_dir():
            raise NotFoundError(f"job {parent.id} has no checkpoint to restore")
        return found[0] / "checkpoints"

    # -- jobs ------------------------------------------------------------------------------------

    def describe(self, job_id: str) -> JobInfo:
        """A job with its attempts and its folder."""
        job = self.jobs.get(job_id)
        return attrs.evolve(job, folder=str(self.home.job(job.id).path))

    def remove(self, job_id: str) -> None:
        """Remove an ended job, its folder, its runs, and its calls from the ledger.

        Raises:
            JobError: It has not ended.
        """
        job = self.jobs.get(job_id)
        self.jobs.remove(job.id)
        shutil.rmtree(self.home.job(job.id).path, ignore_errors=True)
        runs = list(self.home.runs.glob(f"*/{job.id}*"))
        for run in runs:
            shutil.rmtree(run, ignore_errors=True)
        forgetting.forget(self._ledger(), [job.id, *(run.name for run in runs)])

    def cleanup(
        self, older_than: float, statuses: Iterable[str], *, dry_run: bool = False
    ) -> list[str]:
        """Remove jobs that ended ``older_than`` seconds ago or earlier; returns their ids."""
        chosen = self.jobs.ended_before(time.time() - older_than, statuses)
        if not dry_run:
            for job_id in chosen:
                with contextlib.suppress(NotFoundError):  # somebody else removed it
                    self.remove(job_id)
        return chosen

    def savepoint(self, job_id: str, name: str | None) -> str:
        """Write a savepoint of a running job; returns its path."""
        job = self.jobs.get(job_id)
        chosen = safe_name(name or time.strftime("%Y%m%d-%H%M%S", time.gmtime()))
        path: str = self.supervisor.ask(job.id, "savepoint", {"name": chosen}, timeout=600.0)
        return path

    def graph(self, job_id: str) -> dict[str, Any]:
        """The logical graph of a job's pipeline.

        Raises:
            NotFoundError: It has not been built.
        """
        job = self.jobs.get(job_id)
        try:
            text = self.home.job(job.id).graph.read_text("utf-8")
        except FileNotFoundError:
            raise NotFoundError(f"job {job.id} has not built its graph") from None
        graph: dict[str, Any] = json.loads(text)
        return graph

    def dead_letters(self, job_id: str, limit: int) -> list[dict[str, Any]]:
        """The last dead letters of a job, newest last."""
        job = self.jobs.get(job_id)
        files = sorted(self.home.job(job.id).dead_letters.glob("*.jsonl"))
        letters = [letter for file in files for letter in read_letters(file)]
        return letters[-limit:]

    def outputs(self, job_id: str, status: str | None) -> list[dict[str, Any]]:
        """Items that reached a sink or were lost, oldest first."""
        found = report.outputs(self._ledger(), self.jobs.get(job_id).id, status)
        return [attrs.asdict(each) for each in found]

    def why(self, job_id: str, item: str) -> dict[str, Any]:
        """The chain that led to an item."""
        found: dict[str, Any] = report.why(self._ledger(), self.jobs.get(job_id).id, item).to_dict()
        return found

    def cost(self, job_id: str, by: str) -> dict[str, Any]:
        """What a job cost."""
        found: dict[str, Any] = report.cost(self._ledger(), self.jobs.get(job_id).id, by).to_dict()
        return found

    def _ledger(self) -> Path:
        return self.home.runs / "ledger.sqlite"

    def metrics(self) -> list[Mapping[str, Any]]:
        """The newest metrics of each job that runs, as ``prometheus.render`` takes them."""
        found: list[Mapping[str, Any]] = []
        for job in self.jobs.listed(states.ACTIVE, limit=-1):
            samples = self.history.samples(job.id, limit=1)
            facts = attrs.asdict(samples[0][1]) if samples else {}
            found.append({**facts, "job": job.id, "name": job.name, "status": job.status})
        return found

    # -- housekeeping ----------------------------------------------------------------------------

    def _keep_house(self) -> None:
        while not self._ended.wait(_HOUSEKEEPING):
            try:
                self.keep_house()
            except Exception:
                log.exception("housekeeping failed; it is tried again")

    def keep_house(self) -> None:
        """Remove what is older than the settings keep it."""
        self.history.thin_out(self.settings.metrics_full)
        seconds = self.settings.keep_days * 86400
        for job_id in self.cleanup(seconds, states.ENDED):
            log.info("job %s: removed, it ended %g days ago", job_id, self.settings.keep_days)
        if freed := forgetting.compact(self._ledger()):
            log.info("ledger: %d bytes of removed jobs are free again", freed)
        used = self.jobs.bundles()
        for path in self.home.bundles.iterdir():
            if path.stem not in used and time.time() - path.stat().st_mtime > 86400:
                path.unlink(missing_ok=True)


_NO_CODE = (
    "this JobManager takes pipelines of registered operators only (jobmanager.allow_code is "
    "false); its operator can allow modules with jobmanager.allow"
)
