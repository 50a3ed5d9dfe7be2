"""What every kind of collection has: a name, a directory, a database, settings, an end."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from sage.middleware.services.memory.errors import (
    CollectionNotFoundError,
    InvalidInputError,
)
from sage.middleware.services.memory.storage.database import Database
from sage.middleware.services.memory.storage.layout import (
    collection_dir,
    has_collection,
    remove_collection,
)

SETTINGS_SCHEMA = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""


class BaseMemoryCollection(ABC):
    """A named collection in a directory of its own.

    The manager makes collections by ``create`` and ``connect``; both get the collection's
    directory and the keyword options of the manager's call. A back end outside this package
    implements the same contract and registers its class in the entry-point group
    ``sage.memory_backends``.

    All methods may be called from any thread.
    """

    backend_type: ClassVar[str]
    """The name that ``create_collection(backend_type=…)`` takes, e.g. ``"VDB"``."""

    name: str
    path: Path

    @classmethod
    @abstractmethod
    def create(cls, path: Path, *, name: str, description: str = "", **options: Any) -> Self:
        """Make a new, empty collection in the existing empty directory ``path``."""

    @classmethod
    @abstractmethod
    def connect(cls, path: Path, *, name: str, **options: Any) -> Self:
        """Open the collection in ``path``."""

    @classmethod
    def destroy(cls, path: Path) -> None:
        """Delete the closed collection in ``path``; back ends with data elsewhere extend this."""
        remove_collection(path)

    @property
    @abstractmethod
    def description(self) -> str:
        """What the creator said about it."""

    @abstractmethod
    def __len__(self) -> int:
        """Rows, keys or nodes in the collection."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """Facts for listings: kind, description, number of rows, sizes; JSON values only."""

    @abstractmethod
    def store(self) -> None:
        """Write caches to disk for a fast next open; what is committed is there already."""

    @abstractmethod
    def close(self) -> None:
        """Store and release everything; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @staticmethod
    def clear(name: str, data_dir: str | os.PathLike[str]) -> None:
        """Delete the collection ``name`` below ``data_dir`` with everything it has on disk.

        Handles that are open on it, here or in other processes, raise ``CollectionClosedError`` at
        their next write.

        Raises:
            CollectionNotFoundError: There is no such collection.
        """
        path = collection_dir(data_dir, name)
        if not has_collection(path):
            raise CollectionNotFoundError(
                f"there is no collection {name!r} in {os.fspath(data_dir)!r}", name=name, known=()
            )
        remove_collection(path)


def refuse_options(backend: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a back end does not know.

    Raises:
        InvalidInputError: There is one.
    """
    if options:
        raise InvalidInputError(
            f"the back end {backend!r} has no option {', '.join(map(repr, sorted(options)))}"
        )


def read_settings(database: Database) -> dict[str, Any]:
    """All settings of a collection whose schema includes ``SETTINGS_SCHEMA``."""
    with database.read() as connection:
        rows = connection.execute("SELECT key, value FROM settings").fetchall()
    return {key: orjson.loads(value) for key, value in rows}


def write_settings(database: Database, settings: Mapping[str, Any]) -> None:
    """Set some settings (JSON values), leave the others; joins a transaction that is open."""
    with database.write() as connection:
        connection.executemany(
            "INSERT INTO settings VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(key, orjson.dumps(value).decode()) for key, value in settings.items()],
        )
