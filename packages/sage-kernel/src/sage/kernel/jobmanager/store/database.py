"""The database: schema, one connection, transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from sage.common.errors import ServiceError

VERSION = 1

_SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    parent TEXT,
    bundle TEXT,
    status TEXT NOT NULL,
    priority INTEGER NOT NULL,
    submitted REAL NOT NULL,
    started REAL,
    ended REAL,
    error TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    journal INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_by_status ON jobs (status, submitted);
CREATE TABLE attempts (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    status TEXT NOT NULL,
    pid INTEGER,
    process_started TEXT,
    started REAL NOT NULL,
    ended REAL,
    exit INTEGER,
    error TEXT,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    job TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_job ON events (job, id);
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    time REAL NOT NULL,
    sample TEXT NOT NULL
) STRICT;
CREATE INDEX metrics_by_job ON metrics (job, id);
CREATE TABLE services (
    name TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner TEXT,
    metadata TEXT NOT NULL,
    registered REAL NOT NULL,
    seen REAL NOT NULL,
    ttl REAL
) STRICT;
"""


class Database:
    """One connection for all threads.

    Args:
        path: The file; made with mode 0600.

    Raises:
        ServiceError: It is of another version, or no database.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                with self.transaction() as connection:
                    for statement in _SCHEMA.split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.DatabaseError as exc:
            self._connection.close()
            raise ServiceError(f"the database {str(path)!r} cannot be used: {exc}") from exc
        if found not in (0, VERSION):
            self._connection.close()
            raise ServiceError(
                f"the database {str(path)!r} has version {found}, this SAGE reads {VERSION}; use "
                "another jobmanager.data_dir"
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; may be entered again inside by the same thread."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close it; every transaction that was ended is on the disk."""
        with self._lock:
            self._connection.close()
