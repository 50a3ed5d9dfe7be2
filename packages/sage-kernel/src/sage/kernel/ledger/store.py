"""The ledger of a store: a database and a file of payloads, opened once per process.

Predecessor: ``sage.kernel.ledger.writer``; successor: ``sage.kernel.ledger.run``.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sage.common.paths import ensure_dir
from sage.kernel.ledger.errors import LedgerError, PayloadError
from sage.kernel.ledger.payloads import digest_of
from sage.kernel.ledger.pieces import PieceFile
from sage.kernel.ledger.places import Place, noted
from sage.kernel.ledger.schema import FORMAT, PAGE_SIZE, SCHEMA
from sage.kernel.ledger.writer import GroupWriter

WAL_BYTES: Final = 4 * 2**20
"""Size of the write-ahead log at which it is moved into the database."""
BUSY_SECONDS: Final = 60.0
CACHE_KB: Final = 16_000


class Ledger(GroupWriter):
    """One ledger file, shared by the jobs of a process; other processes may use it too.

    Attributes:
        path: The SQLite database.
    """

    def __init__(self, path: Path, *, durability: str = "power") -> None:
        self.users = 1
        self._durability = durability
        ensure_dir(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        pieces = PieceFile(path.with_name(f"{path.stem}.payloads"))
        try:
            connection = connect(path, durability)
        except BaseException:
            pieces.close()
            raise
        super().__init__(path, connection, pieces, sync=durability == "power")
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._noted: dict[bytes, Place] = {}

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
        self.finish()
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        self._connection.close()
        self._pieces.close()

    # ------------------------------------------------------------------ reading

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT."""
        with self._reading:
            if self._reader is None:
                self._reader = connect(self.path, self._durability)
            try:
                return self._reader.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise LedgerError(
                    f"the ledger {str(self.path)!r} cannot be read: {error}"
                ) from error

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement and commit it: for what is written rarely, such as a new run."""
        connection = connect(self.path, self._durability)
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
        place = self._place_of(digest)
        data = b"" if place is None else self._pieces.read(*place)
        if place is None or digest_of(data) != digest:
            what = "is missing" if place is None else "is damaged"
            self._noted.pop(digest, None)
            self.replace(digest)
            raise PayloadError(
                f"payload {digest.hex()} of the ledger {str(self._pieces.path)!r} {what}"
            )
        return data

    def _place_of(self, digest: bytes) -> Place | None:
        place = self._noted.get(digest)
        if place is None:
            found = self.query("SELECT at, size FROM payloads WHERE digest = ?", (digest,))
            if found:
                return (found[0][0], found[0][1])
            self._noted = noted(self.query)
            place = self._noted.get(digest)
        return place


_open: dict[Path, Ledger] = {}
_opening = threading.Lock()


def connect(path: Path, durability: str) -> sqlite3.Connection:
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
        connection.execute("PRAGMA journal_mode = WAL")
        full = "FULL" if durability == "power" else "NORMAL"
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
                f"{str(path)!r} is a ledger of format {found}, this version of SAGE "
                f"knows format {FORMAT}"
            )
    except BaseException:
        connection.close()
        raise
    return connection
