"""The SQLite base: transactions, durability, other writers, damage."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest

from sage.middleware.services.memory.errors import (
    CollectionClosedError,
    CollectionDamagedError,
    CollectionLockedError,
    InvalidInputError,
    SchemaVersionError,
)
from sage.middleware.services.memory.storage.database import Database

SCHEMA = ("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT UNIQUE)",)


def open_database(path: Path, **options: object) -> Database:
    return Database(path / "c.db", SCHEMA, create=True, **options)  # type: ignore[arg-type]


def values(database: Database) -> list[str]:
    with database.read() as c:
        return [v for (v,) in c.execute("SELECT v FROM t ORDER BY k")]


def test_an_error_rolls_everything_back(tmp_path: Path) -> None:
    database = open_database(tmp_path)

    def fail() -> None:
        with database.write() as c:
            c.execute("INSERT INTO t (v) VALUES ('a')")
            with database.write() as inner:
                inner.execute("INSERT INTO t (v) VALUES ('b')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert values(database) == []
    with database.write() as c:
        c.execute("INSERT INTO t (v) VALUES ('c')")
    assert values(database) == ["c"]
    database.close()
    with pytest.raises(CollectionClosedError):
        database.write().__enter__()


@pytest.mark.parametrize(("level", "expected"), [("process", 1), ("power", 2), ("none", 0)])
def test_durability_sets_what_sqlite_syncs(tmp_path: Path, level: str, expected: int) -> None:
    database = open_database(tmp_path, durability=level)
    with database.write() as c:
        assert c.execute("PRAGMA synchronous").fetchone()[0] == expected
        assert c.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    database.close()


def test_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="eternal"):
        open_database(tmp_path, durability="eternal")


def test_waiting_writers_share_a_commit_at_level_power(tmp_path: Path) -> None:
    commits = []
    database = open_database(tmp_path, durability="power", before_commit=lambda: commits.append(1))
    count = 40
    failed: list[str] = []
    after: list[int] = []
    start = threading.Barrier(count + 1)

    def work(i: int) -> None:
        def operation(c: sqlite3.Connection) -> int:
            c.execute("INSERT INTO t (v) VALUES (?)", (f"v{i}",))
            if i % 10 == 9:
                raise ValueError(f"v{i}")
            return i

        start.wait()
        try:
            assert database.run(operation, after.append) == i
        except ValueError as exc:
            failed.append(str(exc))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    with database.write():  # all arrive while this one is writing
        start.wait()
        while len(database._queue) < count:
            pass
    for thread in threads:
        thread.join()
    assert sorted(failed) == ["v19", "v29", "v39", "v9"]
    assert sorted(values(database)) == sorted(f"v{i}" for i in range(count) if i % 10 != 9)
    assert sorted(after) == [i for i in range(count) if i % 10 != 9]
    assert len(commits) < count / 2
    database.close()


def hold(path: Path, ready: object, done: object) -> None:
    database = open_database(path)
    with database.write() as c:
        c.execute("INSERT INTO t (v) VALUES ('other')")
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]
    database.close()


def test_a_second_writer_waits_or_is_told(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    impatient = open_database(tmp_path, busy_timeout=0.05)
    patient = open_database(tmp_path, busy_timeout=30)
    other = context.Process(target=hold, args=(tmp_path, ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(CollectionLockedError, match="another process"), impatient.write():
            pass
        with pytest.raises(CollectionLockedError), patient.write(wait=False):
            pass
        assert values(impatient) == []  # readers do not wait
        threading.Timer(0.1, done.set).start()
        with patient.write() as c:
            c.execute("INSERT INTO t (v) VALUES ('mine')")
        assert values(impatient) == ["other", "mine"]
    finally:
        done.set()
        other.join()
    impatient.close()
    patient.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "c.db", (*SCHEMA, "CREATE TABLE u (x)"), create=True)
    database.close()
    with pytest.raises(SchemaVersionError) as caught:
        open_database(tmp_path)
    assert (caught.value.found, caught.value.supported) == (2, 1)


def test_migrations_bring_an_old_database_up(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    database = Database(tmp_path / "c.db", (*SCHEMA, "CREATE TABLE u (x)"))
    with database.write() as c:
        c.execute("INSERT INTO u VALUES (1)")
    database.close()


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"certainly not a database " * 100)
    with pytest.raises(CollectionDamagedError, match="cannot be read"):
        open_database(tmp_path)
    with pytest.raises(CollectionDamagedError, match="missing"):
        Database(tmp_path / "other.db", SCHEMA)
