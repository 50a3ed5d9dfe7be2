"""Keeps an adjacency in step with the tables it is made from."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np

from sage.middleware.services.memory.graph import adjacency_file
from sage.middleware.services.memory.graph.adjacency import Adjacency
from sage.middleware.services.memory.graph.keys import NodeKey
from sage.middleware.services.memory.graph.schema import (
    ALL_CHANGED,
    EDGE_ADDED,
    EDGE_REMOVED,
    EDGE_WEIGHED,
    NODE_ADDED,
    NODE_REMOVED,
)
from sage.middleware.services.memory.storage.database import Database

_CHUNK = 50_000


class AdjacencyCache:
    """An adjacency that follows the tables, whoever wrote to them.

    Args:
        database: The truth.
        path: File of the snapshot.
    """

    def __init__(self, database: Database, path: Path) -> None:
        self.lock = threading.RLock()
        self._database = database
        self._path = path
        self._adjacency: Adjacency | None = None
        self._seq = 0
        self._seen: int | None = None
        self._saved = -1

    def current(self) -> Adjacency:
        """The adjacency as of the last commit. Hold ``lock`` while you use it."""
        last = self._database.last_commit()
        if last is not None and last == self._seen and self._adjacency is not None:
            return self._adjacency
        with self._database.snapshot() as connection:
            if self._adjacency is None:
                found = adjacency_file.read(self._path)
                if found is not None:
                    self._seq, self._adjacency = found
                    self._saved = self._seq
            if self._adjacency is None or not self._catch_up(connection, self._adjacency):
                self._adjacency = self._built(connection)
        self._seen = last
        return self._adjacency

    def save(self) -> None:
        """Writes the snapshot and drops the links it holds."""
        with self.lock:
            with self._database.snapshot() as connection:
                seq = _last(connection)
                if seq == self._saved and self._path.exists():
                    return
                keys, arrays = _read_tables(connection)
            adjacency_file.write(self._path, seq, keys, *arrays)
            self._saved = seq
            with self._database.write() as connection:
                connection.execute("DELETE FROM links WHERE seq <= ?", (seq,))

    def _built(self, connection: sqlite3.Connection) -> Adjacency:
        keys, arrays = _read_tables(connection)
        self._seq = _last(connection)
        return Adjacency(keys, *arrays)

    def _catch_up(self, connection: sqlite3.Connection, adjacency: Adjacency) -> bool:
        """Repeats what happened since; False when that is no longer told in full."""
        last = _last(connection)
        if last == self._seq:
            return True
        rows = connection.execute(
            "SELECT change, source, target, type, weight FROM links WHERE seq > ? ORDER BY seq",
            (self._seq,),
        ).fetchall()
        if len(rows) != last - self._seq or any(row[0] == ALL_CHANGED for row in rows):
            return False
        added = {row[1] for row in rows if row[0] == NODE_ADDED}
        keys = _keys_of(connection, added)
        for change, source, target, kind, weight in rows:
            if change == EDGE_ADDED:
                adjacency.add_edge(source, target, kind, weight)
            elif change == EDGE_REMOVED:
                adjacency.remove_edge(source, target, kind)
            elif change == EDGE_WEIGHED:
                adjacency.weigh_edge(source, target, kind, weight)
            elif change == NODE_REMOVED:
                adjacency.remove_node(source)
            else:
                # One that was removed again meanwhile has no key any more.
                adjacency.add_node(source, keys.get(source))
        self._seq = last
        return True


def _last(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'links'").fetchone()
    return int(row[0]) if row else 0


def _keys_of(connection: sqlite3.Connection, numbers: set[int]) -> dict[int, NodeKey]:
    found = {}
    for number in numbers:
        row = connection.execute("SELECT key FROM nodes WHERE id = ?", (number,)).fetchone()
        if row is not None:
            found[number] = row[0]
    return found


def _read_tables(
    connection: sqlite3.Connection,
) -> tuple[list[NodeKey | None], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    top = connection.execute("SELECT MAX(id) FROM nodes").fetchone()[0]
    keys: list[NodeKey | None] = [None] * (0 if top is None else top + 1)
    for number, key in connection.execute("SELECT id, key FROM nodes"):
        keys[number] = key
    cursor = connection.execute(
        "SELECT source, target, type, weight FROM edges ORDER BY source, target, type"
    )
    chunks = []
    while rows := cursor.fetchmany(_CHUNK):
        chunks.append(np.array(rows, np.float64))
    table = np.concatenate(chunks) if chunks else np.empty((0, 4))
    ends = [table[:, i].astype(np.int32) for i in range(3)]
    return keys, (ends[0], ends[1], ends[2], table[:, 3].copy())
