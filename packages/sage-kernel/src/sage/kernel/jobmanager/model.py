"""What a JobManager tells its clients: jobs, attempts, events, services, the daemon itself.

Predecessor: the JSON of the routes; successor: ``sage.kernel.jobmanager.client``. ``attrs.asdict``
gives plain data back. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class AttemptInfo:
    """One process that worked on a job.

    Attributes:
        number: Counted from 1.
        status: STARTING, RUNNING, FINISHED, FAILED, CANCELED, SUSPENDED or LOST.
        pid: Process id, ``None`` before it has one.
        started, ended: Times.
        exit: Exit code; negative: the signal that ended it; ``None`` while it runs or unknown.
        error: Why it ended badly.
    """

    number: int
    status: str
    pid: int | None = None
    started: float
    ended: float | None = None
    exit: int | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class JobInfo:
    """A managed job.

    Attributes:
        id: ``job-…``.
        name: Name of the environment or program.
        status: See ``sage.kernel.jobmanager.states``.
        kind: ``spec``, ``program`` or ``graph``.
        action: ``run``, ``restore``, ``replay``, ``fork`` or ``requeue``.
        parent: The job whose savepoint or run it started from.
        priority: Higher starts first among those that wait.
        submitted, started, ended: Times.
        error: Why it failed.
        attempts: Its processes, oldest first; empty in lists.
        folder: Its folder, on the machine of the daemon.
    """

    id: str
    name: str
    status: str
    kind: str
    action: str = "run"
    parent: str | None = None
    priority: int = 0
    submitted: float
    started: float | None = None
    ended: float | None = None
    error: str | None = None
    attempt: int = 0
    attempts: tuple[AttemptInfo, ...] = ()
    folder: str = ""

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in ("FINISHED", "FAILED", "CANCELED")


@attrs.frozen(kw_only=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        id: Counts up over all jobs of a daemon; streams continue after one.
        time: When.
        job: Id of the job.
        type: ``status``, ``attempt``, ``checkpoint``, ``savepoint``, ``budget``, ``message``, …
        data: Plain facts, by type.
    """

    id: int
    time: float
    job: str
    type: str
    data: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class MetricsSample:
    """The metrics of a job at a time; ``operators`` as ``job.metrics()["operators"]``."""

    time: float
    job: str
    attempt: int
    status: str
    seconds: float
    operators: Mapping[str, Mapping[str, Any]]


@attrs.frozen(kw_only=True)
class ServiceInfo:
    """A service that registered itself.

    Attributes:
        name: Unique name.
        address: Where it is reached, e.g. ``http://127.0.0.1:19002``.
        kind: What it is, e.g. ``memory``, ``model``.
        owner: The job it belongs to, or ``None``.
        metadata: Plain facts.
        registered, seen: Times of the first and the last registration.
        ttl: Seconds without a sign of life after which it is ``stale``; ``None``: for ever.
        health: ``healthy`` or ``stale``.
    """

    name: str
    address: str
    kind: str = "service"
    owner: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    registered: float
    seen: float
    ttl: float | None = None
    health: str


@attrs.frozen(kw_only=True)
class DaemonInfo:
    """A running JobManager.

    Attributes:
        version: SAGE version; ``python`` its Python.
        pid: Process id.
        url: ``http://127.0.0.1:19001``.
        started: Time.
        data_dir: Its folder.
        log: Its log file.
        jobs: Number of jobs by status.
        running, max_jobs: Processes and how many may run at once.
        mounts: Paths of mounted applications.
    """

    version: str
    python: str
    pid: int
    url: str
    started: float
    data_dir: str
    log: str
    jobs: Mapping[str, int]
    running: int
    max_jobs: int
    mounts: tuple[str, ...] = ()
