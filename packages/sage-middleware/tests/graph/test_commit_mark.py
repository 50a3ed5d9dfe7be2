"""The number of the last commit, in memory shared by processes."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sage.middleware.services.memory.memory_collection.graph_collection import (
    GraphMemoryCollection,
)
from sage.middleware.services.memory.storage.commit_mark import CommitMark
from sage.middleware.services.memory.storage.database import Database

SCHEMA = ("CREATE TABLE t (k INTEGER PRIMARY KEY)",)


def opened(path: Path) -> Database:
    return Database(path / "c.db", SCHEMA, create=True, marked=True)


def add(path: Path, count: int) -> None:
    database = opened(path)
    for _ in range(count):
        with database.write() as connection:
            connection.execute("INSERT INTO t DEFAULT VALUES")
    database.close()


def test_every_commit_of_every_handle_changes_the_number(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    start = first.last_commit()
    assert start is not None
    second.write_one("INSERT INTO t DEFAULT VALUES")
    with first.write() as connection:
        connection.execute("INSERT INTO t DEFAULT VALUES")
    assert first.last_commit() == second.last_commit() == start + 2
    with pytest.raises(ZeroDivisionError), first.write():
        raise ZeroDivisionError
    assert second.last_commit() == start + 2
    first.close()
    second.close()


def test_processes_that_write_at_once_lose_no_number(tmp_path: Path) -> None:
    database = opened(tmp_path)
    start = database.last_commit()
    assert start is not None
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add, args=(tmp_path, 50)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert database.last_commit() == start + 100
    database.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from sage.middleware.services.memory.storage.commit_mark import CommitMark
from sage.middleware.services.memory.storage.database import Database

CommitMark.end = lambda self, number: os.kill(os.getpid(), signal.SIGKILL)
database = Database(Path(sys.argv[1]) / "c.db", ("CREATE TABLE t (k INTEGER PRIMARY KEY)",),
                    marked=True)
database.write_one("INSERT INTO t DEFAULT VALUES")
"""


def test_a_writer_killed_behind_its_commit_leaves_no_number(tmp_path: Path) -> None:
    database = opened(tmp_path)
    before = database.last_commit()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert database.last_commit() is None  # not the old number: there is a new row
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    other = opened(tmp_path)  # opening ends it
    assert before is not None
    assert database.last_commit() == other.last_commit() == before + 2
    database.close()
    other.close()


def test_a_walk_sees_the_commit_of_a_writer_that_died(tmp_path: Path) -> None:
    graph = GraphMemoryCollection.create(tmp_path, name="g")
    graph.add_edge("a", "b", create_missing=True)
    assert graph.k_hop("a", 2) == ["b"]
    other = GraphMemoryCollection.connect(tmp_path, name="g")
    mark = CommitMark(tmp_path / "collection.db-mark")
    other.add_edge("b", "c", create_missing=True)
    mark.begin()  # as if another writer were between its commit and the number
    other.add_edge("c", "d", create_missing=True)
    assert graph.k_hop("a", 3) == ["b", "c", "d"]
    mark.begin()
    assert graph.k_hop("a", 3) == ["b", "c", "d"]
    mark.close()
    other.close()
    graph.close()
