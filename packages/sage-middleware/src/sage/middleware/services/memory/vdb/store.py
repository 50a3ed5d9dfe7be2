"""The rows of a vector collection on disk and in memory, and every change to them.

A change kills some slots and appends others in one transaction: vectors first, then the rows that
name them. Insert, upsert, update and delete are that with nothing killed, nothing appended or both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import orjson

from sage.middleware.services.memory.errors import (
    CollectionDamagedError,
    DuplicateIdError,
    RowNotFoundError,
)
from sage.middleware.services.memory.storage.database import Database, Durability
from sage.middleware.services.memory.storage.layout import DATABASE_FILE
from sage.middleware.services.memory.storage.vector_file import VectorFile
from sage.middleware.services.memory.vdb.rows import Batch, Metadata, shown
from sage.middleware.services.memory.vdb.schema import MIGRATIONS
from sage.middleware.services.memory.vdb.state import Generation, State, View

_IN_MOST = 500
_INSERT = "INSERT INTO rows (slot, id, text, meta, ts) VALUES (?, ?, ?, ?, ?)"


@attrs.frozen(kw_only=True)
class StoredRow:
    """A row as the database has it."""

    slot: int
    id: str
    text: str
    meta: str
    ts: float


class _Commit:
    """What a transaction did, for this handle's memory."""

    __slots__ = ("dead_seq", "epoch", "killed", "metadatas", "result", "seq", "start")

    def __init__(self) -> None:
        self.epoch = 0
        self.seq = 0
        self.start = 0
        self.dead_seq = 0
        self.killed: list[int] = []
        self.metadatas: Sequence[Metadata] = ()
        self.result: Any = None


class Change:
    """Inside a write transaction: the connection, and what may be done to the rows."""

    def __init__(self, store: RowStore, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._store = store
        self.commit = commit = _Commit()
        row = connection.execute("SELECT epoch, seq, next_slot, dead_seq FROM state").fetchone()
        commit.epoch, commit.seq, commit.start, commit.dead_seq = row

    def find(self, ids: Sequence[str]) -> dict[str, StoredRow]:
        """The rows of these ids, as far as they are there."""
        return find_rows(self.connection, ids)

    def require(self, ids: Sequence[str]) -> list[StoredRow]:
        """The rows of these ids in their order.

        Raises:
            RowNotFoundError: At least one is not there.
        """
        found = self.find(ids)
        if len(found) < len(ids):
            raise missing_rows([i for i in ids if i not in found])
        return [found[i] for i in ids]

    def vector_file(self, dim: int) -> VectorFile:
        """The vector file of the current generation."""
        return self._store.vector_file(self.commit.epoch, dim)

    def kill(self, slots: Sequence[int]) -> None:
        """Delete rows; slots that hold none any more are passed over."""
        c = self.connection
        for start in range(0, len(slots), _IN_MOST):
            part = list(slots[start : start + _IN_MOST])
            marks = ",".join("?" * len(part))
            gone = c.execute(
                f"DELETE FROM rows WHERE slot IN ({marks}) RETURNING slot", part
            ).fetchall()
            if gone:
                c.executemany("INSERT INTO dead (slot) VALUES (?)", gone)
                self.commit.killed.extend(slot for (slot,) in gone)

    def append(self, batch: Batch) -> int:
        """Write new rows; returns the slot of the first.

        Raises:
            DuplicateIdError: A row of that id is there.
        """
        start = self.commit.start
        if batch.vectors is not None:
            self.vector_file(batch.vectors.shape[1]).write(start, batch.vectors)
        c = self.connection
        try:
            if len(batch) == 1:
                c.execute(
                    _INSERT,
                    (start, batch.ids[0], batch.texts[0], batch.json[0], batch.times[0]),
                )
            else:
                c.executemany(
                    _INSERT,
                    zip(
                        range(start, start + len(batch)),
                        batch.ids,
                        batch.texts,
                        batch.json,
                        batch.times,
                        strict=True,
                    ),
                )
        except sqlite3.IntegrityError as exc:
            # The transaction is undone as a whole, so that rows of this batch must not be named.
            taken = {i for i, r in self.find(batch.ids).items() if r.slot < start}
            there = [i for i in batch.ids if i in taken]
            raise DuplicateIdError(
                f"the collection has rows with these ids already: {shown(there)}; "
                "use update or upsert to change them",
                ids=tuple(there),
            ) from exc
        self.commit.metadatas = batch.metadatas
        return start

    def finish(self) -> None:
        """Count the commit."""
        commit = self.commit
        commit.seq += 1
        commit.dead_seq += len(commit.killed)
        self.connection.execute(
            "UPDATE state SET seq = ?, next_slot = ?, dead_seq = ?",
            (commit.seq, commit.start + len(commit.metadatas), commit.dead_seq),
        )


class RowStore:
    """Rows of the collection in ``path``.

    Args:
        path: The collection's directory.
        create: Whether to make a new one.
        durability: See ``storage.database``.
        busy_timeout: Seconds to wait for writers of other processes.
    """

    def __init__(
        self, path: Path, *, create: bool, durability: Durability, busy_timeout: float
    ) -> None:
        self.path = path
        self.database = Database(
            path / DATABASE_FILE,
            MIGRATIONS,
            durability=durability,
            busy_timeout=busy_timeout,
            create=create,
            before_commit=self._sync if durability == "power" else None,
        )
        self.state = State(self.database)
        self._files: dict[int, VectorFile] = {}

    def _sync(self) -> None:
        for file in tuple(self._files.values()):
            file.sync_if_written()

    def vector_path(self, epoch: int) -> Path:
        """Where a generation's vectors are."""
        return self.path / f"vectors-{epoch}.f32"

    def vector_file(self, epoch: int, dim: int) -> VectorFile:
        """The open vector file of a generation; older ones are closed when a newer one is used."""
        file = self._files.get(epoch)
        if file is None:
            file = self._files.setdefault(epoch, VectorFile(self.vector_path(epoch), dim))
        return file

    def attach_vectors(self, generation: Generation, dim: int) -> VectorFile:
        """The vector file of a view's generation."""
        file: VectorFile | None = generation.parts.get("vectors")
        if file is None:
            file = generation.parts["vectors"] = self.vector_file(generation.epoch, dim)
        return file

    def refresh(self) -> View:
        """The rows as of the last commit of anyone."""
        return self.state.refresh()

    def change(self, operation: Callable[[Change], Any]) -> Any:
        """Run ``operation`` in a transaction; its result, once that is committed."""

        def work(connection: sqlite3.Connection) -> _Commit:
            change = Change(self, connection)
            change.commit.result = operation(change)
            change.finish()
            return change.commit

        return self.database.run(work, self._take).result

    def _take(self, commit: _Commit) -> None:
        self.state.committed(
            commit.epoch,
            commit.seq,
            commit.start,
            commit.metadatas,
            commit.killed,
            commit.dead_seq,
        )

    def get(self, ids: Sequence[str]) -> dict[str, StoredRow]:
        """The rows of these ids, as far as they are there."""
        with self.database.read() as connection:
            return find_rows(connection, ids)

    def scan(self, start: int = 0, page: int = 1000) -> Iterator[StoredRow]:
        """All rows by slot; each page sees the last commit."""
        while True:
            with self.database.read() as connection:
                rows = connection.execute(
                    "SELECT slot, id, text, meta, ts FROM rows WHERE slot >= ? "
                    "ORDER BY slot LIMIT ?",
                    (start, page),
                ).fetchall()
            for row in rows:
                yield _row(row)
            if len(rows) < page:
                return
            start = rows[-1][0] + 1

    def cut_tail(self, dim: int) -> int:
        """Cut what a writer that died left behind the last committed vector; bytes cut.

        Raises:
            CollectionDamagedError: The file ends before the last committed vector.
        """
        with self.database.write() as connection:
            epoch, count = connection.execute("SELECT epoch, next_slot FROM state").fetchone()
            file = self.vector_file(epoch, dim)
            if file.count() < count:
                raise CollectionDamagedError(
                    f"{str(file.path)!r} holds {file.count()} vectors, the database names {count}; "
                    "open the collection with repair=True to embed the lost rows again",
                    path=str(file.path),
                    found=file.count(),
                    expected=count,
                )
            return file.cut(count)

    def close(self) -> None:
        """Release everything."""
        self.database.close()
        for file in self._files.values():
            file.close()


def find_rows(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, StoredRow]:
    """The rows of these ids, as far as they are there."""
    found: dict[str, StoredRow] = {}
    for start in range(0, len(ids), _IN_MOST):
        part = list(ids[start : start + _IN_MOST])
        for row in connection.execute(
            "SELECT slot, id, text, meta, ts FROM rows "
            f"WHERE id IN ({','.join('?' * len(part))})",
            part,
        ):
            found[row[1]] = _row(row)
    return found


def _row(row: Sequence[Any]) -> StoredRow:
    return StoredRow(slot=row[0], id=row[1], text=row[2], meta=row[3], ts=row[4])


def missing_rows(ids: Sequence[str]) -> RowNotFoundError:
    """The error for ids that have no row."""
    return RowNotFoundError(
        f"no row has the id {shown(ids)}; insert returns the id of a row, "
        "insert(id=…) chooses it",
        ids=tuple(ids),
    )


def metadata_of(row: StoredRow) -> Mapping[str, Any]:
    """The metadata of a stored row."""
    plain: dict[str, Any] = orjson.loads(row.meta)
    return plain


def slots_of(rows: Sequence[StoredRow]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The slots of stored rows."""
    return np.fromiter((r.slot for r in rows), np.int64, len(rows))
