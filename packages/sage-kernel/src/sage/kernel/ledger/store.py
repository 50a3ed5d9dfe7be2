"""The ledger of a store: a journal and a database made from it, opened once per process.

Predecessors: ``sage.kernel.ledger.writer``, ``sage.kernel.ledger.index``; successor:
``sage.kernel.ledger.run``.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sage.common.paths import ensure_dir, sync_folder
from sage.kernel.ledger import index
from sage.kernel.ledger.errors import LedgerError, PayloadError
from sage.kernel.ledger.payloads import digest_of
from sage.kernel.ledger.schema import FORMAT, PAGE_SIZE, SCHEMA
from sage.kernel.ledger.writer import KNOWN, GroupWriter

WAL_BYTES: Final = 4 * 2**20
"""Size of the write-ahead log at which it is moved into the database."""
BUSY_SECONDS: Final = 60.0
CACHE_KB: Final = 16_000
BEHIND: Final = 4096
"""Rows and payloads that the database may be behind the journal while nobody asks."""

_logger = logging.getLogger("sage.ledger")


class Ledger(GroupWriter):
    """One ledger, shared by the jobs of a process; other processes may use it too.

    Attributes:
        path: The SQLite database.
    """

    def __init__(self, path: Path, *, durability: str = "power") -> None:
        self.users = 1
        self._durability = durability
        ensure_dir(path.parent)
        _create(path)
        with ExitStack() as stack:
            self._tables = stack.enter_context(closing(connect(path)))
            journal = stack.enter_context(closing(index.open_journal(path, self._tables)))
            if index.cut(self._tables, journal):
                _logger.warning(
                    "the journal %s has become shorter: calls at its end are lost", journal.path
                )
            if durability == "power":
                sync_folder(path.parent)
            stack.pop_all()
        super().__init__(path, journal, sync=durability == "power")
        self._others = journal.size > 0
        self._behind = 0
        self._read_to = -1
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._taking_over = threading.Lock()

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
        lost = self.finish()
        if lost is not None:
            _logger.warning("%s; what nobody waited for is lost", lost)
        try:
            self.catch_up()
        except LedgerError as error:
            _logger.warning("%s; who opens it next will do so", error)
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        self._tables.close()
        self._journal.close()

    # ------------------------------------------------------------------ the journal and its tables

    def catch_up(self) -> None:
        """Put what is new in the journal into the tables, that of other processes too.

        Raises:
            LedgerError: The database cannot be written.
        """
        size = self._journal.size
        if size == self._read_to:
            return
        with self._taking_over:
            self._behind = 0
            try:
                index.take_over(self._tables, self._journal)
            except (sqlite3.Error, OSError) as error:
                raise LedgerError(
                    f"the ledger {str(self.path)!r} cannot be brought up to date: {error}"
                ) from error
            self._read_to = size

    def committed(self, rows: int) -> None:
        self._behind += rows
        if self._behind >= BEHIND:
            try:
                self.catch_up()
            except LedgerError as error:  # the journal has it, and whoever asks will be told
                _logger.warning("%s", error)

    def stored(self, blobs: Mapping[bytes, bytes]) -> set[bytes]:
        if not self._others and len(self._known) <= KNOWN:
            return set()
        self._others = True
        found: set[bytes] = set()
        rest = iter(blobs)
        while part := list(islice(rest, index.MOST_ROWS)):
            marks = ",".join("?" * len(part))
            sql = f"SELECT digest, at, size FROM payloads WHERE digest IN ({marks})"  # noqa: S608
            for digest, at, size in self._select(sql, part):
                if self._journal.read(at, size) == blobs[digest]:  # it may have been damaged
                    found.add(digest)
        return found

    # ------------------------------------------------------------------ reading

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT over everything that is committed."""
        self.catch_up()
        return self._select(sql, parameters)

    def _select(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        with self._reading:
            try:
                if self._reader is None:
                    self._reader = connect(self.path)
                return self._reader.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise LedgerError(
                    f"the ledger {str(self.path)!r} cannot be read: {error}"
                ) from error

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement and commit it: for what is written rarely, such as a new run."""
        connection = connect(self.path)
        try:
            if self._durability == "power":
                connection.execute("PRAGMA synchronous = FULL")
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
        data = self._journal.read(*found[0]) if found else b""
        if not found or digest_of(data) != digest:
            what = "is damaged" if found else "is missing"
            self.forget(digest)
            raise PayloadError(
                f"payload {digest.hex()} of the ledger {str(self._journal.path)!r} {what}"
            )
        return data


_open: dict[Path, Ledger] = {}
_opening = threading.Lock()


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a ledger's database, with its tables."""
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")  # the journal makes up for the rest
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
                f"{str(path)!r} is a ledger of format {found}, this version of SAGE "
                f"knows format {FORMAT}"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the file of a new database, for its owner only.

    One that is there is left alone: closing it would drop the locks that SQLite has on it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two processes that make a database at once find it locked, which SQLite does not wait for."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
