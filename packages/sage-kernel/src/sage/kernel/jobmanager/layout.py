"""Files of a JobManager and of its jobs: one place that knows every name.

::

    DATA/  daemon.json daemon.lock daemon.log tokens.json jobs.sqlite bundles/ limits/ runs/
    DATA/jobs/ID/  submission.json control.sock journal.jsonl metrics.jsonl result-N.json
                   graph.json job.log code/ work/ savepoints/ deadletters/
"""

from __future__ import annotations

import re
from pathlib import Path

from sage.common.errors import NotFoundError
from sage.common.paths import config_dir, ensure_dir

JOB_ID = re.compile(r"job-[0-9a-f]{11}-[0-9a-f]{10}")
STATE_KEYS = frozenset({"pid", "process_started", "url"})
"""What ``daemon.json`` says at least; also its ``certfile``, and what it was ``given`` to start."""

DIGEST = re.compile(r"[0-9a-f]{64}")


def token_path() -> Path:
    """The file with the token of this user's JobManager (0600); clients read it."""
    return config_dir() / "jobmanager-token"


class Home:
    """The folder of a JobManager.

    Args:
        path: The folder; made when ``prepare`` is called.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "daemon.json"
        self.lock = path / "daemon.lock"
        self.log = path / "daemon.log"
        self.tokens = path / "tokens.json"
        self.database = path / "jobs.sqlite"
        self.bundles = path / "bundles"
        self.jobs = path / "jobs"
        self.limits = path / "limits"
        self.runs = path / "runs"

    def prepare(self) -> None:
        """Make the folders, for this user only."""
        for folder in (self.path, self.bundles, self.jobs, self.limits, self.runs):
            ensure_dir(folder)

    def job(self, job_id: str) -> JobFolder:
        """The folder of a job; it need not exist.

        Raises:
            NotFoundError: That is no job id.
        """
        if JOB_ID.fullmatch(job_id) is None:
            raise NotFoundError(f"there is no job {job_id!r}", job=job_id)
        return JobFolder(self.jobs / job_id)

    def bundle(self, digest: str) -> Path:
        """The archive with that digest; it need not exist.

        Raises:
            NotFoundError: That is no SHA-256 in hexadecimal.
        """
        if DIGEST.fullmatch(digest) is None:
            raise NotFoundError(f"there is no archive {digest!r}", digest=digest)
        return self.bundles / f"{digest}.tar"


class JobFolder:
    """The folder of one job (0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.submission = path / "submission.json"
        self.control = path / "control.sock"
        self.journal = path / "journal.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.graph = path / "graph.json"
        self.log = path / "job.log"
        self.code = path / "code"
        self.work = path / "work"
        self.savepoints = path / "savepoints"
        self.dead_letters = path / "deadletters"

    @property
    def home(self) -> Home:
        """The JobManager it belongs to."""
        return Home(self.path.parent.parent)

    def prepare(self) -> None:
        """Make the folders, for this user only."""
        for folder in (self.path, self.work, self.savepoints, self.dead_letters):
            ensure_dir(folder)

    def result(self, attempt: int) -> Path:
        """How an attempt ended; written in one step as the last thing it does."""
        return self.path / f"result-{attempt}.json"
