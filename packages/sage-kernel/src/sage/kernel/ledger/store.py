"""The ledger's database and the thread that writes it.

Callers append entries to a list; the thread takes the whole list, commits it in one transaction and
then wakes the callers. While one group is being written the next one gathers by itself: no timers.

Predecessor: ``sage.kernel.ledger.payloads``; successor: ``sage.kernel.ledger.run``.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sage.common.paths import ensure_dir
from sage.kernel.ledger.errors import LedgerError, PayloadError
from sage.kernel.ledger.payloads import digest_of
from sage.kernel.ledger.pieces import PieceFile
from sage.kernel.ledger.schema import FORMAT, INSERTS, PAGE_SIZE, SCHEMA, VERBS

MOST_ROWS: Final = 64
"""Most rows per INSERT statement."""
WAL_BYTES: Final = 4 * 2**20
"""Size of the write-ahead log at which it is moved into the database."""
BUSY_SECONDS: Final = 60.0
CACHE_KB: Final = 16_000

Row = tuple[Any, ...]
Rows = Sequence[tuple[Row, Sequence[tuple[bytes, bytes]]]]
Waiter = Callable[[BaseException | None], None]


class Ledger:
    """One ledger file, shared by the jobs of a process; other processes may use it too.

    Attributes:
        path: The SQLite database.
        commits: Transactions written by this process so far.
        taken: Entries of the transaction that is being written.
    """

    def __init__(self, path: Path, *, durability: str = "power") -> None:
        self.path = path
        self.commits = 0
        self.taken = 0
        self.users = 1
        ensure_dir(path.parent)
        self._durability = durability
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._pieces = PieceFile(path.with_name(f"{path.stem}.payloads"))
        try:
            self._writer = self._connect()
        except BaseException:
            self._pieces.close()
            raise
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._lock = threading.Lock()
        self._there = threading.Condition(self._lock)
        self._entries: list[tuple[str, Row, Waiter | None]] = []
        self._blobs: dict[bytes, bytes] = {}
        self._known: dict[bytes, None] = {}
        self._closing = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._statements: dict[tuple[str, int], str] = {}

    @classmethod
    def open(cls, path: Path, *, durability: str = "power") -> Ledger:
        """The ledger at ``path``; every job of the process that opens it gets the same one.

        Args:
            path: The database file; made if it is missing, with its folder.
            durability: ``power``: what was recorded survives a power failure; ``process``: it
                survives the death of the process.

        Raises:
            LedgerError: The file is no ledger, is of a later format, or cannot be opened.
        """
        path = path.expanduser().absolute()
        with _opening:
            ledger = _open.get(path)
            if ledger is not None:
                ledger.users += 1
                return ledger
            try:
                ledger = _open[path] = cls(path, durability=durability)
            except (sqlite3.Error, OSError) as error:
                raise LedgerError(f"the ledger {str(path)!r} cannot be opened: {error}") from error
            return ledger

    def close(self) -> None:
        """One user less; the last one waits for what is still to be written and closes the file."""
        with _opening:
            self.users -= 1
            if self.users > 0:
                return
            _open.pop(self.path, None)
        with self._lock:
            self._closing = True
            self._there.notify()
        if self._thread is not None:
            self._thread.join()
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        self._writer.close()
        self._pieces.close()

    # ------------------------------------------------------------------ writing

    def add(self, table: str, rows: Rows, waiter: Waiter | None = None) -> None:
        """Write rows with the payloads they refer to, in the next transaction.

        Args:
            table: ``calls`` or ``outputs``.
            rows: ``(row, blobs)`` pairs: a row has the columns of ``schema.INSERTS``, a blob is
                ``(digest, payload)``.
            waiter: Called on the writer's thread once the transaction is committed, or with the
                error that prevented it.
        """
        with self._lock:
            if self._closing or self._error is not None:
                raise LedgerError(
                    f"the ledger {str(self.path)!r} takes no more calls: "
                    f"{self._error or 'it has been closed'}"
                ) from self._error
            entries, known = self._entries, self._known
            idle = not entries
            for row, blobs in rows:
                for digest, data in blobs:
                    if digest not in known:
                        self._blobs[digest] = data
                entries.append((table, row, None))
            if waiter is not None:
                last = entries.pop() if rows else ("", (), None)
                entries.append((last[0], last[1], waiter))
            if idle and entries:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._write, name="sage-ledger", daemon=True
                    )
                    self._thread.start()
                else:
                    self._there.notify()

    def add_rows_and_wait(self, table: str, rows: Rows) -> None:
        """``add``, and return when it is committed."""
        done = threading.Lock()
        done.acquire()
        failed: list[BaseException] = []

        def wake(error: BaseException | None) -> None:
            if error is not None:
                failed.append(error)
            done.release()

        self.add(table, rows, wake)
        done.acquire()
        if failed:
            raise failed[0]

    def waiting(self) -> int:
        """Entries that the next transaction will write."""
        return len(self._entries)

    def drain(self) -> None:
        """Return when everything added so far is committed."""
        with self._lock:
            idle = not self._entries and not self.taken
        if idle:
            return
        self.add_rows_and_wait("calls", ())

    def _write(self) -> None:
        while True:
            with self._lock:
                self.taken = 0
                while not self._entries and not self._closing:
                    self._there.wait()
                entries, self._entries = self._entries, []
                blobs, self._blobs = self._blobs, {}
                if not entries:
                    return
                self.taken = len(entries)
            error: BaseException | None = None
            try:
                self._commit(entries, blobs)
            except Exception as raised:  # noqa: BLE001 - the thread's end: all callers must know
                error = LedgerError(
                    f"the ledger {str(self.path)!r} cannot be written: {raised}; is the disk full?"
                )
                error.__cause__ = raised
                with self._lock:
                    self._error = error
                    rest, self._entries = self._entries, []
                entries += rest
            groups: dict[Any, list[Any]] = {}
            for _, _, waiter in entries:
                if waiter is None:
                    continue
                loop = getattr(waiter, "loop", None)
                if loop is None:
                    waiter(error)
                else:
                    groups.setdefault(loop, []).append(waiter)
            for loop, waiters in groups.items():
                _wake_loop(loop, waiters, error)
            if error is not None:
                return

    def _commit(
        self, entries: list[tuple[str, Row, Waiter | None]], blobs: dict[bytes, bytes]
    ) -> None:
        rows: dict[str, list[Row]] = {table: [] for table in INSERTS}
        for table, row, _ in entries:
            if table in rows:
                rows[table].append(row)
        execute = self._writer.execute
        execute("BEGIN IMMEDIATE")
        try:
            if blobs:
                rows["payloads"] = self._keep(blobs)
            for table, all_rows in rows.items():
                for start in range(0, len(all_rows), MOST_ROWS):
                    part = all_rows[start : start + MOST_ROWS]
                    execute(self._statement(table, len(part)), [v for row in part for v in row])
            execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                execute("ROLLBACK")
            raise
        self.commits += 1
        if len(self._known) > 100_000:
            self._known.clear()
        self._known.update(dict.fromkeys(blobs))

    def _keep(self, blobs: dict[bytes, bytes]) -> list[Row]:
        """Append the payloads that are not there yet; their rows."""
        digests = list(blobs)
        for start in range(0, len(digests), MOST_ROWS):
            part = digests[start : start + MOST_ROWS]
            marks = ",".join("?" * len(part))
            there = f"SELECT digest FROM payloads WHERE digest IN ({marks})"  # noqa: S608
            for (digest,) in self._writer.execute(there, part).fetchall():
                del blobs[digest]
        if not blobs:
            return []
        at = self._pieces.append(blobs.values())
        if self._durability == "power":
            self._pieces.sync()
        rows: list[Row] = []
        for digest, data in blobs.items():
            rows.append((digest, at, len(data)))
            at += len(data)
        return rows

    def _statement(self, table: str, count: int) -> str:
        """One INSERT of ``count`` rows: each step of a statement gives up the interpreter lock."""
        known = self._statements.get((table, count))
        if known is None:
            columns = INSERTS[table]
            marks = f"({','.join('?' * len(columns))})"
            known = self._statements[table, count] = (
                f"{VERBS[table]} INTO {table} ({','.join(columns)}) "
                f"VALUES {','.join([marks] * count)}"
            )
        return known

    # ------------------------------------------------------------------ reading

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT."""
        with self._reading:
            if self._reader is None:
                self._reader = self._connect()
            try:
                return self._reader.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise LedgerError(
                    f"the ledger {str(self.path)!r} cannot be read: {error}"
                ) from error

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement and commit it: for what is written rarely, such as a new run."""
        connection = self._connect()
        try:
            connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise LedgerError(
                f"the ledger {str(self.path)!r} cannot be written: {error}"
            ) from error
        finally:
            connection.close()

    def payload(self, digest: bytes) -> bytes:
        """A payload by its digest.

        Raises:
            PayloadError: It is not there, or its content is not what the digest says.
        """
        found = self.query("SELECT at, size FROM payloads WHERE digest = ?", (digest,))
        data = self._pieces.read(*found[0]) if found else b""
        if not found or digest_of(data) != digest:
            what = "is missing" if not found else "is damaged"
            raise PayloadError(
                f"payload {digest.hex()} of the ledger {str(self._pieces.path)!r} {what}"
            )
        return data

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            full = "FULL" if self._durability == "power" else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {full}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // PAGE_SIZE}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                connection.execute("BEGIN IMMEDIATE")
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute("COMMIT")
            elif found != FORMAT:
                raise LedgerError(
                    f"{str(self.path)!r} is a ledger of format {found}, this version of SAGE "
                    f"knows format {FORMAT}"
                )
        except BaseException:
            connection.close()
            raise
        return connection


_open: dict[Path, Ledger] = {}
_opening = threading.Lock()


class LoopWaiter:
    """Wakes a future of an event loop; those of one group and loop are woken together."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.future = loop.create_future()

    def __call__(self, error: BaseException | None) -> None:
        _wake_loop(self.loop, [self], error)


async def commit_async(store: Ledger, table: str, rows: Rows) -> None:
    """``Ledger.add_rows_and_wait`` on an event loop."""
    import asyncio  # noqa: PLC0415 - runs on a loop, where it is loaded

    waiter = LoopWaiter(asyncio.get_running_loop())
    store.add(table, rows, waiter)
    await waiter.future


def _wake_loop(loop: Any, waiters: list[Any], error: BaseException | None) -> None:
    def wake() -> None:
        for waiter in waiters:
            future = waiter.future
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    try:
        loop.call_soon_threadsafe(wake)
    except RuntimeError:  # the loop was closed: nobody waits any more
        return
