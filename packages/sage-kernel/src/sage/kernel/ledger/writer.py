"""Group commit: what gathers while one group is appended to the journal is the next group.

A thread that waits for its row appends it itself, with all that has gathered, unless somebody is
doing so already; then the writer's thread does, as it does for event loops. A loop gathers what its
callbacks add in one turn. What nobody waits for rides along, or follows after ``LAZY`` seconds.

Predecessor: ``sage.kernel.ledger.journal``; successor: ``sage.kernel.ledger.store``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sage.kernel.ledger.errors import LedgerError
from sage.kernel.ledger.journal import Blob, Journal, Packed, Row, pack_row

LAZY: Final = 0.25
"""Seconds after which rows that nobody waits for are due; twice that if others keep coming."""
KNOWN: Final = 100_000
"""Digests of payloads that are remembered as being in the journal."""

Additions = Sequence[tuple[Row, Sequence[Blob]]]
"""``(row, blobs)``: a row is as in ``schema.INSERTS``, with the payloads it refers to."""
Waiter = Callable[[BaseException | None], None]


class _Group:
    """What is committed together."""

    __slots__ = ("blobs", "loops", "rows", "waiters")

    def __init__(self) -> None:
        self.rows: Packed = {}
        self.blobs: dict[bytes, bytes] = {}
        self.waiters: list[Waiter] = []
        self.loops: dict[Any, list[Any]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def wake(self, error: BaseException | None) -> None:
        """Tell all who wait that it is committed, or why not."""
        for waiter in self.waiters:
            waiter(error)
        for loop, futures in self.loops.items():
            _wake(loop, futures, error)


class GroupWriter:
    """Appends rows and payloads to a journal; used from any thread and any number of event loops.

    Args:
        path: The ledger, for messages.
        journal: Where to.
        sync: Whether a group is written through to the disk.

    Attributes:
        commits: Groups so far.
        taken: Rows of the group that is being written.
    """

    def __init__(self, path: Path, journal: Journal, *, sync: bool) -> None:
        self.path = path
        self.commits = 0
        self.taken = 0
        self._journal = journal
        self._sync = sync
        self._lock = threading.Lock()
        self._there = threading.Condition(self._lock)
        self._committing = threading.Lock()
        self._group = _Group()
        self._timed = False
        self._known: dict[bytes, None] = {}
        self._urgent = False
        self._closing = False
        self._error: LedgerError | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------ adding

    def add(self, table: str, rows: Additions, waiter: Waiter | None = None) -> None:
        """Write rows with the payloads they refer to, in the next group.

        Args:
            table: ``calls`` or ``outputs``.
            rows: The rows.
            waiter: Called once they are committed, on whatever thread did that, or with the error
                that prevented it.
        """
        with self._lock:
            self._append(table, rows)
            if waiter is not None:
                self._group.waiters.append(waiter)
            if waiter is not None:
                self._notify(urgent=True)
            elif not self._timed:  # said here: the thread may only see it when the group is gone
                self._timed = True
                self._notify(urgent=False)

    def gather(self, table: str, rows: Additions, future: Any) -> bool:
        """``add`` for a future of a loop; whether that has to ``kick``, once per group."""
        with self._lock:
            self._append(table, rows)
            futures = self._group.loops.setdefault(future.get_loop(), [])
            futures.append(future)
            return len(futures) == 1

    def kick(self) -> None:
        """Let the writer's thread commit what has gathered."""
        with self._lock:
            self._notify(urgent=True)

    def add_and_wait(self, table: str, rows: Additions) -> None:
        """``add``, and return when it is committed.

        Raises:
            LedgerError: It could not be written.
        """
        if self._committing.acquire(blocking=False):
            try:
                with self._lock:
                    self._append(table, rows)
                error: BaseException | None = self._write_group()
            finally:
                self._committing.release()
        else:
            error = self._wait(table, rows)
        if error is not None:
            raise error

    def _wait(self, table: str, rows: Additions) -> BaseException | None:
        done = threading.Lock()
        done.acquire()
        failed: list[BaseException | None] = []

        def wake(error: BaseException | None) -> None:
            failed.append(error)
            done.release()

        self.add(table, rows, wake)
        done.acquire()
        return failed[0]

    def drain(self) -> None:
        """Return when everything added so far is committed.

        Raises:
            LedgerError: Some of it could not be written.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            group = self._group
            idle = not (group.rows or group.waiters or group.loops or self.taken)
        if not idle:
            self.add_and_wait("calls", ())

    def forget(self, digest: bytes) -> None:
        """A payload turned out to be damaged: when it comes again, it is looked at."""
        with self._lock:
            self._known.pop(digest, None)

    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._group)

    def _append(self, table: str, rows: Additions) -> None:
        if self._closing or self._error is not None:
            raise LedgerError(
                f"the ledger {str(self.path)!r} takes no more calls: "
                f"{self._error or 'it has been closed'}"
            ) from self._error
        packed = [pack_row(row) for row, _ in rows]
        group, known = self._group, self._known
        if packed:
            group.rows.setdefault(table, []).extend(packed)
        for _, blobs in rows:
            for digest, data in blobs:
                if digest not in known:
                    group.blobs[digest] = data

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
                    if not self._there.wait(LAZY if self._timed else None):
                        self._timed = False
                        break
                if self._closing:
                    return  # ``finish`` writes what is left
            with self._committing:
                self._write_group()

    def _write_group(self) -> LedgerError | None:
        """Commit what has gathered and wake who waits for it. ``_committing`` is held."""
        with self._lock:
            group, self._group = self._group, _Group()
            self._urgent = False
            self.taken = len(group)
        error: LedgerError | None = None
        try:
            if group.rows:
                self._commit(group)
        except Exception as raised:  # noqa: BLE001 - whoever waits must hear of it
            error = LedgerError(
                f"the ledger {str(self.path)!r} cannot be written: {raised}; is the disk full?"
            )
            error.__cause__ = raised
            with self._lock:
                self._error = error
                later, self._group = self._group, _Group()
            later.wake(error)
        self.taken = 0
        group.wake(error)
        return error

    def _commit(self, group: _Group) -> None:
        blobs = list(group.blobs.items())
        if blobs:
            there = self.stored(group.blobs)
            blobs = [blob for blob in blobs if blob[0] not in there]
        self._journal.append(group.rows, blobs)
        if self._sync:
            self._journal.sync()
        self.commits += 1
        if group.blobs:
            with self._lock:
                if len(self._known) > KNOWN:
                    self._known.clear()
                self._known.update(dict.fromkeys(group.blobs))
        self.committed(self.taken + len(blobs))

    def stored(self, blobs: Mapping[bytes, bytes]) -> set[bytes]:
        """Digests of those payloads that the ledger has, from other runs for example."""
        raise NotImplementedError

    def committed(self, rows: int) -> None:
        """Called for each group that is in the journal, with the number of its rows."""
        raise NotImplementedError

    def finish(self) -> LedgerError | None:
        """Write what is left and end the thread; nothing can be added any more."""
        with self._lock:
            self._closing = True
            self._there.notify()
        if self._thread is not None:
            self._thread.join()
        with self._committing:
            return self._write_group()


async def commit_async(writer: GroupWriter, table: str, rows: Additions) -> None:
    """``GroupWriter.add_and_wait`` on an event loop.

    Raises:
        LedgerError: It could not be written.
    """
    import asyncio  # noqa: PLC0415 - runs on a loop, where it is loaded

    loop = asyncio.get_running_loop()
    future = loop.create_future()
    if writer.gather(table, rows, future):
        loop.call_soon(writer.kick)
    await future


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
