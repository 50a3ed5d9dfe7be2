"""Full-text search over chosen fields of the values."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from sage.middleware.search.bm25.index import BM25Index, Slots
from sage.middleware.search.bm25.segment import Floats
from sage.middleware.search.bm25.snapshot import SnapshotError
from sage.middleware.services.memory.kv.codec import decode
from sage.middleware.services.memory.kv.keys import key_range
from sage.middleware.services.memory.storage.database import Database

_CHUNK = 5000
_PARAMETERS = 500


@attrs.frozen(kw_only=True)
class TextOptions:
    """What is indexed and how.

    Attributes:
        fields: Paths into the values, keys joined by dots; ``""`` is the whole value.
        language: See ``BM25Index``.
        k1, b: See ``BM25Index``.
    """

    fields: tuple[str, ...]
    language: str = "auto"
    k1: float = 1.2
    b: float = 0.75


def strings(value: Any) -> Iterator[str]:
    """All text in a value: itself, or that of its elements."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for part in value:
            yield from strings(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def text_of(value: Any, fields: Sequence[str]) -> str:
    """The text of chosen fields, one per line; fields that are not there are passed over."""
    found: list[str] = []
    for field in fields:
        part = value
        for step in field.split(".") if field else ():
            part = part.get(step) if isinstance(part, Mapping) else None
        found.extend(strings(part))
    return "\n".join(found)


class TextIndex:
    """Words of the values, caught up with the table before every search.

    The table ``changes`` names the rows that were written; whoever wrote them, this process or
    another, the index reads them again from there. Every handle has an index of its own in memory;
    the snapshot is shared.

    Args:
        database: The truth.
        folder: Where the snapshot is kept.
        options: What is indexed.
        source: Table and columns of the rows, the id first; constant text, never input.
        text: Makes the text of the other columns; that of the chosen fields of a single one, a
            stored value, if not given.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        options: TextOptions,
        *,
        source: tuple[str, str] = ("entries", "id, value"),
        text: Callable[..., str] | None = None,
    ) -> None:
        self.options = options
        self._table, self._columns = source
        self._text = text or (lambda value: text_of(decode(value), options.fields))
        self._database = database
        self._folder = folder
        self._lock = threading.RLock()
        self._index: BM25Index | None = None
        self._seq = 0
        self._seen = -1

    def search(self, query: str, topk: int, prefix: str = "") -> list[tuple[int, float]]:
        """Row ids and scores of the best rows."""
        with self._lock:
            index = self._current()
            if not prefix:
                return _pairs(*index.search(query, topk))
            from_, to = key_range(prefix)
            with self._database.read() as connection:
                where = "key >= ?" if to is None else "key >= ? AND key < ?"
                rows = connection.execute(
                    f"SELECT id FROM entries WHERE {where}",  # noqa: S608  (two constant texts)
                    (from_,) if to is None else (from_, to),
                ).fetchall()
            allowed = np.fromiter((row[0] for row in rows), np.int64, len(rows))
            return _pairs(*index.search(query, topk, allowed))

    def ranking(self, query: str, topk: int) -> tuple[Slots, Floats, float]:
        """Row ids, scores and the weight of the query, to be fused with another ranking."""
        with self._lock:
            index = self._current()
            slots, scores = index.search(query, topk)
            return slots, scores, index.query_weight(query)

    def save(self) -> None:
        """Writes the snapshot and drops the changes it holds."""
        with self._lock:
            if self._index is None:
                return
            index = self._current()
            if index.note.get("seq") == self._seq and index.note.get("fields") == list(
                self.options.fields
            ):
                return
            index.save(self._folder, {"seq": self._seq, "fields": list(self.options.fields)})
            seq = self._seq
            with self._database.write() as connection:
                connection.execute("DELETE FROM changes WHERE seq <= ?", (seq,))

    def purge(self) -> None:
        """Drops what deleted rows left in memory and on disk."""
        with self._lock:
            index = self._current()
            index.purge()
            index.note = {}
            self.save()

    def drop(self) -> None:
        """Deletes the snapshot."""
        with self._lock:
            self._index = None
            shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------------ inside

    def _current(self) -> BM25Index:
        version = self._database.data_version()
        if self._index is not None and version == self._seen:
            return self._index
        with self._database.snapshot() as connection:
            if self._index is None:
                self._index = self._loaded()
            if self._index is None or not self._catch_up(connection, self._index):
                self._index = self._built(connection)
        self._seen = version
        return self._index

    def _loaded(self) -> BM25Index | None:
        try:
            index = BM25Index.load(self._folder)
        except SnapshotError:
            return None
        if index.note.get("fields") != list(self.options.fields):
            return None
        self._seq = int(index.note["seq"])
        return index

    def _last(self, connection: sqlite3.Connection) -> int:
        row = connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'changes'"
        ).fetchone()
        return int(row[0]) if row else 0

    def _catch_up(self, connection: sqlite3.Connection, index: BM25Index) -> bool:
        """Reads changed rows again; False when changes that are needed are gone."""
        last = self._last(connection)
        if last == self._seq:
            return True
        if last < self._seq:
            return False
        rows = connection.execute(
            "SELECT COUNT(*) FROM changes WHERE seq > ?", (self._seq,)
        ).fetchone()
        if rows[0] != last - self._seq:
            return False
        ids = [
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT id FROM changes WHERE seq > ?", (self._seq,)
            )
        ]
        for begin in range(0, len(ids), _PARAMETERS):
            some = ids[begin : begin + _PARAMETERS]
            marks = ",".join("?" * len(some))
            found = connection.execute(
                f"SELECT {self._columns} FROM {self._table} WHERE id IN ({marks})",  # noqa: S608
                some,
            ).fetchall()
            index.delete(set(some) - {row[0] for row in found})
            self._add(index, found)
        self._seq = last
        return True

    def _built(self, connection: sqlite3.Connection) -> BM25Index:
        index = BM25Index(k1=self.options.k1, b=self.options.b, language=self.options.language)
        cursor = connection.execute(
            f"SELECT {self._columns} FROM {self._table} ORDER BY id"  # noqa: S608
        )
        while rows := cursor.fetchmany(_CHUNK):
            self._add(index, rows)
        self._seq = self._last(connection)
        return index

    def _add(self, index: BM25Index, rows: list[tuple[Any, ...]]) -> None:
        index.add(
            [row[0] for row in rows],
            [self._text(*row[1:]) for row in rows],
        )


def _pairs(slots: Any, scores: Any) -> list[tuple[int, float]]:
    return list(zip(slots.tolist(), scores.tolist(), strict=True))
