"""What jobs said: events and samples of the metrics, read from their journals exactly once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from sage.kernel.jobmanager.journal import CHECKPOINT, METRICS, Line
from sage.kernel.jobmanager.model import JobEvent, MetricsSample
from sage.kernel.jobmanager.store.database import Database
from sage.kernel.jobmanager.store.jobs import add_event

_THINNED = 60.0


class History:
    """The tables ``events`` and ``metrics``.

    Args:
        database: The database.
        changed: Called after something was stored, with the id of its job.
    """

    def __init__(self, database: Database, changed: Callable[[str], None]) -> None:
        self._database = database
        self._changed = changed

    def position(self, job_id: str) -> int:
        """Number of the last line of a job's journal that is stored."""
        rows = self._database.rows("SELECT journal FROM jobs WHERE id = ?", job_id)
        return int(rows[0]["journal"]) if rows else 0

    def take(
        self, job_id: str, lines: Iterable[Line], seen: Callable[[Line], object] | None = None
    ) -> list[Line]:
        """Store lines of a journal, those that are stored already left out.

        Args:
            job_id: The job.
            lines: In order.
            seen: Called with each that is new; what it stores is stored with the line or not at
                all.

        Returns:
            The lines that were new.
        """
        with self._database.transaction() as connection:
            position = self.position(job_id)
            new = [line for line in lines if line["n"] > position]
            for line in new:
                if line["type"] == METRICS:
                    sample = {"attempt": line["attempt"], **line["data"]}
                    connection.execute(
                        "INSERT INTO metrics (job, time, sample) VALUES (?, ?, ?)",
                        (job_id, line["time"], json.dumps(sample)),
                    )
                else:
                    add_event(connection, job_id, line["type"], line["data"], line["time"])
                if seen is not None:
                    seen(line)
            if new:
                connection.execute(
                    "UPDATE jobs SET journal = ? WHERE id = ?", (new[-1]["n"], job_id)
                )
        if new:
            self._changed(job_id)
        return new

    def note(self, job_id: str, kind: str, data: Any) -> None:
        """Store an event of the daemon itself about a job."""
        with self._database.transaction() as connection:
            add_event(connection, job_id, kind, data)
        self._changed(job_id)

    def events(self, job_id: str | None, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """Events of a job, or of all, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM events WHERE (?1 IS NULL OR job = ?1) AND id > ?2 ORDER BY id LIMIT ?3",
            job_id,
            after,
            limit,
        )
        return [
            JobEvent(
                id=row["id"],
                time=row["time"],
                job=row["job"],
                type=row["type"],
                data=json.loads(row["data"]),
            )
            for row in rows
        ]

    def newest_event(self) -> int:
        """Id of the newest event, 0 without any."""
        return int(self._database.rows("SELECT coalesce(max(id), 0) AS id FROM events")[0]["id"])

    def samples(
        self, job_id: str, *, since: float = 0.0, after: int = 0, limit: int = 1000
    ) -> list[tuple[int, MetricsSample]]:
        """The newest ``limit`` samples of a job with their ids, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM metrics WHERE job = ? AND time >= ? AND id > ? ORDER BY id DESC LIMIT ?",
            job_id,
            since,
            after,
            limit,
        )
        return [
            (row["id"], MetricsSample(job=job_id, time=row["time"], **json.loads(row["sample"])))
            for row in reversed(rows)
        ]

    def thin_out(self, full: float) -> int:
        """Keep one sample and one checkpoint a minute of those older than ``full`` seconds.

        Returns:
            How many went.
        """
        before = time.time() - full
        with self._database.transaction() as connection:
            samples = connection.execute(
                "DELETE FROM metrics WHERE time < ?1 AND id NOT IN (SELECT min(id) FROM metrics "
                "WHERE time < ?1 GROUP BY job, cast(time / ?2 AS INTEGER))",
                (before, _THINNED),
            )
            checkpoints = connection.execute(
                "DELETE FROM events WHERE type = ?3 AND time < ?1 AND id NOT IN (SELECT max(id) "
                "FROM events WHERE type = ?3 AND time < ?1 "
                "GROUP BY job, cast(time / ?2 AS INTEGER))",
                (before, _THINNED, CHECKPOINT),
            )
        return samples.rowcount + checkpoints.rowcount
