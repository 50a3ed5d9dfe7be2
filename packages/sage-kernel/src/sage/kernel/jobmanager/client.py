"""``JobManagerClient``: everything a JobManager offers, from Python.

Predecessor: ``sage.kernel.jobmanager.transport``; successors: ``sage.api.remote_environment`` and
the commands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs

from sage.common.errors import (
    JobCanceledError,
    JobFailedError,
    NotFoundError,
    SageError,
    ServiceError,
    UnreachableError,
)
from sage.common.secrets import Secret
from sage.common.serving.listening import is_loopback
from sage.kernel.jobmanager.bundle import digest_of, pack_program
from sage.kernel.jobmanager.model import (
    AttemptInfo,
    DaemonInfo,
    JobEvent,
    JobInfo,
    MetricsSample,
    ServiceInfo,
)
from sage.kernel.jobmanager.packing import pack_graph, read_pipeline_file
from sage.kernel.jobmanager.reconnecting import through_restarts, wait_reachable
from sage.kernel.jobmanager.submission import versions
from sage.kernel.jobmanager.transport import Transport, base_url, default_token

DEFAULT_ADDRESS = "localhost:19001"

T = TypeVar("T")


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
    ) -> None:
        self.address = address
        self._url = base_url(address)
        self._timeout = timeout
        chosen = default_token() if token is None else token
        self._http = Transport(self._url, chosen, timeout=timeout, cafile=cafile)

    # -- the daemon ------------------------------------------------------------------------------

    def health(self) -> bool:
        """Whether the daemon is ready; needs no token.

        Raises:
            UnreachableError: Nothing answers.
            ServiceError: ``Health check failed``: something answers, but not as it should.
        """
        try:
            self._http.request("GET", ("readyz",))
        except UnreachableError as exc:
            if isinstance(exc.__cause__, ConnectionError | OSError) and not isinstance(
                exc.__cause__, TimeoutError
            ):
                raise
            raise self._unhealthy(exc) from exc
        except SageError as exc:
            raise self._unhealthy(exc) from exc
        return True

    def _unhealthy(self, cause: Exception) -> ServiceError:
        return ServiceError(
            f"Health check failed: the JobManager at {self.address} does not answer as it should "
            f"({cause}); restart it with: sage jobmanager restart",
            url=self._url,
        )

    def status(self) -> DaemonInfo:
        """Facts about the daemon."""
        return _read(DaemonInfo, self._get("status"))

    def shutdown(self, jobs: str = "keep") -> None:
        """End the daemon; returns when it accepted.

        Args:
            jobs: ``keep`` lets their processes run on (the next daemon finds them), ``suspend``
                ends them after a checkpoint and starts them again with the next daemon, ``cancel``
                cancels them.
        """
        self._post(("shutdown",), {"jobs": jobs})

    def prometheus(self) -> str:
        """The daemon's ``/metrics``."""
        return "\n".join(line.decode() for line in self._http.stream("GET", ("metrics",))) + "\n"

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
        loaded = read_pipeline_file(spec)
        return self._submit(
            {
                "kind": "spec",
                "name": name or str(loaded.get("name") or "pipeline"),
                "spec": loaded,
                "allow": list(allow),
                "settings": dict(settings or {}),
                "priority": priority,
            },
            working_dir,
            environment,
        )

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
        path = Path(program)
        archive, entry = pack_program(path, include)
        return self._submit(
            {
                "kind": "program",
                "name": name or path.stem,
                "bundle": self._upload(archive),
                "entry": entry,
                "arguments": [str(each) for each in arguments],
                "priority": priority,
                **versions(),
            },
            working_dir,
            environment,
        )

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
        kind = pack_graph(graph)
        if kind.archive is not None:
            body: dict[str, Any] = {
                "kind": "graph",
                "bundle": self._upload(kind.archive),
                **versions(),
            }
        else:
            body = {"kind": "spec", "spec": kind.spec, "allow": list(kind.allow)}
        return self._submit(
            {**body, "name": name or graph.name, "priority": priority}, working_dir, environment
        )

    def restore(
        self, job_id: str, savepoint: str | None = None, *, allow_dropped: bool = False
    ) -> JobInfo:
        """Submit the code of ``job_id`` again, from a savepoint.

        Args:
            job_id: The job whose code runs.
            savepoint: Path of a savepoint; default: the newest checkpoint of the job.
            allow_dropped: Whether state that the graph does not have any more is dropped.
        """
        body = {"savepoint": savepoint, "allow_dropped": allow_dropped}
        return self._job(self._post(("jobs", job_id, "restore"), body))

    def replay(self, job_id: str) -> JobInfo:
        """Run a job again from its ledger: no provider is called; a miss fails."""
        return self._job(self._post(("jobs", job_id, "replay")))

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
        body = {"from_operator": from_operator, "settings": dict(settings or {}), "where": where}
        return self._job(self._post(("jobs", job_id, "fork"), body))

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
        wanted = status if status is None or isinstance(status, str) else ",".join(status)
        query = {"status": wanted, "name": name, "limit": limit}
        return [self._job(each) for each in self._get("jobs", query=query)]

    def job(self, job_id: str) -> JobInfo:
        """One job with its attempts; a unique beginning of the id is enough."""
        return self._job(self._get("jobs", job_id))

    def wait(self, job_id: str, timeout: float | None = None) -> JobInfo:
        """Wait until a job has ended, through restarts of the daemon.

        Returns:
            The job: FINISHED, FAILED or CANCELED (see ``raise_for_status``).

        Raises:
            TimeoutError: It has not ended after ``timeout`` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        job = self.job(job_id)
        after = 0
        while not job.done:
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"job {job.id} is still {job.status} after {timeout} s")
            try:
                for event in self._follow(("jobs", job.id, "events", "stream"), after, end):
                    after = event.id
                job = self.job(job.id)
            except UnreachableError:
                if not wait_reachable(self, end):
                    raise
        return job

    def cancel(self, job_id: str, *, timeout: float = 10.0) -> JobInfo:
        """Cancel a job; its process is killed when it has not ended after ``timeout`` seconds."""
        body = {"timeout": timeout}
        return self._job(self._post(("jobs", job_id, "cancel"), body))

    def pause(self, job_id: str) -> JobInfo:
        """Let its sources wait."""
        return self._job(self._post(("jobs", job_id, "pause")))

    def resume(self, job_id: str) -> JobInfo:
        """Go on after ``pause``."""
        return self._job(self._post(("jobs", job_id, "resume")))

    def savepoint(self, job_id: str, path: str | None = None) -> str:
        """Write a savepoint of a running job; returns its path on the daemon's machine.

        Args:
            job_id: The job.
            path: Name below the job's ``savepoints`` folder; default: the time.
        """
        answer = self._post(("jobs", job_id, "savepoint"), {"name": path})
        return str(answer["path"])

    def remove(self, job_id: str) -> None:
        """Remove an ended job with its folder.

        Raises:
            JobError: It has not ended.
        """
        self._http.request("DELETE", ("v1", "jobs", job_id))

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
        body = {"older_than": older_than, "status": list(status), "dry_run": dry_run}
        ids: list[str] = self._post(("jobs", "cleanup"), body)["ids"]
        return ids

    # -- what jobs say ---------------------------------------------------------------------------

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Events of a job, oldest first."""
        query = {"after": after, "limit": limit}
        found = self._get("jobs", job_id, "events", query=query)
        return [_read(JobEvent, each) for each in found]

    def follow_events(self, job_id: str | None = None, *, after: int = 0) -> Iterator[JobEvent]:
        """Events as they come, of one job (until it has ended) or of all (for ever).

        Goes on behind a restart of the daemon, as all that is followed.
        """
        path = ("events", "stream") if job_id is None else ("jobs", job_id, "events", "stream")
        last = [after or None]

        def follow() -> Iterator[JobEvent]:
            for event in self._follow(path, last[0]):
                last[0] = event.id
                yield event

        yield from through_restarts(self, job_id, follow)

    def logs(self, job_id: str, *, tail: int | None = None) -> list[str]:
        """Lines of the job's output, oldest first; ``tail``: only the last so many."""
        lines: list[str] = self._get("jobs", job_id, "logs", query={"tail": tail})["lines"]
        return lines

    def follow_logs(self, job_id: str, *, tail: int | None = None) -> Iterator[str]:
        """Lines of the output as they come, until the job has ended.

        Raises:
            UnreachableError: The daemon ended; without ``tail`` only if it does not come back.
        """
        path = ("v1", "jobs", job_id, "logs", "stream")
        seen = 0

        def follow() -> Iterator[str]:
            nonlocal seen
            for number, (_, line) in enumerate(self._http.events(path, {"tail": tail})):
                if number >= seen:
                    seen = number + 1
                    yield line

        yield from through_restarts(self, job_id, follow, again=tail is None)

    def metrics(self, job_id: str) -> MetricsSample | None:
        """The newest metrics; ``None`` before the first."""
        found = self._get("jobs", job_id, "metrics")
        return None if found is None else _read(MetricsSample, found)

    def metrics_history(
        self, job_id: str, *, since: float | None = None, limit: int = 1000
    ) -> list[MetricsSample]:
        """Samples, oldest first; older ones are thinned out by the daemon's retention."""
        query = {"since": since, "limit": limit}
        found = self._get("jobs", job_id, "metrics", "history", query=query)
        return [_read(MetricsSample, each) for each in found]

    def follow_metrics(self, job_id: str) -> Iterator[MetricsSample]:
        """Samples as they come, until the job has ended."""
        last = 0.0

        def follow() -> Iterator[MetricsSample]:
            nonlocal last
            for _, each in self._http.events(("v1", "jobs", job_id, "metrics", "stream")):
                sample = _read(MetricsSample, each)
                if sample.time > last:  # the newest is told again to who comes back
                    last = sample.time
                    yield sample

        yield from through_restarts(self, job_id, follow)

    def graph(self, job_id: str) -> dict[str, Any]:
        """The logical graph, as ``env.graph()``.

        Raises:
            NotFoundError: The job has not built it yet.
        """
        found: dict[str, Any] = self._get("jobs", job_id, "graph")
        return found

    def outputs(self, job_id: str, status: str | None = None) -> list[dict[str, Any]]:
        """Items that reached a sink or were lost, oldest first.

        Args:
            job_id: The job.
            status: Only ``ok``, ``failed``, ``dead_letter`` or ``skipped`` ones.
        """
        found: list[dict[str, Any]] = self._get("jobs", job_id, "outputs", query={"status": status})
        return found

    def why(self, job_id: str, item: str) -> dict[str, Any]:
        """The chain that led to an item, as ``job.why(item)``."""
        found: dict[str, Any] = self._get("jobs", job_id, "why", item)
        return found

    def cost(self, job_id: str, by: str = "operator") -> dict[str, Any]:
        """What a job cost, by ``operator``, ``model`` or ``item``, as ``job.cost(by=...)``."""
        found: dict[str, Any] = self._get("jobs", job_id, "cost", query={"by": by})
        return found

    def dead_letters(self, job_id: str, *, limit: int = 100) -> list[dict[str, Any]]:
        """Items that failed for good, newest last."""
        found: list[dict[str, Any]] = self._get(
            "jobs", job_id, "deadletters", query={"limit": limit}
        )
        return found

    def requeue(self, job_id: str, *, items: Iterable[str] | None = None) -> JobInfo:
        """Submit a job that runs only the dead letters of ``job_id`` again.

        Args:
            job_id: The job.
            items: Item ids; default: all.
        """
        body = {"items": list(items or ())}
        return self._job(self._post(("jobs", job_id, "deadletters", "requeue"), body))

    # -- services --------------------------------------------------------------------------------

    def services(self) -> list[ServiceInfo]:
        """The registered services, by name."""
        return [_read(ServiceInfo, each) for each in self._get("services")]

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
        body = {
            "address": address,
            "kind": kind,
            "owner": owner,
            "metadata": dict(metadata or {}),
            "ttl": ttl,
        }
        return _read(ServiceInfo, self._http.request("PUT", ("v1", "services", name), body))

    def deregister_service(self, name: str) -> None:
        """Remove a service from the registry."""
        self._http.request("DELETE", ("v1", "services", name))

    def close(self) -> None:
        """Close idle connections; the client can still be used."""
        self._http.close()

    # -- inside ----------------------------------------------------------------------------------

    def _get(self, *path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._http.request("GET", ("v1", *path), query=query)

    def _post(self, path: tuple[str, ...], body: Mapping[str, Any] | None = None) -> Any:
        return self._http.request("POST", ("v1", *path), dict(body or {}))

    def _job(self, raw: Mapping[str, Any]) -> JobInfo:
        attempts = tuple(_read(AttemptInfo, each) for each in raw["attempts"])
        return _read(JobInfo, {**raw, "attempts": attempts})

    def _submit(
        self,
        body: Mapping[str, Any],
        working_dir: str | Path | None,
        environment: Mapping[str, str] | None,
    ) -> JobInfo:
        folder = working_dir
        if folder is None and is_loopback(str(urlsplit(self._url).hostname)):
            folder = Path.cwd()
        whole = {
            **body,
            "working_dir": None if folder is None else str(Path(folder).absolute()),
            "environment": dict(environment or {}),
        }
        return self._job(self._post(("jobs",), whole))

    def _upload(self, archive: bytes) -> str:
        digest = digest_of(archive)
        try:
            self._get("bundles", digest)
        except NotFoundError:
            self._http.request("PUT", ("v1", "bundles", digest), raw=archive)
        return digest

    def _follow(
        self, path: tuple[str, ...], after: int | None, end: float | None = None
    ) -> Iterator[JobEvent]:
        for _, each in self._http.events(("v1", *path), {"after": after}, end):
            yield _read(JobEvent, each)


def raise_for_status(job: JobInfo) -> JobInfo:
    """The job, if it is FINISHED or has not ended.

    Raises:
        JobFailedError: It is FAILED; the message has its error.
        JobCanceledError: It is CANCELED.
    """
    if job.status == "FAILED":
        raise JobFailedError(
            f"job {job.name!r} ({job.id}) failed: {job.error}", job=job.name, id=job.id
        )
    if job.status == "CANCELED":
        raise JobCanceledError(f"job {job.name!r} ({job.id}) was canceled", job=job.name, id=job.id)
    return job


def _read(cls: type[T], raw: Mapping[str, Any]) -> T:
    """A value of the daemon; what a newer one adds is left out."""
    known = {each.name for each in attrs.fields(cls)}  # type: ignore[arg-type]
    given = {key: value for key, value in raw.items() if key in known}
    if "mounts" in given:
        given["mounts"] = tuple(given["mounts"])
    return cls(**given)
