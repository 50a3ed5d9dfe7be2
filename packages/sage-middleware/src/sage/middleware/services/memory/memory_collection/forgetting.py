"""What ``KV`` and ``Graph`` collections share: removal without a trace, checks, and small files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sage.middleware.services.memory.memory_collection.base_collection import (
    BaseMemoryCollection,
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.storage.database import Database

_PENDING = "scrub_pending"


class Forgetting(BaseMemoryCollection):
    """Forget, optimize, check. The mix-in needs what is annotated."""

    path: Path
    _database: Database

    def _purge_caches(self) -> None:
        """Drop what deleted rows left in snapshots beside the database, terms included."""
        raise NotImplementedError

    def _check_tables(self, connection: sqlite3.Connection) -> list[str]:
        """What is wrong between the tables, in words."""
        return []

    def check(self) -> list[str]:
        """What is wrong with the files, in words; an empty list if nothing is."""
        found = self._database.check()
        if found:
            return found
        with self._database.snapshot() as connection:
            return self._check_tables(connection)

    def optimize(self) -> dict[str, int]:
        """Give back the space of what was deleted and write snapshots.

        Writers wait while it runs.

        Returns:
            ``rows`` there are, ``bytes`` of files before minus after.
        """
        before = self._size_bytes()
        self._purge_caches()
        self._database.vacuum()
        self.store()
        return {"rows": len(self), "bytes": before - self._size_bytes()}

    def _forget(self, remove: Callable[[], int]) -> int:
        """Call ``remove`` in a transaction, then leave nothing of it in any file.

        Raises:
            CollectionLockedError: Something still reads the old pages. The rows are deleted; the
                next ``forget`` or opening completes the removal.
        """
        with self._database.write():
            count = remove()
            write_settings(self._database, {_PENDING: True})
        self._scrub()
        return count

    def _scrub(self) -> None:
        self._purge_caches()
        self._database.vacuum()
        self._database.empty_log()
        write_settings(self._database, {_PENDING: False})
        self._database.empty_log()

    def _finish_forgetting(self) -> None:
        """Complete a ``forget`` that a crash interrupted; called when the collection is opened."""
        settings: dict[str, Any] = read_settings(self._database)
        if settings.get(_PENDING):
            self._scrub()

    def _size_bytes(self) -> int:
        return sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())
