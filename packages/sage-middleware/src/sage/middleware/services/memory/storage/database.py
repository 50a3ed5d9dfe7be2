"""One SQLite database in WAL mode: the truth of a collection.

Writers of this process take turns on one connection; writers of other processes wait for SQLite's
write lock, at most ``busy_timeout`` seconds. Readers never wait: each borrows a connection of its
own and sees the last commit.

Durability levels:

- ``process`` (default): a commit survives ``kill -9`` of this process. After a power loss the last
  commits may be gone; the database stays sound.
- ``power``: every commit is on the disk before the call returns. Writers that wait at the same
  time share one ``fsync`` (group commit).
- ``none``: no ``fsync`` ever, also not when SQLite moves pages from the log to the database. A
  commit still survives ``kill -9``; a power loss may damage the file. For what can be made again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, get_args

from sage.middleware.services.memory.errors import (
    CollectionClosedError,
    CollectionDamagedError,
    CollectionLockedError,
    InvalidInputError,
    MemoryStoreError,
    SchemaVersionError,
)
from sage.middleware.services.memory.storage.commit_mark import CommitMark

T = TypeVar("T")
Durability = Literal["process", "power", "none"]
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL", "none": "OFF"}
_CHECKPOINT_PAGES = 2000
_LOG_LIMIT_BYTES = 32 * 1024 * 1024
_IDLE_READERS = 16


class Database:
    """A SQLite file that many threads and processes share.

    Args:
        path: The database file; its directory must exist.
        migrations: SQL scripts; script ``i`` takes the schema from version ``i`` to ``i + 1``.
            Never edit one that was released, append another.
        durability: ``process``, ``power`` or ``none``; see the module.
        busy_timeout: Seconds a writer waits for writers of other processes.
        create: Whether the file may be missing.
        before_commit: Called inside a write transaction just before its commit, when files beside
            the database have to reach the disk first.
        marked: Keep a ``CommitMark`` beside the database, so that ``last_commit`` costs nothing.

    Raises:
        CollectionDamagedError: The file is not a database, or is missing.
        SchemaVersionError: The file has a newer schema than ``migrations`` lead to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        migrations: Sequence[str],
        *,
        durability: Durability = "process",
        busy_timeout: float = 10.0,
        create: bool = False,
        before_commit: Callable[[], None] | None = None,
        marked: bool = False,
    ) -> None:
        if durability not in get_args(Durability):
            raise InvalidInputError(
                f"durability is {durability!r}; expected one of {', '.join(get_args(Durability))}"
            )
        self.path = Path(path)
        self.durability: Durability = durability
        self.busy_timeout = busy_timeout
        self.before_commit = before_commit
        self._closed = False
        self._turn = threading.RLock()
        self._depth = 0
        self._owner: int | None = None
        self._queue: deque[_Ticket] = deque()
        self._readers: deque[sqlite3.Connection] = deque()
        self._watch = threading.Lock()
        existed = self.path.exists()
        if not existed and not create:
            raise CollectionDamagedError(
                f"the database {str(self.path)!r} is missing", path=str(self.path)
            )
        self._writer = self._connect()
        try:
            self._prepare(migrations)
            self._monitor = self._connect()
            # Cursors that are kept: making one costs more than the short statements themselves.
            self._version = self._monitor.cursor()
            self._turns = self._writer.cursor()
        except BaseException:
            self._writer.close()
            raise
        self._folder: int | None = None
        if hasattr(os, "O_DIRECTORY"):
            self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        mark = self.path.with_name(f"{self.path.name}-mark")
        self._mark = CommitMark(mark) if marked else None
        self._finalizer = weakref.finalize(
            self, _close_all, (self._monitor, self._writer), self._readers, self._folder, self._mark
        )
        if self._mark is not None and self._mark.last() is None:
            with contextlib.suppress(CollectionLockedError), self.write(wait=False):
                pass  # a killed writer left it open: any commit, also this empty one, ends that

    # -- connections -----------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        try:
            # Transactions are ours (isolation_level None), and connections wander between threads
            # that never use one at the same time.
            connection = sqlite3.connect(
                self.path,
                timeout=self.busy_timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            connection.execute("PRAGMA cache_size=-8000")
            connection.execute("PRAGMA temp_store=MEMORY")
        except sqlite3.DatabaseError as exc:
            raise self._explain(exc) from exc
        return connection

    def _prepare(self, migrations: Sequence[str]) -> None:
        try:
            c = self._writer
            c.execute("PRAGMA journal_mode=WAL")
            c.execute(f"PRAGMA synchronous={_SYNCHRONOUS[self.durability]}")
            c.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            c.execute(f"PRAGMA journal_size_limit={_LOG_LIMIT_BYTES}")
            c.execute("PRAGMA foreign_keys=ON")
            if c.execute("PRAGMA user_version").fetchone()[0] == len(migrations):
                return
            c.execute("BEGIN IMMEDIATE")
            try:
                found = c.execute("PRAGMA user_version").fetchone()[0]
                if found > len(migrations):
                    raise SchemaVersionError(
                        f"{str(self.path)!r} has schema version {found}, this SAGE knows "
                        f"{len(migrations)}: open it with the newer SAGE that wrote it",
                        found=found,
                        supported=len(migrations),
                    )
                for script in migrations[found:]:
                    for statement in filter(None, map(str.strip, script.split(";"))):
                        c.execute(statement)
                c.execute(f"PRAGMA user_version={len(migrations)}")
                c.execute("COMMIT")
            except BaseException:
                c.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as exc:
            raise self._explain(exc) from exc

    def _explain(self, exc: sqlite3.Error) -> MemoryStoreError:
        path = str(self.path)
        code = getattr(exc, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return CollectionLockedError(
                f"another process kept writing to {path!r} for more than {self.busy_timeout:g} s; "
                "try again, or open the collection with a longer busy_timeout",
                path=path,
                seconds=self.busy_timeout,
            )
        if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return CollectionDamagedError(f"{path!r} cannot be read: {exc}", path=path)
        return MemoryStoreError(f"SQLite failed on {path!r}: {exc}", path=path)

    def _check_open(self) -> None:
        if self._closed:
            raise CollectionClosedError(f"the collection at {str(self.path.parent)!r} is closed")

    def check_current(self) -> None:
        """Notice that the files were deleted or replaced under this handle.

        Raises:
            CollectionClosedError: Another handle or process deleted the collection.
        """
        if self._folder is not None:
            # A directory without links is one that was removed: one cheap call per write.
            gone = os.fstat(self._folder).st_nlink == 0
        else:
            gone = not self.path.exists()
        if gone:
            raise CollectionClosedError(
                f"the collection at {str(self.path.parent)!r} was deleted; connect to it again",
                path=str(self.path),
            )

    # -- writing ---------------------------------------------------------------------------------

    def write(self, *, wait: bool = True) -> WriteTransaction:
        """A write transaction for a ``with`` block: committed at its end, rolled back on an error.

        Nested blocks of one thread join the outer transaction. Without ``wait``, a writer of
        another process is an error at once.

        Raises:
            CollectionLockedError: Another process wrote longer than ``busy_timeout`` seconds.
        """
        return WriteTransaction(self, wait)

    def run(
        self, operation: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None = None
    ) -> T:
        """Do ``operation`` in a write transaction, then call ``then`` with its result.

        ``then`` runs after the commit and before the next writer of this process. At level
        ``power``, operations of threads that wait together share a transaction; one that raises is
        undone alone. Inside a ``write`` block the operation joins its transaction, and no other's.
        """
        if self.durability != "power" or self._owner == threading.get_ident():
            with self.write() as connection:
                result = operation(connection)
                self._leave_commit()
                if then is not None:
                    then(result)
            return result
        ticket = _Ticket(operation, then)
        self._queue.append(ticket)
        with self._turn:
            if not ticket.done:
                self._run_queue()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[no-any-return]

    def write_one(self, statement: str, values: Sequence[Any] = ()) -> None:
        """One statement in a transaction of its own: ``run`` with less around it."""
        if self.durability == "power" or self.before_commit is not None or self._mark is not None:
            self.run(lambda connection: connection.execute(statement, values))
            return
        with self._turn:
            self._check_open()
            if self._depth == 0:
                self.check_current()
            try:
                self._writer.execute(statement, values)
            except sqlite3.Error as exc:
                raise self._explain(exc) from exc

    def cursor(self) -> sqlite3.Cursor:
        """A cursor to keep for the short statements of write transactions; use it only in them."""
        return self._writer.cursor()

    def _run_queue(self) -> None:
        tickets = []
        while self._queue:
            tickets.append(self._queue.popleft())
        try:
            with self.write() as connection:
                for ticket in tickets:
                    connection.execute("SAVEPOINT one")
                    try:
                        ticket.result = ticket.operation(connection)
                    except Exception as exc:  # noqa: BLE001 - handed to the thread that asked for it
                        ticket.error = exc
                        connection.execute("ROLLBACK TO one")
                    connection.execute("RELEASE one")
                self._leave_commit()
                for ticket in tickets:
                    if ticket.then is not None and ticket.error is None:
                        ticket.then(ticket.result)
        except BaseException as exc:
            for ticket in tickets:
                ticket.error = ticket.error or exc
            if not isinstance(exc, Exception):
                raise
        finally:
            for ticket in tickets:
                ticket.done = True

    def _enter(self, wait: bool) -> sqlite3.Connection:
        self._turn.acquire()
        try:
            self._check_open()
            if self._depth == 0:
                self.check_current()
                try:
                    if not wait:
                        self._writer.execute("PRAGMA busy_timeout=0")
                    self._turns.execute("BEGIN IMMEDIATE")
                except sqlite3.Error as exc:
                    raise self._explain(exc) from exc
                finally:
                    if not wait:
                        self._writer.execute(f"PRAGMA busy_timeout={int(self.busy_timeout * 1000)}")
            self._depth += 1
            self._owner = threading.get_ident()
        except BaseException:
            self._turn.release()
            raise
        return self._writer

    def _leave_commit(self) -> None:
        """Commit the outermost transaction now; its block then has nothing left to commit."""
        if self._depth != 1 or not self._writer.in_transaction:
            return
        try:
            if self.before_commit is not None:
                self.before_commit()
            if self._mark is None:
                self._turns.execute("COMMIT")
            else:
                number = self._mark.begin()
                self._turns.execute("COMMIT")
                self._mark.end(number)
        except sqlite3.Error as exc:
            raise self._explain(exc) from exc

    def _leave(self, failed: bool) -> None:
        try:
            if not failed:
                self._leave_commit()
        except BaseException:
            failed = True
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._owner = None
                if failed and self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            self._turn.release()

    # -- reading ---------------------------------------------------------------------------------

    def read(self) -> ReadConnection:
        """A connection for reading, for a ``with`` block; every statement sees the last commit."""
        return ReadConnection(self)

    def snapshot(self) -> ReadConnection:
        """Like ``read``, but all statements of the block see one and the same commit."""
        return ReadConnection(self, transaction=True)

    def _borrow(self) -> sqlite3.Connection:
        self._check_open()
        try:
            return self._readers.pop()
        except IndexError:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
            return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed or len(self._readers) >= _IDLE_READERS:
            connection.close()
        else:
            self._readers.append(connection)

    def data_version(self) -> int:
        """A number that changes when anyone, this handle included, has committed."""
        with self._watch:
            self._check_open()
            version: int = self._version.execute("PRAGMA data_version").fetchone()[0]
            return version

    def last_commit(self) -> int | None:
        """The number of the last commit of anyone, of a database that is ``marked``.

        ``None`` while a commit is under way: then what the database says counts. Ask before
        reading; what was read then is current as long as this number stays.
        """
        self._check_open()
        assert self._mark is not None
        return self._mark.last()

    # -- upkeep ----------------------------------------------------------------------------------

    def checkpoint(self) -> bool:
        """Move the log into the database and empty the log file; False if readers prevented it."""
        with self._turn:
            self._check_open()
            try:
                busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error as exc:
                raise self._explain(exc) from exc
        return not busy

    def empty_log(self) -> None:
        """``checkpoint``, waiting for readers at most ``busy_timeout`` seconds.

        Raises:
            CollectionLockedError: Something still reads an older state than the last commit.
        """
        deadline = time.monotonic() + self.busy_timeout
        while not self.checkpoint():
            if time.monotonic() > deadline:
                raise CollectionLockedError(
                    f"the log of {str(self.path.parent)!r} could not be emptied for "
                    f"{self.busy_timeout:g} s because something still reads the old state (an "
                    "open scan, another process); end it and call forget or optimize again",
                    path=str(self.path.parent),
                    seconds=self.busy_timeout,
                )
            time.sleep(0.01)

    def vacuum(self) -> None:
        """Write the database anew, so that nothing deleted is left in its free pages."""
        with self._turn:
            self._check_open()
            try:
                self._writer.execute("VACUUM")
            except sqlite3.Error as exc:
                raise self._explain(exc) from exc
        self.checkpoint()

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; an empty list if nothing."""
        try:
            with self.read() as connection:
                found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        except CollectionDamagedError as exc:
            return [str(exc)]
        return [] if found == ["ok"] else found

    def size_bytes(self) -> int:
        """Bytes of the database and its log on disk."""
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(p.stat().st_size for p in paths if p.exists())

    def close(self) -> None:
        """Close every connection; the last handle to close folds the log into the database."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            with self._watch:
                self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed


class _Ticket:
    __slots__ = ("done", "error", "operation", "result", "then")

    def __init__(self, operation: Callable[[sqlite3.Connection], Any], then: Any) -> None:
        self.operation = operation
        self.then = then
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class WriteTransaction:
    """The ``with`` block of ``Database.write``."""

    __slots__ = ("_database", "_wait")

    def __init__(self, database: Database, wait: bool) -> None:
        self._database = database
        self._wait = wait

    def __enter__(self) -> sqlite3.Connection:
        return self._database._enter(self._wait)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database._leave(failed=kind is not None)
        if isinstance(error, sqlite3.Error):
            raise self._database._explain(error) from error


class ReadConnection:
    """The ``with`` block of ``Database.read`` and ``Database.snapshot``."""

    __slots__ = ("_connection", "_database", "_transaction")

    def __init__(self, database: Database, transaction: bool = False) -> None:
        self._database = database
        self._transaction = transaction

    def __enter__(self) -> sqlite3.Connection:
        self._connection = self._database._borrow()
        if self._transaction:
            self._connection.execute("BEGIN")
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._database._give_back(self._connection)
        if isinstance(error, sqlite3.Error):
            raise self._database._explain(error) from error


def _close_all(
    own: Sequence[sqlite3.Connection],
    readers: deque[sqlite3.Connection],
    folder: int | None,
    mark: CommitMark | None,
) -> None:
    while readers:
        readers.pop().close()
    for connection in own:
        connection.close()
    if folder is not None:
        os.close(folder)
    if mark is not None:
        mark.close()
