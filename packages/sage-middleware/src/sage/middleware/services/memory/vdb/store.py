"""The rows of a vector collection on disk and in memory, and every change to them.

A change kills some slots and appends others in one transaction: vectors first, then the rows that
name them. Insert, upsert, update and delete are that with nothing killed, nothing appended or both.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import orjson

from sage.middleware.services.memory.errors import (
    CollectionDamagedError,
    DuplicateIdError,
    RowNotFoundError,
)
from sage.middleware.services.memory.memory_collection.base_collection import read_settings
from sage.middleware.services.memory.storage.database import Database, Durability
from sage.middleware.services.memory.storage.layout import DATABASE_FILE
from sage.middleware.services.memory.storage.vector_file import VectorFile
from sage.middleware.services.memory.vdb.rows import Batch, Metadata, shown
from sage.middleware.services.memory.vdb.schema import MIGRATIONS
from sage.middleware.services.memory.vdb.state import StaleViewError, State, View

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
        (
            commit.epoch,
            commit.seq,
            commit.start,
            commit.dead_seq,
            self.callables,
            self.max_rows,
            self.max_age,
        ) = store.cursor.execute(
            "SELECT epoch, seq, next_slot, dead_seq, callables, max_rows, max_age FROM state"
        ).fetchone()

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
        return self._store.vector_file(self.commit.epoch, dim, create=True)

    def kill(self, slots: Sequence[int]) -> None:
        """Delete rows; slots that hold none any more are passed over."""
        c = self.connection
        for start in range(0, len(slots), _IN_MOST):
            part = list(slots[start : start + _IN_MOST])
            marks = ",".join("?" * len(part))
            gone = c.execute(
                # Only question marks are put into the statement.
                f"DELETE FROM rows WHERE slot IN ({marks}) RETURNING slot",  # noqa: S608
                part,
            ).fetchall()
            if gone:
                c.executemany("INSERT INTO dead (slot) VALUES (?)", gone)
                self.commit.killed.extend(slot for (slot,) in gone)

    def retain(self) -> list[int]:
        """Delete what exceeds the collection's bounds, oldest write first; the slots."""
        c = self.connection
        slots: list[int] = []
        if self.max_age is not None:
            # Slots are in the order of writing: the expired rows are at the beginning.
            oldest = time.time() - self.max_age
            for slot, ts in c.execute("SELECT slot, ts FROM rows ORDER BY slot"):
                if ts >= oldest:
                    break
                slots.append(slot)
        self.kill(slots)
        if self.max_rows is not None:
            commit = self.commit
            excess = (
                commit.start
                + len(commit.metadatas)
                - commit.dead_seq
                - len(commit.killed)
                - self.max_rows
            )
            if excess > 0:
                more = [
                    slot
                    for (slot,) in c.execute(
                        "SELECT slot FROM rows ORDER BY slot LIMIT ?", (excess,)
                    )
                ]
                self.kill(more)
                slots += more
        return slots

    def append(self, batch: Batch) -> int:
        """Write new rows; returns the slot of the first.

        Raises:
            DuplicateIdError: A row of that id is there.
        """
        start = self.commit.start
        if batch.vectors is not None:
            self.vector_file(batch.vectors.shape[1]).write(start, batch.vectors)
        c = self._store.cursor
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
        self._store.cursor.execute(
            "UPDATE state SET seq = ?, next_slot = ?, dead_seq = ?",
            (commit.seq, commit.start + len(commit.metadatas), commit.dead_seq),
        )


class RowStore:
    """Rows of the collection in ``path``.

    Args:
        path: The collection's directory.
        create: Whether to make a new one.
        durability: See ``storage.database``; what the collection was made with if ``None``.
        busy_timeout: Seconds to wait for writers of other processes.
    """

    def __init__(
        self, path: Path, *, create: bool, durability: Durability | None, busy_timeout: float
    ) -> None:
        self.path = path
        if durability is None:
            durability = stored_durability(path / DATABASE_FILE)
        self.database = Database(
            path / DATABASE_FILE,
            MIGRATIONS,
            durability=durability,
            busy_timeout=busy_timeout,
            create=create,
            before_commit=self._sync if durability == "power" else None,
        )
        self.cursor = self.database.cursor()
        self.state = State(self.database)
        self._files: dict[int, VectorFile] = {}
        self._files_lock = threading.Lock()

    def _sync(self) -> None:
        for file in tuple(self._files.values()):
            file.sync_if_written()

    def vector_path(self, epoch: int) -> Path:
        """Where a generation's vectors are."""
        return self.path / f"vectors-{epoch}.f32"

    def vector_file(self, epoch: int, dim: int, *, create: bool = False) -> VectorFile:
        """The open vector file of a generation.

        Raises:
            FileNotFoundError: It is not there (any more).
        """
        file = self._files.get(epoch)
        if file is None:
            with self._files_lock:
                file = self._files.get(epoch)
                if file is None:
                    file = VectorFile(self.vector_path(epoch), dim, create=create)
                    self._files[epoch] = file
        return file

    def attach_vectors(self, view: View, dim: int) -> None:
        """Open the vector file of the view's generation, if the view has rows.

        Raises:
            StaleViewError: A newer generation has replaced it.
            CollectionDamagedError: It is missing.
        """
        parts = view.generation.parts
        if not view.count or "vectors" in parts:
            return
        try:
            parts["vectors"] = self.vector_file(view.generation.epoch, dim)
        except FileNotFoundError as exc:
            with self.database.read() as connection:
                (epoch,) = connection.execute("SELECT epoch FROM state").fetchone()
            if epoch != view.generation.epoch:
                raise StaleViewError from exc
            path = str(self.vector_path(epoch))
            raise CollectionDamagedError(
                f"the vector file {path!r} is missing; repair() embeds the texts again", path=path
            ) from exc

    def forget_files(self, epoch: int) -> None:
        """Close and delete the vector files of all generations but this one."""
        for path in self.path.glob("vectors-*.f32"):
            if path != self.vector_path(epoch):
                path.unlink(missing_ok=True)
        with self._files_lock:
            for old in [e for e in self._files if e != epoch]:
                # Not closed here: a query may be reading it; it closes with its last user.
                del self._files[old]

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

    def get(self, ids: Sequence[str]) -> tuple[int, dict[str, StoredRow]]:
        """The rows of these ids, as far as they are there, and the epoch of their slots."""
        with self.database.snapshot() as connection:
            (epoch,) = connection.execute("SELECT epoch FROM state").fetchone()
            return epoch, find_rows(connection, ids)

    def scan(
        self, dim: int | None = None, page: int = 1000
    ) -> Iterator[tuple[int, list[StoredRow]]]:
        """All rows by slot in pages with the epoch of their slots, all as of one commit.

        With ``dim``, the vector file of that epoch stays readable until the scan ends.
        """
        with self.database.snapshot() as connection:
            epoch, count = connection.execute("SELECT epoch, next_slot FROM state").fetchone()
            if dim is not None and count:
                self.vector_file(epoch, dim)
            cursor = connection.execute("SELECT slot, id, text, meta, ts FROM rows ORDER BY slot")
            while rows := cursor.fetchmany(page):
                yield epoch, [_row(row) for row in rows]

    def cut_tail(self, dim: int) -> int:
        """Cut what a writer that died left behind the last committed vector; bytes cut.

        Raises:
            CollectionLockedError: Another process is writing.
            CollectionDamagedError: The file ends before the last committed vector.
        """
        with self.database.write(wait=False) as connection:
            epoch, count = connection.execute("SELECT epoch, next_slot FROM state").fetchone()
            try:
                file = self.vector_file(epoch, dim)
            except FileNotFoundError as exc:
                if not count:
                    return 0
                path = str(self.vector_path(epoch))
                raise CollectionDamagedError(
                    f"the vector file {path!r} is missing; connect_collection(…, repair=True) "
                    "embeds the texts again",
                    path=path,
                ) from exc
            if file.count() < count:
                raise CollectionDamagedError(
                    f"{str(file.path)!r} holds {file.count()} vectors, the database names {count}; "
                    "connect_collection(…, repair=True) embeds the lost rows again",
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


def stored_durability(path: Path) -> Durability:
    """The level a collection was made with."""
    database = Database(path, MIGRATIONS)
    try:
        level: Durability = read_settings(database).get("durability", "process")
        return level
    finally:
        database.close()


def find_rows(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, StoredRow]:
    """The rows of these ids, as far as they are there."""
    found: dict[str, StoredRow] = {}
    for start in range(0, len(ids), _IN_MOST):
        part = list(ids[start : start + _IN_MOST])
        marks = ",".join("?" * len(part))
        for row in connection.execute(
            # Only question marks are put into the statement.
            f"SELECT slot, id, text, meta, ts FROM rows WHERE id IN ({marks})",  # noqa: S608
            part,
        ):
            found[row[1]] = _row(row)
    return found


def _row(row: Sequence[Any]) -> StoredRow:
    return StoredRow(slot=row[0], id=row[1], text=row[2], meta=row[3], ts=row[4])


def missing_rows(ids: Sequence[str]) -> RowNotFoundError:
    """The error for ids that have no row."""
    return RowNotFoundError(
        f"no row has the id {shown(ids)}; insert returns the id of a row, insert(id=…) chooses it",
        ids=tuple(ids),
    )


def metadata_of(row: StoredRow) -> Mapping[str, Any]:
    """The metadata of a stored row."""
    plain: dict[str, Any] = orjson.loads(row.meta)
    return plain
