"""Runs a pipeline as a managed job of a JobManager.

Predecessor: ``sage.api.base_environment``; successor: ``sage.kernel.jobmanager.client``. In the
process of such a job (``sage job submit app.py``) ``submit`` does not submit again: the pipeline
runs there, see ``sage.api.hosting``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sage.api import hosting
from sage.api.base_environment import BaseEnvironment
from sage.api.local_environment import CHECK_ONLY, LocalEnvironment
from sage.common.errors import JobError

if TYPE_CHECKING:
    from sage.kernel.jobmanager.client import JobManagerClient
    from sage.kernel.jobmanager.model import JobInfo
    from sage.kernel.ledger.report import CostReport, OutputFacts, Why


class RemoteJob(str):
    """A managed job: a string, its id, with which the job is steered and asked.

    Compares and prints as the id. Each call asks the JobManager.
    """

    __slots__ = ("_client",)

    _client: JobManagerClient

    def __new__(cls, job_id: str, client: JobManagerClient) -> Self:
        made = super().__new__(cls, job_id)
        made._client = client
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return (str, (str(self),))  # elsewhere it is the id alone

    def __str__(self) -> str:
        return str.__str__(self)

    @property
    def id(self) -> str:
        """The id."""
        return str(self)

    @property
    def name(self) -> str:
        """Name of the environment."""
        return self.info().name

    @property
    def status(self) -> str:
        """One of the states of ``sage.kernel.jobmanager.states``."""
        return self.info().status

    def info(self) -> JobInfo:
        """All facts about it."""
        return self._client.job(self)

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.info().done

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until it has ended, through restarts of the JobManager.

        Ctrl-C ends the waiting, not the job.

        Args:
            timeout: Seconds; ``None`` waits for ever.

        Returns:
            The job itself, FINISHED or CANCELED.

        Raises:
            JobFailedError: It failed; the message has its error.
            TimeoutError: It has not ended.
        """
        self._ended(timeout, canceled_too=False)
        return self

    def result(self, timeout: float | None = None) -> Self:
        """Like ``wait``, but a canceled job raises ``JobCanceledError``."""
        self._ended(timeout, canceled_too=True)
        return self

    def _ended(self, timeout: float | None, *, canceled_too: bool) -> None:
        from sage.kernel.jobmanager.client import raise_for_status  # noqa: PLC0415 - http

        job = self._client.wait(self, timeout)
        if canceled_too or job.status != "CANCELED":
            raise_for_status(job)

    def cancel(self, wait: bool = True, timeout: float | None = None) -> bool:
        """Cancel it; its process is killed when it has not ended after a while.

        Args:
            wait: Return only when it has ended.
            timeout: Most seconds to wait.

        Returns:
            Whether it has ended.
        """
        job = self._client.cancel(self)
        if wait and not job.done:
            try:
                job = self._client.wait(self, timeout)
            except TimeoutError:
                return False
        return job.done

    def pause(self) -> None:
        """Let its sources wait."""
        self._client.pause(self)

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._client.resume(self)

    def savepoint(self, name: str | None = None) -> str:
        """Write a savepoint; returns its path on the JobManager's machine."""
        return self._client.savepoint(self, name)

    def metrics(self) -> dict[str, Any]:
        """The newest numbers per operator, as ``Job.metrics``; empty before the first."""
        sample = self._client.metrics(self)
        if sample is None:
            return {}
        return {
            "job": str(self),
            "status": sample.status,
            "seconds": sample.seconds,
            "operators": dict(sample.operators),
        }

    def graph(self) -> dict[str, Any]:
        """The logical graph as plain data."""
        return self._client.graph(self)

    def logs(self, tail: int | None = None) -> list[str]:
        """Lines of its output, oldest first; ``tail``: only the last so many."""
        return self._client.logs(self, tail=tail)

    def follow_logs(self) -> Iterator[str]:
        """Lines of its output as they come, until it has ended."""
        return self._client.follow_logs(self)

    def events(self) -> list[dict[str, Any]]:
        """What happened, oldest first: ``{"time", "job", "type", ...}``."""
        return [
            {"time": each.time, "job": each.job, "type": each.type, **each.data}
            for each in self._client.events(self)
        ]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Items that failed for good, newest last."""
        return self._client.dead_letters(self)

    def outputs(self, status: str | None = None) -> list[OutputFacts]:
        """Items that reached a sink or were lost; see ``LocalJob.outputs``."""
        from sage.kernel.ledger.report import OutputFacts  # noqa: PLC0415 - only with a ledger

        return [OutputFacts(**each) for each in self._client.outputs(self, status)]

    def why(self, item: str) -> Why:
        """The chain that led to an item; its text is what ``sage job why`` prints.

        Raises:
            NotFoundError: The job has no such item.
        """
        from sage.kernel.ledger.report import Why  # noqa: PLC0415 - only with a ledger

        return Why.from_dict(self._client.why(self, item))

    def cost(self, by: str = "operator") -> CostReport:
        """What it cost so far, by ``operator``, ``model`` or ``item``."""
        from sage.kernel.ledger.report import CostReport  # noqa: PLC0415 - only with a ledger

        return CostReport.from_dict(self._client.cost(self, by))

    def replay(self) -> RemoteJob:
        """Run it again from its ledger, as a new managed job: no call is made."""
        return RemoteJob(self._client.replay(self).id, self._client)

    def fork(
        self,
        from_: str | None = None,
        *,
        set: Mapping[str, Any] | None = None,  # noqa: A002 - the word of the command line
        where: str | None = None,
    ) -> RemoteJob:
        """Run it again, as a new managed job that computes one step and all after it anew.

        Args:
            from_: Name or uid of the step; calls of the others come from this run.
            set: Keys of that step's configuration to change.
            where: Only the items of these records, for example ``status=failed``.
        """
        settings = {f"{from_}.{key}": value for key, value in (set or {}).items()}
        job = self._client.fork(self, from_, settings=settings, where=where)
        return RemoteJob(job.id, self._client)


class RemoteEnvironment(BaseEnvironment):
    """A pipeline that runs as a managed job.

    Steps are sent by name where they have one, else by value. Relative paths are meant from the
    current folder when the JobManager is on this machine, else from a folder of the job.

    Args:
        name: Name of the pipeline.
        config: Settings, see ``sage.kernel.graph.settings.SETTINGS``.
        jobmanager_address: ``host:port``, or a URL (``https://…`` for TLS); default:
            ``SAGE_JOBMANAGER_ADDRESS``, else the setting ``remote.address``, else the JobManager
            that this user started on this machine, else ``localhost:19001``.
        token: Default: ``SAGE_JOBMANAGER_TOKEN``, else the setting ``remote.token``, else the token
            file of this user.
        cafile: PEM file of the authority that signed the JobManager's certificate; default: the
            setting ``remote.cafile``.
        environment: Environment variables for the job's process.
        priority: Higher starts first among jobs that wait.
    """

    def __init__(
        self,
        name: str = "sage",
        config: Mapping[str, Any] | None = None,
        *,
        jobmanager_address: str | None = None,
        token: str | None = None,
        cafile: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> None:
        super().__init__(name, config)
        self._address = jobmanager_address
        self._token = token
        self._cafile = cafile
        self._environment = dict(environment or {})
        self._priority = priority
        self._known: JobManagerClient | None = None
        self._local: LocalEnvironment | None = None
        self._jobs: list[Any] = []

    @property
    def jobmanager_address(self) -> str:
        """The JobManager, as it was given, or as the settings say."""
        return self._address or self.client.address

    @property
    def client(self) -> JobManagerClient:
        """The connection to the JobManager.

        Raises:
            ConfigError: The address is none, or the settings are wrong.
        """
        if self._known is None:
            from sage.kernel.jobmanager.connecting import connect  # noqa: PLC0415 - http

            self._known = connect(self._address, self._token, cafile=self._cafile)
        return self._known

    @property
    def jobs(self) -> tuple[Any, ...]:
        """The jobs submitted so far, in order."""
        return tuple(self._jobs)

    def submit(self, autostop: bool = False) -> Any:
        """Send the pipeline to the JobManager and return at once.

        Args:
            autostop: Wait until the job has ended, and raise when it failed.

        Returns:
            A ``RemoteJob``, which is the id; in the process of a managed job the job that runs.

        Raises:
            GraphError: The graph is not valid, or a step cannot be sent.
            UnreachableError: ``Failed to connect to JobManager``.
            AuthError: The token is refused.
        """
        if hosting.host is not None or os.environ.get(CHECK_ONLY):
            job: Any = self._here().submit()
        else:
            from sage.kernel.graph.validate import validate  # noqa: PLC0415

            validate(self.stream_graph)
            info = self.client.submit_graph(
                self.stream_graph,
                name=self.name,
                priority=self._priority,
                environment=self._environment,
            )
            job = RemoteJob(info.id, self.client)
        self._jobs.append(job)
        if autostop:
            self.wait_for_completion(job)
        return job

    def execute(self, timeout: float | None = None) -> Any:
        """``submit`` and wait.

        Raises:
            TimeoutError: The job runs still; it is not canceled.
            JobFailedError: It failed.
        """
        job = self.submit()
        self.wait_for_completion(job, timeout)
        return job

    def wait_for_completion(self, job: Any = None, timeout: float | None = None) -> None:
        """Wait for a job, given as such or by its id, or for all jobs of this environment.

        Args:
            job: The job; ``None`` for all. The id of any job of the JobManager may be given.
            timeout: Seconds in total.

        Raises:
            TimeoutError: They run still.
            JobFailedError: One failed.
            NotFoundError: The JobManager has no such job.
        """
        if self._local is not None:
            self._local.wait_for_completion(job, timeout)
            return
        if job is None and not self._jobs:
            raise JobError(f"environment {self.name!r} has no job to wait for: call submit() first")
        end = None if timeout is None else time.monotonic() + timeout
        for each in self._jobs if job is None else [job]:
            left = None if end is None else max(0.0, end - time.monotonic())
            RemoteJob(str(each), self.client).wait(left)

    def stop(self) -> None:
        """Cancel the jobs of this environment that have not ended; returns at once."""
        for job in self._jobs:
            job.cancel(wait=False)

    def close(self) -> None:
        """Cancel the jobs of this environment and wait until they ended."""
        self.stop()
        for job in self._jobs:
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
            self.wait_for_completion()

    def _here(self) -> LocalEnvironment:
        """The same pipeline as an environment of this process."""
        if self._local is None:
            self._local = LocalEnvironment(self.name, self.config)
            self._local.stream_graph = self.stream_graph
        return self._local
