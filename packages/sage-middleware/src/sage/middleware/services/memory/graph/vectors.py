"""Vectors of nodes, for entry points by meaning."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.storage.database import Database
from sage.middleware.services.memory.vdb.embedder import Embedder

Matrix = npt.NDArray[np.float32]
_ONE_BY_ONE = 500


class NodeVectors:
    """L2-normalised vectors by node number, exact search.

    Args:
        database: The truth, table ``vectors``.
        embedder: Makes vectors of texts.
    """

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self.embedder = embedder
        self._database = database
        self._lock = threading.Lock()
        self._seen = -1
        self._seq = -1
        self._numbers: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._matrix: Matrix = np.empty((0, 0), np.float32)

    def made(self, texts: Sequence[str]) -> list[bytes]:
        """Vectors of texts as they are stored."""
        if not texts:
            return []
        return [row.tobytes() for row in _unit(self.embedder.documents(texts))]

    @staticmethod
    def write(connection: sqlite3.Connection, number: int, vector: bytes) -> None:
        """Stores the vector of a node."""
        connection.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", (number, vector))
        connection.execute("INSERT INTO vector_changes (id) VALUES (?)", (number,))

    def search(self, query: str, topk: int) -> tuple[npt.NDArray[np.int64], Matrix, int]:
        """Node numbers and cosine similarities, best first, and how many nodes were compared."""
        vector = _unit(self.embedder.query(query)[None, :])[0]
        with self._lock:
            numbers, matrix = self._current()
        if not len(numbers):
            return numbers, np.empty(0, np.float32), 0
        if matrix.shape[1] != len(vector):
            raise InvalidInputError(
                f"the embedding model makes {len(vector)} elements, the collection has "
                f"{matrix.shape[1]}"
            )
        # Not `@`: see vdb.metrics.scores.
        scores = np.einsum("ij,j->i", matrix, vector)
        best = np.argsort(-scores, kind="stable")[:topk]
        return numbers[best], scores[best], len(numbers)

    def _current(self) -> tuple[npt.NDArray[np.int64], Matrix]:
        version = self._database.data_version()
        if version != self._seen:
            with self._database.snapshot() as connection:
                self._catch_up(connection)
            self._seen = version
        return self._numbers, self._matrix

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'vector_changes'"
        ).fetchone()
        last = int(row[0]) if row else 0
        if last == self._seq:
            return
        ids = [
            row[0]
            for row in connection.execute(
                "SELECT id FROM vector_changes WHERE seq > ?", (self._seq,)
            )
        ]
        if self._seq < 0 or len(ids) != last - self._seq or len(ids) > _ONE_BY_ONE:
            rows = connection.execute("SELECT id, vector FROM vectors ORDER BY id").fetchall()
            kept = np.empty(0, np.int64)
        else:
            marks = ",".join("?" * len(set(ids)))
            rows = connection.execute(
                f"SELECT id, vector FROM vectors WHERE id IN ({marks})",  # noqa: S608  (only "?")
                list(set(ids)),
            ).fetchall()
            kept = np.flatnonzero(~np.isin(self._numbers, ids))
        numbers = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        matrix = self._matrix[kept]
        if rows:
            flat = np.frombuffer(b"".join(row[1] for row in rows), np.float32)
            new = flat.reshape(len(rows), -1)
            matrix = np.concatenate([matrix, new]) if len(kept) else new
        self._numbers = np.concatenate([self._numbers[kept], numbers])
        self._matrix = matrix
        self._seq = last


def _unit(vectors: npt.NDArray[Any]) -> Matrix:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: Matrix = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return out
