"""Group commit: what gathers while one transaction is written is the next transaction.

A thread that waits for its row commits it itself, with all that has gathered, unless somebody is
committing already; then the writer's thread does, as it does for event loops. A loop gathers what
its callbacks add in one turn. Calls that nobody waits for ride along, or follow after ``LAZY``
seconds. What became of items is put off until there is much of it, or it is that old: each
transaction that touches another table writes another page.

Predecessor: ``sage.kernel.ledger.places``; successor: ``sage.kernel.ledger.store``.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sage.kernel.ledger.errors import LedgerError
from sage.kernel.ledger.pieces import PieceFile
from sage.kernel.ledger.places import INDEXED, Place, note, to_index
from sage.kernel.ledger.schema import INSERTS, VERBS

MOST_ROWS: Final = 64
"""Most rows per INSERT statement."""
LAZY: Final = 0.25
"""Seconds after which rows that nobody waits for are due; twice that if others keep coming."""
PUT_OFF: Final = 256
"""Rows of outputs that the next transaction takes whatever their age."""
INDEX: Final = 2048
"""Payloads whose places are put into the index together."""
KNOWN: Final = 100_000
"""Digests of payloads that are remembered as being on the disk."""

Row = tuple[Any, ...]
Rows = Sequence[tuple[Row, Sequence[tuple[bytes, bytes]]]]
"""``(row, blobs)``: a row is as in ``schema.INSERTS``, a blob is ``(digest, payload)``."""
Waiter = Callable[[BaseException | None], None]
Entry = tuple[str, Row, Waiter | None]


class GroupWriter:
    """Writes rows and payloads; used from any thread and any number of event loops.

    Args:
        path: The database, for messages.
        connection: A connection to it that nobody else uses.
        pieces: The file of payloads.
        sync: Whether payloads are written through to the disk before the rows that name them.

    Attributes:
        commits: Transactions so far.
        taken: Entries of the transaction that is being written.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, pieces: PieceFile, *, sync: bool
    ) -> None:
        self.path = path
        self.commits = 0
        self.taken = 0
        self._connection = connection
        self._pieces = pieces
        self._sync = sync
        self._lock = threading.Lock()
        self._there = threading.Condition(self._lock)
        self._committing = threading.Lock()
        self._entries: list[Entry] = []
        self._outputs: list[Entry] = []
        self._due = 0.0
        self._timed = False
        self._blobs: dict[bytes, bytes] = {}
        self._known: dict[bytes, None] = {}
        self._damaged: set[bytes] = set()
        self._places: dict[bytes, Place] | None = None
        self._urgent = False
        self._closing = False
        self._error: LedgerError | None = None
        self._thread: threading.Thread | None = None
        self._statements: dict[tuple[str, int], str] = {}

    # ------------------------------------------------------------------ adding

    def add(self, table: str, rows: Rows, waiter: Waiter | None = None) -> None:
        """Write rows with the payloads they refer to, in the next transaction.

        Args:
            table: ``calls`` or ``outputs``.
            rows: The rows.
            waiter: Called once they are committed, on whatever thread did that, or with the error
                that prevented it.
        """
        with self._lock:
            first = self._append(table, rows, waiter)
            if waiter is not None or (first and not self._timed):
                self._notify(urgent=waiter is not None)

    def gather(self, table: str, rows: Rows, waiter: Waiter) -> bool:
        """``add``, but leave it to the caller to ``kick``; whether it is the first to do so."""
        with self._lock:
            self._append(table, rows, waiter)
            urgent, self._urgent = self._urgent, True
            return not urgent

    def kick(self) -> None:
        """Let the writer's thread commit what has gathered."""
        with self._lock:
            self._notify(urgent=True)

    def add_and_wait(self, table: str, rows: Rows) -> None:
        """``add``, and return when it is committed.

        Raises:
            LedgerError: It could not be written.
        """
        done = threading.Lock()
        done.acquire()
        failed: list[BaseException] = []

        def wake(error: BaseException | None) -> None:
            if error is not None:
                failed.append(error)
            done.release()

        with self._lock:
            self._append(table, rows, wake)
        if self._committing.acquire(blocking=False):
            try:
                self._write_group()
            finally:
                self._committing.release()
            with self._lock:
                if self._entries:
                    self._notify(urgent=True)
        else:
            self.kick()
        done.acquire()
        if failed:
            raise failed[0]

    def drain(self) -> None:
        """Return when everything added so far is committed."""
        with self._lock:
            idle = not self._entries and not self._outputs and not self.taken
            self._due = 0.0
        if not idle:
            self.add_and_wait("calls", ())

    def replace(self, digest: bytes) -> None:
        """A payload turned out to be damaged: when it comes again, it is written again."""
        with self._lock:
            self._damaged.add(digest)
            self._known.pop(digest, None)

    def waiting(self) -> int:
        """Entries that are not written yet."""
        return len(self._entries) + len(self._outputs)

    def _append(self, table: str, rows: Rows, waiter: Waiter | None) -> bool:
        if self._closing or self._error is not None:
            raise LedgerError(
                f"the ledger {str(self.path)!r} takes no more calls: "
                f"{self._error or 'it has been closed'}"
            ) from self._error
        first = not self._entries and not self._outputs
        entries, known = self._entries, self._known
        if waiter is None and table == "outputs":
            entries = self._outputs
            if not entries:
                self._due = time.monotonic() + LAZY
        for row, blobs in rows:
            for digest, data in blobs:
                if digest not in known:
                    self._blobs[digest] = data
            entries.append((table, row, None))
        if waiter is not None:
            last = entries.pop() if rows else ("", (), None)
            entries.append((last[0], last[1], waiter))
        return first

    def _notify(self, *, urgent: bool) -> None:
        self._urgent = self._urgent or urgent
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sage-ledger", daemon=True)
            self._thread.start()
        else:
            self._there.notify()

    # ------------------------------------------------------------------ writing

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._urgent and not self._closing:
                    self._timed = bool(self._entries or self._outputs)
                    if not self._there.wait(LAZY if self._timed else None):
                        self._due = 0.0
                        break
                self._timed = False
                if self._closing:
                    return  # ``finish`` writes what is left
            with self._committing:
                self._write_group()

    def _write_group(self) -> None:
        """Commit what has gathered and wake who waits for it. ``_committing`` is held."""
        with self._lock:
            entries, self._entries = self._entries, []
            late = self._outputs
            if late and (len(late) >= PUT_OFF or time.monotonic() >= self._due):
                entries += late
                self._outputs = []
            blobs, self._blobs = self._blobs, {}
            self._urgent = False
            self.taken = len(entries)
        error: LedgerError | None = None
        try:
            if entries:
                self._commit(entries, blobs)
        except Exception as raised:  # noqa: BLE001 - whoever waits must hear of it
            error = LedgerError(
                f"the ledger {str(self.path)!r} cannot be written: {raised}; is the disk full?"
            )
            error.__cause__ = raised
            with self._lock:
                self._error = error
                entries += self._entries
                self._entries, self._outputs = [], []
        self.taken = 0
        loops: dict[Any, list[Any]] = {}
        for _, _, waiter in entries:
            if waiter is None:
                continue
            if isinstance(waiter, LoopWaiter):
                loops.setdefault(waiter.loop, []).append(waiter.future)
            else:
                waiter(error)
        for loop, futures in loops.items():
            _wake(loop, futures, error)

    def _commit(self, entries: list[Entry], blobs: dict[bytes, bytes]) -> None:
        rows: dict[str, list[Row]] = {table: [] for table in INSERTS}
        for table, row, _ in entries:
            if table:
                rows[table].append(row)
        calls = rows["calls"]
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            places = self._keep(blobs) if blobs else {}
            mended = self._mend(places) if self._damaged else set()
            if places and calls:
                calls[-1] = (*calls[-1][:-1], note(places))
            elif places:
                self._insert("payloads", [(digest, *place) for digest, place in places.items()])
                places = {}
            for table, all_rows in rows.items():
                self._insert(table, all_rows)
            before = self._places
            index = before is None or len(before) + len(places) > INDEX
            if index:
                self._index()
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self.commits += 1
        if before is None or index:
            self._places = {}
        else:
            before.update(places)
        self._damaged -= mended
        if len(self._known) > KNOWN:
            self._known.clear()
        self._known.update(dict.fromkeys(blobs))

    def _mend(self, places: dict[bytes, Place]) -> set[bytes]:
        """Let the index say where the new copies of damaged payloads are; takes them out."""
        mended = self._damaged & places.keys()
        if mended:
            self._index()  # first, lest a place that is noted already comes after
            rows = [(digest, *places.pop(digest)) for digest in sorted(mended)]
            self._insert("payloads", rows)
        return mended

    def _index(self) -> None:
        """Put the places that calls note into the index, those of other processes too."""
        self._insert("payloads", to_index(self._connection.execute))
        self._connection.execute(INDEXED)

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), MOST_ROWS):
            part = rows[start : start + MOST_ROWS]
            values = [value for row in part for value in row]
            self._connection.execute(self._statement(table, len(part)), values)

    def _keep(self, blobs: dict[bytes, bytes]) -> dict[bytes, Place]:
        """Append the payloads that are not there yet; where they are."""
        digests = list(blobs)
        there: set[bytes] = set()
        noted = self._places or {}
        for start in range(0, len(digests), MOST_ROWS):
            part = digests[start : start + MOST_ROWS]
            marks = ",".join("?" * len(part))
            found = f"SELECT digest FROM payloads WHERE digest IN ({marks})"  # noqa: S608
            there.update(row[0] for row in self._connection.execute(found, part))
        fresh = [
            digest
            for digest in digests
            if digest in self._damaged or (digest not in there and digest not in noted)
        ]
        if not fresh:
            return {}
        at = self._pieces.append(blobs[digest] for digest in fresh)
        if self._sync:
            self._pieces.sync()
        places: dict[bytes, Place] = {}
        for digest in fresh:
            places[digest] = (at, len(blobs[digest]))
            at += len(blobs[digest])
        return places

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

    def finish(self) -> None:
        """Write what is left and end the thread; nothing can be added any more."""
        with self._lock:
            self._closing = True
            self._due = 0.0
            self._there.notify()
        if self._thread is not None:
            self._thread.join()
        with self._committing:
            self._write_group()
            if self._places:
                self._index_rest()

    def _index_rest(self) -> None:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            self._index()
            execute("COMMIT")
        except sqlite3.Error:  # the next one who writes does it
            if self._connection.in_transaction:
                execute("ROLLBACK")


class LoopWaiter:
    """A future of an event loop; those of one group and loop are woken together."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.future = loop.create_future()

    def __call__(self, error: BaseException | None) -> None:
        _wake(self.loop, [self.future], error)


async def commit_async(writer: GroupWriter, table: str, rows: Rows) -> None:
    """``GroupWriter.add_and_wait`` on an event loop.

    Raises:
        LedgerError: It could not be written.
    """
    import asyncio  # noqa: PLC0415 - runs on a loop, where it is loaded

    loop = asyncio.get_running_loop()
    waiter = LoopWaiter(loop)
    if writer.gather(table, rows, waiter):
        loop.call_soon(writer.kick)
    await waiter.future


def _wake(loop: Any, futures: list[Any], error: BaseException | None) -> None:
    def wake() -> None:
        for future in futures:
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
