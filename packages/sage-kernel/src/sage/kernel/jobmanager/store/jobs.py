"""Jobs and attempts in the store; every change of a status is checked against the table."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Any

from sage.common.errors import JobError, NotFoundError
from sage.kernel.jobmanager import states
from sage.kernel.jobmanager.layout import JOB_ID
from sage.kernel.jobmanager.model import AttemptInfo, JobInfo
from sage.kernel.jobmanager.store.database import Database
from sage.kernel.jobmanager.submission import Submission

_SHORTEST_BEGINNING = 5


class Jobs:
    """The tables ``jobs`` and ``attempts``.

    Args:
        database: The database.
        changed: Called after an event was stored, with the id of its job.
    """

    def __init__(self, database: Database, changed: Callable[[str], None]) -> None:
        self._database = database
        self._changed = changed

    def add(self, job_id: str, submission: Submission) -> JobInfo:
        """Store a new job, SUBMITTED."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO jobs (id, name, kind, action, parent, bundle, status, priority, "
                "submitted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job_id,
                    submission.name,
                    submission.kind,
                    submission.action,
                    submission.parent,
                    submission.bundle,
                    states.SUBMITTED,
                    submission.priority,
                    time.time(),
                ),
            )
            add_event(connection, job_id, "status", {"status": states.SUBMITTED})
        self._changed(job_id)
        return self.get(job_id)

    def get(self, job_id: str) -> JobInfo:
        """A job with its attempts.

        Args:
            job_id: Its id, or a beginning that only one has.

        Raises:
            NotFoundError: There is none.
            JobError: Several ids begin so.
        """
        whole = self._resolve(job_id)
        attempts = tuple(
            AttemptInfo(
                number=row["number"],
                status=row["status"],
                pid=row["pid"],
                started=row["started"],
                ended=row["ended"],
                exit=row["exit"],
                error=row["error"],
            )
            for row in self._database.rows(
                "SELECT * FROM attempts WHERE job = ? ORDER BY number", whole
            )
        )
        rows = self._database.rows("SELECT * FROM jobs WHERE id = ?", whole)
        if not rows:  # removed meanwhile
            raise _unknown(job_id)
        return _info(rows[0], attempts)

    def listed(
        self, statuses: Iterable[str] = (), name: str | None = None, limit: int = 100
    ) -> list[JobInfo]:
        """Jobs without their attempts, newest first."""
        wanted = list(statuses)
        rows = self._database.rows(
            "SELECT * FROM jobs WHERE (?1 = '[]' OR status IN (SELECT value FROM json_each(?1))) "
            "AND (?2 IS NULL OR name = ?2) ORDER BY submitted DESC, id DESC LIMIT ?3",
            json.dumps(wanted),
            name,
            limit,
        )
        return [_info(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Number of jobs by status."""
        rows = self._database.rows("SELECT status, count(*) AS n FROM jobs GROUP BY status")
        return {row["status"]: row["n"] for row in rows}

    def next_waiting(self, now: float) -> tuple[JobInfo | None, float | None]:
        """The job that is to start next, if one is due; and when the next one will be due."""
        waiting = json.dumps(sorted(states.WAITING))
        rows = self._database.rows(
            # Those that ran already come first: somebody waits for the rest of their results.
            "SELECT * FROM jobs WHERE status IN (SELECT value FROM json_each(?)) AND due <= ? "
            "ORDER BY priority DESC, attempt = 0, submitted, id LIMIT 1",
            waiting,
            now,
        )
        later = self._database.rows(
            "SELECT min(due) AS due FROM jobs WHERE status IN (SELECT value FROM json_each(?)) "
            "AND due > ?",
            waiting,
            now,
        )
        return (_info(rows[0]) if rows else None), later[0]["due"]

    def to(self, job_id: str, status: str, error: str | None = None, due: float = 0.0) -> None:
        """Change the status of a job.

        Args:
            job_id: The job.
            status: The new one.
            error: Why, for FAILED and RESTARTING.
            due: Unix time before which it does not start.

        Raises:
            JobError: The table has no such transition.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT status, started FROM jobs WHERE id = ?", (job_id,)
            ).fetchone()
            states.check(states.JOB_TRANSITIONS, f"job {job_id}", row["status"], status)
            error = _storable(error)
            now = time.time()
            started = row["started"] or (now if status == states.RUNNING else None)
            ended = now if status in states.ENDED else None
            connection.execute(
                "UPDATE jobs SET status = ?, error = ?, due = ?, started = ?, ended = ? "
                "WHERE id = ?",
                (status, error, due, started, ended, job_id),
            )
            data = {"status": status} if error is None else {"status": status, "error": error}
            add_event(connection, job_id, "status", data)
        self._changed(job_id)

    def begin_attempt(self, job_id: str) -> int:
        """A new attempt, STARTING, and the job with it; returns its number."""
        with self._database.transaction() as connection:
            self.to(job_id, states.STARTING)
            (number,) = connection.execute(
                "UPDATE jobs SET attempt = attempt + 1 WHERE id = ? RETURNING attempt", (job_id,)
            ).fetchone()
            connection.execute(
                "INSERT INTO attempts (job, number, status, started) VALUES (?, ?, ?, ?)",
                (job_id, number, states.STARTING, time.time()),
            )
        return int(number)

    def set_process(self, job_id: str, attempt: int, pid: int, started: str | None) -> None:
        """Which process works on an attempt."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE attempts SET pid = ?, process_started = ? WHERE job = ? AND number = ?",
                (pid, started, job_id, attempt),
            )

    def process(self, job_id: str, attempt: int) -> tuple[int | None, str | None]:
        """Pid and start time of an attempt's process."""
        rows = self._database.rows(
            "SELECT pid, process_started FROM attempts WHERE job = ? AND number = ?",
            job_id,
            attempt,
        )
        return (rows[0]["pid"], rows[0]["process_started"]) if rows else (None, None)

    def attempt_to(
        self,
        job_id: str,
        attempt: int,
        status: str,
        *,
        code: int | None = None,
        error: str | None = None,
    ) -> None:
        """Change the status of an attempt.

        Raises:
            JobError: The table has no such transition.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT status FROM attempts WHERE job = ? AND number = ?", (job_id, attempt)
            ).fetchone()
            if row["status"] == status:
                return
            what = f"attempt {attempt} of job {job_id}"
            states.check(states.ATTEMPT_TRANSITIONS, what, row["status"], status)
            error = _storable(error)
            ended = time.time() if not states.ATTEMPT_TRANSITIONS[status] else None
            connection.execute(
                "UPDATE attempts SET status = ?, ended = ?, exit = ?, error = ? "
                "WHERE job = ? AND number = ?",
                (status, ended, code, error, job_id, attempt),
            )
            data = {"attempt": attempt, "status": status, "exit": code, "error": error}
            add_event(connection, job_id, "attempt", data)
        self._changed(job_id)

    def remove(self, job_id: str) -> None:
        """Forget a job.

        Raises:
            JobError: It has not ended.
        """
        with self._database.transaction() as connection:
            row = connection.execute("SELECT status FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                raise _unknown(job_id)
            if row["status"] not in states.ENDED:
                raise JobError(
                    f"job {job_id} is {row['status']}; cancel it before it is removed", job=job_id
                )
            connection.execute("DELETE FROM events WHERE job = ?", (job_id,))
            connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def ended_before(self, when: float, statuses: Iterable[str]) -> list[str]:
        """Ids of jobs that ended before a time, oldest first."""
        rows = self._database.rows(
            "SELECT id FROM jobs WHERE ended <= ? AND status IN (SELECT value FROM json_each(?)) "
            "ORDER BY ended",
            when,
            json.dumps(sorted(set(statuses) & states.ENDED)),
        )
        return [row["id"] for row in rows]

    def bundles(self) -> set[str]:
        """Digests of the archives that jobs need."""
        rows = self._database.rows("SELECT DISTINCT bundle FROM jobs WHERE bundle IS NOT NULL")
        return {row["bundle"] for row in rows}

    def _resolve(self, job_id: str) -> str:
        if JOB_ID.fullmatch(job_id):
            rows = self._database.rows("SELECT id FROM jobs WHERE id = ?", job_id)
        elif len(job_id) >= _SHORTEST_BEGINNING and JOB_ID.fullmatch(
            job_id + "job-00000000000-0000000000"[len(job_id) :]
        ):
            rows = self._database.rows("SELECT id FROM jobs WHERE id GLOB ? LIMIT 2", f"{job_id}*")
        else:
            rows = []
        if not rows:
            raise _unknown(job_id)
        if len(rows) > 1:
            raise JobError(f"several jobs begin with {job_id!r}; give more of the id")
        return str(rows[0]["id"])


def _unknown(job_id: str) -> NotFoundError:
    return NotFoundError(f"there is no job {job_id!r}; see: sage job list", job=job_id)


def add_event(
    connection: sqlite3.Connection, job_id: str, kind: str, data: Any, when: float | None = None
) -> None:
    """Store an event of a job, in a transaction of the caller."""
    connection.execute(
        "INSERT INTO events (time, job, type, data) VALUES (?, ?, ?, ?)",
        (time.time() if when is None else when, job_id, kind, json.dumps(data)),
    )


def _storable(text: str | None) -> str | None:
    """Text without halves of characters, which a file name may hold and SQLite refuses."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _info(row: sqlite3.Row, attempts: tuple[AttemptInfo, ...] = ()) -> JobInfo:
    return JobInfo(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        kind=row["kind"],
        action=row["action"],
        parent=row["parent"],
        priority=row["priority"],
        submitted=row["submitted"],
        started=row["started"],
        ended=row["ended"],
        error=row["error"],
        attempt=row["attempt"],
        attempts=attempts,
    )
