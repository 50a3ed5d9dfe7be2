"""Decides which job gets a process, starts and watches the processes, and settles how they ended.

One thread per process: it follows the journal over the control socket and, when that ends, waits
for the process. Everything is stored before it is acted upon, so that a daemon that is killed at
any point goes on from the store and the folders of the jobs (``recover``).

Predecessor: ``sage.kernel.jobmanager.routes``; successor: ``sage.kernel.jobmanager.runner`` in the
process of a job.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from sage.common.errors import ConfigError, JobError, NotFoundError, SageError, ServiceError
from sage.kernel.checkpoint.restarts import RestartPolicy
from sage.kernel.jobmanager import control, states
from sage.kernel.jobmanager.attempt import Attempt, adopt, read_result, spawn
from sage.kernel.jobmanager.journal import Line, read_journal
from sage.kernel.jobmanager.layout import Home
from sage.kernel.jobmanager.model import JobInfo
from sage.kernel.jobmanager.process import describe_exit
from sage.kernel.jobmanager.settings import JobManagerSettings
from sage.kernel.jobmanager.store import History, Jobs, Services

log = logging.getLogger(__name__)
ANSWER = 20.0
"""Seconds for an answer of a job's process: fewer than clients give the daemon."""
_LONGEST_END = 7 * 86400.0


class Supervisor:
    """The processes of a JobManager. May be used by any thread.

    Args:
        home: Its folder.
        settings: Its limits.
        jobs, history, services: Its store.
    """

    def __init__(
        self,
        home: Home,
        settings: JobManagerSettings,
        jobs: Jobs,
        history: History,
        services: Services,
    ) -> None:
        self._home = home
        self._settings = settings
        self._jobs = jobs
        self._history = history
        self._services = services
        self._lock = threading.RLock()
        self._running: dict[str, Attempt] = {}
        self._timer: threading.Timer | None = None
        self._closing = False
        self._idle = threading.Condition(self._lock)

    @property
    def running(self) -> int:
        """Number of job processes."""
        with self._lock:
            return len(self._running)

    # -- life of the daemon ----------------------------------------------------------------------

    def recover(self) -> None:
        """Find the processes that live, settle those that do not, and start what waits."""
        for job in self._jobs.listed(states.ACTIVE, limit=-1):
            try:
                self._recover(job)
            except Exception:  # one damaged folder must not keep the others from going on
                log.exception("job %s: it cannot be recovered", job.id)
        self.dispatch()

    def _recover(self, job: JobInfo) -> None:
        folder = self._home.job(job.id)
        pid, started = self._jobs.process(job.id, job.attempt)
        attempt = adopt(folder, job.attempt, pid, started)
        if attempt is None:
            self._history.take(job.id, read_journal(folder, self._history.position(job.id)))
            self._settle(job.id, job.attempt, None)
            return
        log.info("job %s: found its process %s again", job.id, attempt.pid)
        self._history.note(job.id, "recovered", {"pid": attempt.pid, "attempt": job.attempt})
        self._watch(job.id, attempt)
        if job.status == states.CANCELING:
            self._cancel_process(job.id, attempt, "cancel", self._settings.cancel_timeout)

    def close(self, jobs: str = "keep") -> None:
        """Start no more processes; end those that run, or let them.

        Args:
            jobs: ``keep``, ``suspend`` or ``cancel``; the latter two wait until they have ended.
        """
        with self._lock:
            self._closing = True
            if self._timer is not None:
                self._timer.cancel()
            active = dict(self._running)
        if jobs == "keep":
            return
        for job_id, attempt in active.items():
            if jobs == "cancel":
                self.cancel(job_id)
            else:
                self._cancel_process(job_id, attempt, "suspend", self._settings.cancel_timeout)
        with self._idle:
            self._idle.wait_for(lambda: not self._running)

    # -- commands --------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Start what is due as long as there are places; look again when something will be due."""
        with self._lock:
            while not self._closing and len(self._running) < self._settings.max_jobs:
                now = time.time()
                job, due = self._jobs.next_waiting(now)
                if job is None:
                    self._wake_at(due, now)
                    return
                self._start(job)

    def cancel(self, job_id: str, timeout: float | None = None) -> None:
        """Cancel a job: at once if it has no process, else its process ends in the background.

        Args:
            job_id: The job.
            timeout: Seconds it has before its process is killed.

        Raises:
            ConfigError: ``timeout`` is no such number.
        """
        seconds = self._settings.cancel_timeout if timeout is None else timeout
        if not 0 <= seconds <= _LONGEST_END:
            raise ConfigError(f"timeout: expected 0 to {_LONGEST_END:g} seconds, got {seconds}")
        with self._lock:
            status = self._jobs.get(job_id).status
            if status in states.ENDED:
                return
            if status in states.WAITING:
                self._jobs.to(job_id, states.CANCELED)
                return
            if status != states.CANCELING:
                self._jobs.to(job_id, states.CANCELING)
            attempt = self._running.get(job_id)
        if attempt is not None:
            self._cancel_process(job_id, attempt, "cancel", seconds)

    def ask(
        self, job_id: str, method: str, params: Mapping[str, Any], timeout: float = ANSWER
    ) -> Any:
        """Let the process of a job do something.

        Raises:
            JobError: The job has no process.
            SageError: What the process raised.
        """
        job = self._jobs.get(job_id)
        if job.status not in states.ACTIVE or job_id not in self._running:
            raise JobError(f"job {job_id} is {job.status}: it has no process to ask", job=job_id)
        try:
            return control.call(self._home.job(job_id).control, method, params, timeout)
        except ServiceError as exc:
            raise JobError(f"job {job_id}: {exc}", job=job_id) from exc

    # -- inside ----------------------------------------------------------------------------------

    def _start(self, job: JobInfo) -> None:
        number = self._jobs.begin_attempt(job.id)
        folder = self._home.job(job.id)
        try:
            attempt = spawn(folder, number, self._settings)
        except (SageError, OSError, ValueError) as exc:  # ValueError: its folder is damaged
            log.warning("job %s: its process cannot be started: %s", job.id, exc)
            self._jobs.attempt_to(job.id, number, states.FAILED, error=str(exc))
            self._jobs.to(job.id, states.FAILED, f"its process cannot be started: {exc}")
            return
        self._jobs.set_process(job.id, number, attempt.pid, attempt.started)
        log.info("job %s: attempt %d is process %d", job.id, number, attempt.pid)
        self._watch(job.id, attempt)

    def _watch(self, job_id: str, attempt: Attempt) -> None:
        with self._lock:
            self._running[job_id] = attempt
        threading.Thread(
            target=self._follow, args=(job_id, attempt), name=f"watch-{job_id}", daemon=True
        ).start()

    def _follow(self, job_id: str, attempt: Attempt) -> None:
        try:
            for line in attempt.journal(self._history.position(job_id)):
                self._take(job_id, attempt.number, [line])
        except (OSError, SageError) as exc:
            log.warning("job %s: its journal broke off: %s", job_id, exc)
        code = attempt.wait()
        folder = self._home.job(job_id)
        self._take(job_id, attempt.number, read_journal(folder, self._history.position(job_id)))
        with self._idle:
            try:
                self._settle(job_id, attempt.number, code, suspended=attempt.suspended)
            except Exception:  # e.g. a full disk: the next daemon settles it, others go on here
                log.exception("job %s: how it ended could not be stored", job_id)
            self._running.pop(job_id, None)
            self._idle.notify_all()
        self.dispatch()

    def _take(self, job_id: str, attempt: int, lines: list[Line]) -> None:
        def seen(line: Line) -> None:
            if line["type"] == "state" and line["attempt"] == attempt:
                self._seen(job_id, attempt, line["data"]["status"])

        with self._lock:  # before that of the store, as everywhere
            self._history.take(job_id, lines, seen)

    def _seen(self, job_id: str, attempt: int, status: str) -> None:
        """The process says that the job is now RUNNING or PAUSED."""
        self._jobs.attempt_to(job_id, attempt, states.RUNNING)
        if status in states.JOB_TRANSITIONS[self._jobs.get(job_id).status]:
            self._jobs.to(job_id, status)

    def _settle(
        self, job_id: str, attempt: int, code: int | None, *, suspended: bool = False
    ) -> None:
        """Store how an attempt ended, and what becomes of its job."""
        result = read_result(self._home.job(job_id), attempt)
        job = self._jobs.get(job_id)
        if result is not None:
            status, error = result["status"], result["error"]
            self._jobs.attempt_to(job_id, attempt, status, code=code, error=error)
        else:
            status, error = states.LOST, f"the process of the job died: {describe_exit(code)}"
            if suspended:  # it was killed for that: no failure of its own
                status = states.SUSPENDED
            self._jobs.attempt_to(job_id, attempt, status, code=code, error=error)
            if job.status == states.CANCELING:
                status = states.CANCELED
        if status == states.LOST:
            self._restart(job_id, error)
        elif job.status == states.CANCELING and status == states.SUSPENDED:
            self._jobs.to(job_id, states.CANCELED)
        else:
            self._jobs.to(job_id, status, error if status == states.FAILED else None)
        log.info("job %s: attempt %d %s", job_id, attempt, error or status)
        if self._jobs.get(job_id).status in states.ENDED:
            self._services.deregister_owned(job_id)

    def _restart(self, job_id: str, error: str | None) -> None:
        policy = RestartPolicy(self._settings.restart)
        delay: float | None = None
        lost = [a for a in self._jobs.get(job_id).attempts if a.status == states.LOST]
        for attempt in lost:
            ended = attempt.ended or time.time()
            delay = policy.next_delay(ended, ended - attempt.started)
        if delay is None:
            reason = f"{error}; it was started {len(lost)} times" if len(lost) > 1 else error
            self._jobs.to(job_id, states.FAILED, reason)
        else:
            self._jobs.to(job_id, states.RESTARTING, error, due=time.time() + delay)

    def _cancel_process(self, job_id: str, attempt: Attempt, how: str, seconds: float) -> None:
        def work() -> None:
            end = time.monotonic() + seconds
            try:
                control.call(self._home.job(job_id).control, how, timeout=seconds)
            except (SageError, OSError) as exc:
                log.info("job %s: %s was not answered: %s", job_id, how, exc)
            if not attempt.ended.wait(max(0.0, end - time.monotonic())):
                attempt.suspended = how == "suspend"
                log.warning("job %s: killed, it had not ended after %g s", job_id, seconds)
                self._history.note(job_id, "killed", {"after": seconds})
                attempt.kill()

        threading.Thread(target=work, name=f"end-{job_id}", daemon=True).start()

    def _wake_at(self, due: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = threading.Timer(max(0.0, due - now), self.dispatch)
            self._timer.daemon = True
            self._timer.start()


def read_submission_json(home: Home, job_id: str) -> dict[str, Any]:
    """What was submitted.

    Raises:
        NotFoundError: The folder of the job is not there.
    """
    try:
        raw: dict[str, Any] = json.loads(home.job(job_id).submission.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"job {job_id} has no folder any more", job=job_id) from None
    return raw
