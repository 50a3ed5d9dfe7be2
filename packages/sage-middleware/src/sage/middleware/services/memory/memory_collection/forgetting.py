"""What ``KV`` and ``Graph`` collections share: their database, its end, removal without a trace."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.memory_collection.base_collection import (
    BaseMemoryCollection,
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.storage.database import Database, Durability
from sage.middleware.services.memory.storage.layout import DATABASE_FILE

_PENDING = "scrub_pending"


class Forgetting(BaseMemoryCollection):
    """Forget, optimize, check, close. The mix-in needs what is annotated."""

    path: Path
    _database: Database
    _settings: dict[str, Any]

    @property
    def description(self) -> str:
        """What the creator said about it."""
        return str(self._settings.get("description", ""))

    def close(self) -> None:
        """Stores and releases everything; a second call does nothing."""
        if not self._database.closed:
            try:
                self.store()
            finally:
                self._database.close()

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


def open_database(
    path: Path,
    migrations: Sequence[str],
    *,
    durability: Durability | None,
    busy_timeout: float,
    marked: bool = False,
) -> Database:
    """The database of the collection in ``path``, at the durability it was made with or another.

    Args:
        path: Directory of the collection.
        migrations, busy_timeout, marked: See ``Database``.
        durability: ``None`` for the one in its settings.
    """
    file = path / DATABASE_FILE
    database = Database(file, migrations, busy_timeout=busy_timeout, marked=marked)
    chosen = durability or read_settings(database)["durability"]
    if chosen != database.durability:
        database.close()
        database = Database(
            file, migrations, durability=chosen, busy_timeout=busy_timeout, marked=marked
        )
    return database


def refuse_given(backend: str, options: Mapping[str, Any], takes: str) -> None:
    """Refuse options that a back end does not know, unless they are ``None``.

    Raises:
        InvalidInputError: There is one; names those it takes.
    """
    unknown = [key for key, value in options.items() if value is not None]
    if unknown:
        raise InvalidInputError(
            f"a {backend} collection has no option {unknown[0]!r}; it takes {takes}"
        )
