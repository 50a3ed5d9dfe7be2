"""``KV``: keys and values, with a time to live and full-text search."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from sage.middleware.services.memory.errors import (
    RowNotFoundError,
)
from sage.middleware.services.memory.kv import jsonl
from sage.middleware.services.memory.kv.batch import Batch, Change, check_ttl
from sage.middleware.services.memory.kv.codec import decode, encode
from sage.middleware.services.memory.kv.keys import check_key, key_range
from sage.middleware.services.memory.kv.schema import (
    DELETE,
    DELETE_EXPIRED,
    EXPIRED,
    GET,
    MIGRATIONS,
    PUT,
)
from sage.middleware.services.memory.kv.words import KVWords
from sage.middleware.services.memory.memory_collection.base_collection import (
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.memory_collection.forgetting import (
    Forgetting,
    open_database,
    refuse_given,
)
from sage.middleware.services.memory.storage.database import Database, Durability
from sage.middleware.services.memory.storage.layout import DATABASE_FILE

_PAGE = 1000
_TAKES = "description, durability, busy_timeout, text_fields, language, clock"


class _Absent:
    """The type of ``ABSENT``."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""Stands for "no such key" in ``compare_and_set``, where ``None`` is a value."""


class KVMemoryCollection(KVWords, Forgetting):
    """Keys (text) and values, in key order.

    Values are ``None``, bool, int, float, str, bytes, datetime, lists and mappings of these; tuples
    come back as lists. Every change is durable when the call returns, as ``durability`` says. Reads
    see the last commit of any thread or process, and a key whose time has run out is not there.

    All methods may be called from any thread.
    """

    backend_type: ClassVar[str] = "KV"

    def __init__(
        self, path: Path, name: str, database: Database, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self.name = name
        self._database = database
        self._clock = clock
        self._settings = read_settings(database)
        self._text = self._text_index()

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str,
        description: str = "",
        durability: Durability = "process",
        busy_timeout: float = 10.0,
        text_fields: Sequence[str] = (),
        language: str = "auto",
        clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> Self:
        """Makes an empty collection.

        Args:
            path: An existing, empty directory.
            name: Its name.
            description: What it is for.
            durability: ``process``, ``power`` or ``none``; see ``storage.database``.
            busy_timeout: Seconds a write waits for other processes.
            text_fields: Makes the text index over these fields at once; see ``create_index``.
            language: Language of the text index.
            clock: Seconds since 1970, for times to live.
            options: ``embedding_model`` and ``dim`` may be given and must be ``None``.

        Raises:
            InvalidInputError: An option that this kind of collection does not have.
        """
        refuse_given(cls.backend_type, options, _TAKES)
        database = Database(
            path / DATABASE_FILE,
            MIGRATIONS,
            durability=durability,
            busy_timeout=busy_timeout,
            create=True,
        )
        write_settings(database, {"description": description, "durability": durability})
        made = cls(path, name, database, clock)
        if text_fields:
            made.create_index(fields=text_fields, language=language)
        return made

    @classmethod
    def connect(
        cls,
        path: Path,
        *,
        name: str,
        durability: Durability | None = None,
        busy_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> Self:
        """Opens a collection; ``durability`` only to use another than it was made with."""
        refuse_given(cls.backend_type, options, _TAKES)
        database = open_database(path, MIGRATIONS, durability=durability, busy_timeout=busy_timeout)
        opened = cls(path, name, database, clock)
        opened._finish_forgetting()
        return opened

    # ------------------------------------------------------------------ one key

    def put(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets a key.

        Args:
            key: Any text, also ``""``.
            value: See the class.
            ttl: Seconds until the key is gone; ``None`` to stay. Replaces an earlier one.

        Raises:
            InvalidInputError: The key is not text, the value of a type that cannot be stored, or
                ``ttl`` not above 0.
        """
        row = (check_key(key), encode(value), None if ttl is None else self._expiry(ttl))
        self._database.write_one(PUT, row)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or ``default``."""
        with self._database.read() as connection:
            row = connection.execute(GET, (key,)).fetchone()
        if row is None or (row[1] is not None and row[1] <= self._clock()):
            return default
        return decode(row[0])

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise RowNotFoundError(f"collection {self.name!r} has no key {key!r}", ids=(key,))
        return value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, ABSENT) is not ABSENT

    def delete(self, key: str) -> bool:
        """Removes a key.

        Returns:
            Whether it was there.
        """
        checked, now = check_key(key), self._clock()

        def remove(connection: sqlite3.Connection) -> bool:
            live = _live(connection, checked, now)
            connection.execute(DELETE, (checked,))
            return live is not ABSENT

        return self._database.run(remove)

    def compare_and_set(
        self, key: str, expected: Any, value: Any, ttl: float | None = None
    ) -> bool:
        """Sets a key only if it has the value that is expected.

        Args:
            key: The key.
            expected: What it must be now, compared with ``==``; ``ABSENT`` for "not there".
            value: What it becomes; ``ABSENT`` to remove it.
            ttl: As in ``put``.

        Returns:
            Whether it was set. Exactly one of several callers that expect the same succeeds.
        """
        checked, expires = check_key(key), self._expiry(ttl)
        data = None if value is ABSENT else encode(value)

        def swap(connection: sqlite3.Connection) -> bool:
            now = _live(connection, checked, self._clock())
            if (now is ABSENT) != (expected is ABSENT) or (now is not ABSENT and now != expected):
                return False
            _apply(connection, [(checked, data, expires)])
            return True

        return self._database.run(swap)

    def update(self, key: str, change: Callable[[Any], Any], ttl: float | None = None) -> Any:
        """Replaces a value by what ``change`` makes of it, in one transaction.

        Args:
            key: The key.
            change: Gets the value, or ``ABSENT``; what it returns is stored, ``ABSENT`` removes the
                key. It runs while all other writers wait and must not write to this collection.
            ttl: As in ``put``.

        Returns:
            What ``change`` returned.
        """
        checked, expires = check_key(key), self._expiry(ttl)

        def replace(connection: sqlite3.Connection) -> Any:
            value = change(_live(connection, checked, self._clock()))
            data = None if value is ABSENT else encode(value)
            _apply(connection, [(checked, data, expires)])
            return value

        return self._database.run(replace)

    def ttl(self, key: str) -> float | None:
        """Seconds until a key is gone, ``None`` if it stays.

        Raises:
            RowNotFoundError: There is no such key.
        """
        now = self._clock()
        with self._database.read() as connection:
            row = connection.execute(GET, (check_key(key),)).fetchone()
        if row is None or (row[1] is not None and row[1] <= now):
            raise RowNotFoundError(f"collection {self.name!r} has no key {key!r}", ids=(key,))
        return None if row[1] is None else float(row[1] - now)

    # ------------------------------------------------------------------ many keys

    def put_many(
        self, items: Mapping[str, Any] | Iterable[tuple[str, Any]], ttl: float | None = None
    ) -> int:
        """Sets many keys at once: all of them or, on an error, none.

        Returns:
            How many pairs there were.
        """
        expires = self._expiry(ttl)
        pairs = items.items() if isinstance(items, Mapping) else items
        rows = [(check_key(key), encode(value), expires) for key, value in pairs]
        self._database.run(lambda connection: connection.executemany(PUT, rows))
        return len(rows)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Values of those keys that are there, all of one moment."""
        now, out = self._clock(), {}
        with self._database.snapshot() as connection:
            for key in keys:
                value = _live(connection, check_key(key), now)
                if value is not ABSENT:
                    out[key] = value
        return out

    def delete_many(self, keys: Iterable[str]) -> int:
        """Removes keys at once; returns how many were there."""
        rows = [(check_key(key),) for key in keys]
        return self._database.run(lambda c: c.executemany(DELETE, rows).rowcount)

    def delete_prefix(self, prefix: str) -> int:
        """Removes all keys that begin with ``prefix``; returns how many."""
        where, bounds = _where(prefix)
        return self._database.run(
            lambda c: c.execute(f"DELETE FROM entries WHERE {where}", bounds).rowcount  # noqa: S608
        )

    def batch(self) -> Batch:
        """Puts and deletes that happen together: ``with kv.batch() as b: b.put(...)``."""
        return Batch(lambda changes: self._database.run(lambda c: _apply(c, changes)), self._expiry)

    def scan(
        self, prefix: str = "", *, limit: int | None = None, after: str | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Keys that begin with ``prefix`` and their values, in order of the keys' code points.

        Read in pages while you iterate: changes made meanwhile may or may not be seen, no key comes
        twice, and the collection may be written to inside the loop.

        Args:
            prefix: ``""`` for all.
            limit: At most so many.
            after: Only keys behind this one: the last key of the page before.
        """
        for key, data, _ in self._pages(prefix, limit, after):
            yield key, decode(data)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with ``prefix``, in order."""
        for key, _, _ in self._pages(prefix, None, None):
            yield key

    def count(self, prefix: str = "") -> int:
        """How many keys begin with ``prefix``."""
        where, bounds = _where(prefix)
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT COUNT(*) FROM entries WHERE {where} "  # noqa: S608  (constant texts)
                "AND (expires IS NULL OR expires > ?)",
                (*bounds, self._clock()),
            ).fetchone()
        return int(row[0])

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def purge_expired(self) -> int:
        """Removes the keys whose time has run out; also happens at every search and close."""
        now = self._clock()
        with self._database.read() as connection:
            if connection.execute(EXPIRED, (now,)).fetchone() is None:
                return 0
        return self._database.run(lambda c: c.execute(DELETE_EXPIRED, (now,)).rowcount)

    # ------------------------------------------------------------------ upkeep

    def info(self) -> dict[str, Any]:
        """Facts for listings."""
        return {
            "name": self.name,
            "backend_type": self.backend_type,
            "description": self.description,
            "count": len(self),
            "durability": self._database.durability,
            "indexes": self.list_indexes(),
            "bytes": self._size_bytes(),
        }

    def forget(self, keys: Iterable[str] = (), *, prefix: str | None = None) -> int:
        """Removes entries so that no file holds anything of them; rewrites the database.

        Args:
            keys: These, and
            prefix: all that begin so, if given.

        Returns:
            How many there were.

        Raises:
            CollectionLockedError: Another process still reads the old pages. The entries are
                deleted; calling ``forget`` again completes the removal.
        """
        gone = list(keys)

        def remove() -> int:
            return self.delete_many(gone) + (0 if prefix is None else self.delete_prefix(prefix))

        return self._forget(remove)

    def export_jsonl(self, path: str | Path) -> int:
        """Writes all entries as lines of JSON; returns how many."""
        return jsonl.write_rows(
            Path(path), ((key, decode(data), at) for key, data, at in self._pages("", None, None))
        )

    def import_jsonl(self, path: str | Path) -> int:
        """Sets the entries of an exported file, all or none; returns how many.

        Raises:
            InvalidInputError: A line is not an entry.
        """
        rows = [
            (check_key(key), encode(value), at) for key, value, at in jsonl.read_rows(Path(path))
        ]
        self._database.run(lambda connection: connection.executemany(PUT, rows))
        return len(rows)

    def store(self) -> None:
        """Writes the snapshot of the text index and empties the log of the database."""
        self.purge_expired()
        if self._text is not None:
            self._text.save()
        self._database.checkpoint()

    # ------------------------------------------------------------------ inside

    def _purge_caches(self) -> None:
        self.purge_expired()
        text = self._text or self._text_index()
        if text is not None:
            text.purge()

    def _expiry(self, ttl: float | None) -> float | None:
        return check_ttl(ttl, self._clock())

    def _pages(
        self, prefix: str, limit: int | None, after: str | None
    ) -> Iterator[tuple[str, bytes, float | None]]:
        where, bounds = _where(check_key(prefix))
        left = limit if limit is not None else -1
        last = after
        while left:
            size = _PAGE if left < 0 else min(_PAGE, left)
            behind = "" if last is None else " AND key > ?"
            with self._database.read() as connection:
                rows = connection.execute(
                    f"SELECT key, value, expires FROM entries WHERE {where}{behind} "  # noqa: S608
                    "AND (expires IS NULL OR expires > ?) ORDER BY key LIMIT ?",
                    (*bounds, *(() if last is None else (last,)), self._clock(), size),
                ).fetchall()
            yield from rows
            if len(rows) < size:
                return
            last = rows[-1][0]
            left = left - size if left > 0 else left


def _where(prefix: str) -> tuple[str, tuple[str, ...]]:
    """A condition on keys made of constant text, and its parameters."""
    start, end = key_range(prefix)
    return ("key >= ?", (start,)) if end is None else ("key >= ? AND key < ?", (start, end))


def _live(connection: sqlite3.Connection, key: str, now: float) -> Any:
    row = connection.execute(GET, (key,)).fetchone()
    if row is None or (row[1] is not None and row[1] <= now):
        return ABSENT
    return decode(row[0])


def _apply(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    for key, data, expires in changes:
        if data is None:
            connection.execute(DELETE, (key,))
        else:
            connection.execute(PUT, (key, data, expires))
