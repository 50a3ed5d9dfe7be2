"""Vectors by content: a bounded LRU in memory and an optional SQLite file."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage.common.errors import ServiceError

# A key of 16 bytes, its bytes object, the array header and the dictionary slot.
ENTRY_OVERHEAD = 250
DEFAULT_DISK_BYTES = 2**30


def content_key(text: str, kind: str) -> bytes:
    """The 16-byte key of a text embedded as ``kind``."""
    data = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).digest()


class VectorCache:
    """Least recently used vectors of one model, within a bound in bytes. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, npt.NDArray[np.float32]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes held, overhead included."""
        return self._bytes

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, npt.NDArray[np.float32]]:
        """Return what is there; each hit becomes the most recently used."""
        found = {}
        with self._lock:
            for key in keys:
                vector = self._entries.get(key)
                if vector is not None:
                    self._entries.move_to_end(key)
                    found[key] = vector
        return found

    def put_many(self, vectors: Mapping[bytes, npt.NDArray[np.float32]]) -> None:
        """Keep copies of the vectors, dropping the least recently used beyond the bound."""
        with self._lock:
            for key, vector in vectors.items():
                if key in self._entries:
                    continue
                # A row of a batch would keep the whole batch alive.
                self._entries[key] = vector.copy()
                self._bytes += vector.nbytes + ENTRY_OVERHEAD
            while self._bytes > self._max_bytes and self._entries:
                _, dropped = self._entries.popitem(last=False)
                self._bytes -= dropped.nbytes + ENTRY_OVERHEAD

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0


class DiskVectorCache:
    """Vectors of any number of models in one SQLite file (WAL), oldest dropped beyond a bound.

    Several processes may share the file. A cache is not a record: a damaged file is an error to
    the user, who may delete it at any time.

    Args:
        path: The file; made with its folders when missing.
        max_bytes: Bound on the vectors' own bytes.
    """

    def __init__(self, path: str | Path, max_bytes: int = DEFAULT_DISK_BYTES) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(
                self._path, timeout=30, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS vectors (seq INTEGER PRIMARY KEY, model TEXT NOT NULL,"
                " key BLOB NOT NULL, vector BLOB NOT NULL, UNIQUE (model, key))"
            )
            row = self._db.execute(
                "SELECT coalesce(sum(length(vector)), 0) FROM vectors"
            ).fetchone()
        except sqlite3.Error as exc:
            raise ServiceError(
                f"embedding cache {str(self._path)!r} cannot be opened: {exc}; "
                "delete the file or give another cache_path"
            ) from exc
        self._bytes = int(row[0])

    def get_many(self, model: str, keys: list[bytes]) -> dict[bytes, npt.NDArray[np.float32]]:
        """Return what is stored for ``model`` (a fingerprint)."""
        found = {}
        with self._lock:
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, vector FROM vectors WHERE model = ? AND key IN ({marks})"  # noqa: S608
                for key, blob in self._db.execute(query, [model, *some]):
                    found[bytes(key)] = np.frombuffer(blob, "<f4").astype(np.float32)
        return found

    def put_many(self, model: str, vectors: Mapping[bytes, npt.NDArray[np.float32]]) -> None:
        """Store the vectors of ``model`` in one transaction."""
        rows = [(model, key, vector.astype("<f4").tobytes()) for key, vector in vectors.items()]
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                before = self._db.total_changes
                self._db.executemany(
                    "INSERT OR IGNORE INTO vectors (model, key, vector) VALUES (?, ?, ?)", rows
                )
                if rows:
                    self._bytes += (self._db.total_changes - before) * len(rows[0][2])
                if self._bytes > self._max_bytes:
                    self._trim()
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _trim(self) -> None:
        # Down to nine tenths, so that not every put trims; recount, other processes write too.
        query = "SELECT seq, length(vector) FROM vectors ORDER BY seq DESC"
        kept, last = 0, None
        for seq, size in self._db.execute(query):
            if kept + size > self._max_bytes * 0.9:
                last = seq
                break
            kept += size
        if last is not None:
            self._db.execute("DELETE FROM vectors WHERE seq <= ?", (last,))
        self._bytes = kept

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
