"""``JobManagerClient``: everything a JobManager offers, from Python.

Predecessor: ``sage.kernel.jobmanager.transport``; successors: ``sage.api.remote_environment`` and
the commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sage.common.secrets import Secret
from sage.kernel.jobmanager.model import (
    DaemonInfo,
    JobEvent,
    JobInfo,
    MetricsSample,
    ServiceInfo,
)

DEFAULT_ADDRESS = "localhost:19001"


class JobManagerClient:
    """A connection to a JobManager. May be used by any number of threads.

    Every method raises ``UnreachableError`` (``Failed to connect to JobManager at …``) when nothing
    answers, ``AuthError`` when the token is refused, and ``NotFoundError`` for an unknown job.

    Args:
        address: ``host:port``, or a URL (``https://…`` for TLS).
        token: Default: ``SAGE_JOBMANAGER_TOKEN``, else the token file of this user.
        timeout: Seconds without a byte from the daemon.
        cafile: PEM file of the authority that signed the daemon's certificate.

    Raises:
        ConfigError: The address is none.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        token: str | Secret | None = None,
        *,
        timeout: float = 30.0,
        cafile: str | Path | None = None,
    ) -> None: ...

    # -- the daemon ------------------------------------------------------------------------------

    def health(self) -> bool:
        """Whether the daemon is ready; needs no token.

        Raises:
            UnreachableError: Nothing answers.
            ServiceError: ``Health check failed``: something answers, but not as it should.
        """

    def status(self) -> DaemonInfo:
        """Facts about the daemon."""

    def shutdown(self, jobs: str = "keep") -> None:
        """End the daemon; returns when it accepted.

        Args:
            jobs: ``keep`` lets their processes run on (the next daemon finds them), ``suspend``
                ends them after a checkpoint and starts them again with the next daemon, ``cancel``
                cancels them.
        """

    def prometheus(self) -> str:
        """The daemon's ``/metrics``."""

    # -- submitting ------------------------------------------------------------------------------

    def submit_spec(
        self,
        spec: Mapping[str, Any] | str | Path,
        *,
        allow: Iterable[str] = (),
        name: str | None = None,
        priority: int = 0,
        working_dir: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> JobInfo:
        """Submit a pipeline file (``GraphSpec``).

        Args:
            spec: The mapping, or the path of a YAML or JSON file.
            allow: Modules that ``module:Class`` steps may come from.
            name: Shown name; default: that of the spec.
            priority: Higher starts first among waiting jobs.
            working_dir: Folder that relative paths are meant from; default: the current one if the
                daemon is on this machine, else the job's own.
            environment: Environment variables for the job's process; never shown again.
            settings: Settings of the engine over those of the spec, e.g. ``fault_tolerance``.

        Raises:
            GraphError: The daemon refused it.
        """

    def submit_program(
        self,
        program: str | Path,
        arguments: Sequence[str] = (),
        *,
        include: Iterable[str | Path] = (),
        name: str | None = None,
        priority: int = 0,
        working_dir: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> JobInfo:
        """Submit a Python script with the Python files of its folder.

        The archive takes ``*.py`` below the script's folder (without virtual environments and
        hidden folders) and what ``include`` names.

        Args:
            program: The script, run as ``__main__`` in the job's process.
            arguments: Its ``sys.argv[1:]``.
            include: Further files or folders below the script's folder.
            name, priority, working_dir, environment: See ``submit_spec``.

        Raises:
            NotFoundError: There is no such script.
            ConfigError: The archive is too large, or a file is outside of the folder.
        """

    def submit_graph(
        self,
        graph: Any,
        *,
        name: str | None = None,
        priority: int = 0,
        working_dir: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> JobInfo:
        """Submit a stream graph: as a spec if every step has a name, else its functions by value.

        Raises:
            GraphError: A function holds something that cannot be sent.
        """

    def restore(
        self, job_id: str, savepoint: str | None = None, *, allow_dropped: bool = False
    ) -> JobInfo:
        """Submit the code of ``job_id`` again, from a savepoint.

        Args:
            job_id: The job whose code runs.
            savepoint: Path of a savepoint; default: the newest checkpoint of the job.
            allow_dropped: Whether state that the graph does not have any more is dropped.
        """

    def replay(self, job_id: str) -> JobInfo:
        """Run a job again from its ledger: no provider is called; a miss fails."""

    def fork(
        self,
        job_id: str,
        from_operator: str | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        where: str | None = None,
    ) -> JobInfo:
        """Run a job again, recomputing ``from_operator`` and what is downstream of it.

        Args:
            job_id: The job.
            from_operator: Name or uid of the first step that is recomputed.
            settings: ``{"step.key": value}`` changes of configurations.
            where: ``status=failed``: only the items that failed.
        """

    # -- jobs ------------------------------------------------------------------------------------

    def jobs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        name: str | None = None,
        limit: int = 100,
    ) -> list[JobInfo]:
        """Jobs, newest first.

        Args:
            status: One or more states; ``active`` for all that have not ended.
            name: Only of this name.
            limit: Most.
        """

    def job(self, job_id: str) -> JobInfo:
        """One job with its attempts; a unique beginning of the id is enough."""

    def wait(self, job_id: str, timeout: float | None = None) -> JobInfo:
        """Wait until a job has ended, through restarts of the daemon.

        Returns:
            The job: FINISHED, FAILED or CANCELED (see ``raise_for_status``).

        Raises:
            TimeoutError: It has not ended after ``timeout`` seconds.
        """

    def cancel(self, job_id: str, *, timeout: float = 10.0) -> JobInfo:
        """Cancel a job; its process is killed when it has not ended after ``timeout`` seconds."""

    def pause(self, job_id: str) -> JobInfo:
        """Let its sources wait."""

    def resume(self, job_id: str) -> JobInfo:
        """Go on after ``pause``."""

    def savepoint(self, job_id: str, path: str | None = None) -> str:
        """Write a savepoint of a running job; returns its path on the daemon's machine.

        Args:
            job_id: The job.
            path: Name below the job's ``savepoints`` folder; default: the time.
        """

    def remove(self, job_id: str) -> None:
        """Remove an ended job with its folder.

        Raises:
            JobError: It has not ended.
        """

    def cleanup(
        self,
        *,
        older_than: float = 0.0,
        status: Iterable[str] = ("FINISHED", "FAILED", "CANCELED"),
        dry_run: bool = False,
    ) -> list[str]:
        """Remove ended jobs; returns their ids.

        Args:
            older_than: Seconds since they ended, at least.
            status: In which states.
            dry_run: Only say which.
        """

    # -- what jobs say ---------------------------------------------------------------------------

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Events of a job, oldest first."""

    def follow_events(self, job_id: str | None = None, *, after: int = 0) -> Iterator[JobEvent]:
        """Events as they come, of one job (until it has ended) or of all (for ever)."""

    def logs(self, job_id: str, *, tail: int | None = None) -> list[str]:
        """Lines of the job's output, oldest first; ``tail``: only the last so many."""

    def follow_logs(self, job_id: str, *, tail: int | None = None) -> Iterator[str]:
        """Lines of the output as they come, until the job has ended."""

    def metrics(self, job_id: str) -> MetricsSample | None:
        """The newest metrics; ``None`` before the first."""

    def metrics_history(
        self, job_id: str, *, since: float | None = None, limit: int = 1000
    ) -> list[MetricsSample]:
        """Samples, oldest first; older ones are thinned out by the daemon's retention."""

    def follow_metrics(self, job_id: str) -> Iterator[MetricsSample]:
        """Samples as they come, until the job has ended."""

    def graph(self, job_id: str) -> dict[str, Any]:
        """The logical graph, as ``env.graph()``.

        Raises:
            NotFoundError: The job has not built it yet.
        """

    def why(self, job_id: str, item: str) -> dict[str, Any]:
        """The chain that led to an item, as ``job.why(item)``."""

    def cost(self, job_id: str, by: str = "operator") -> list[dict[str, Any]]:
        """What a job cost, by ``operator``, ``model`` or ``item``, as ``job.cost(by=...)``."""

    def dead_letters(self, job_id: str, *, limit: int = 100) -> list[dict[str, Any]]:
        """Items that failed for good, newest last."""

    def requeue(self, job_id: str, *, items: Iterable[str] | None = None) -> JobInfo:
        """Submit a job that runs only the dead letters of ``job_id`` again.

        Args:
            job_id: The job.
            items: Item ids; default: all.
        """

    # -- services --------------------------------------------------------------------------------

    def services(self) -> list[ServiceInfo]:
        """The registered services, by name."""

    def register_service(
        self,
        name: str,
        address: str,
        *,
        kind: str = "service",
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        ttl: float | None = None,
    ) -> ServiceInfo:
        """Register a service, or say that it lives still."""

    def deregister_service(self, name: str) -> None:
        """Remove a service from the registry."""

    def close(self) -> None:
        """Close idle connections; the client can still be used."""


def raise_for_status(job: JobInfo) -> JobInfo:
    """The job, if it is FINISHED or has not ended.

    Raises:
        JobFailedError: It is FAILED; the message has its error.
        JobCanceledError: It is CANCELED.
    """
