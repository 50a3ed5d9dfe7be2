"""The part of the key/value collection that searches its values by words."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sage.middleware.services.memory.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
)
from sage.middleware.services.memory.kv.codec import decode
from sage.middleware.services.memory.kv.schema import DROP_TRIGGERS, TRIGGERS
from sage.middleware.services.memory.kv.text_index import TextIndex, TextOptions, text_of
from sage.middleware.services.memory.memory_collection.base_collection import (
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.storage.database import Database

TEXT = "text"
"""Name of the index, its setting and its folder."""


class KVWords:
    """Making, dropping and asking the full-text index. The mix-in needs what is annotated."""

    name: str
    path: Path
    _database: Database
    _text: TextIndex | None

    def purge_expired(self) -> int:
        """See ``KVMemoryCollection``."""
        raise NotImplementedError

    def create_index(
        self,
        name: str = TEXT,
        *,
        fields: Sequence[str],
        language: str = "auto",
        k1: float = 1.2,
        b: float = 0.75,
    ) -> None:
        """Makes the full-text index; from then on every write keeps it current.

        Args:
            name: ``"text"``: there is one.
            fields: What of a value is searched: ``"title"``, ``"author.name"``; ``""`` for all of
                it. Numbers count as words; a field that a value does not have adds nothing.
            language: See ``BM25Index``.
            k1: See ``BM25Index``.
            b: See ``BM25Index``.

        Raises:
            IndexExistsError: There is one.
            InvalidInputError: Another name, or no fields.
        """
        if name != TEXT:
            raise InvalidInputError(f"a KV collection has one index, {TEXT!r}; got {name!r}")
        if isinstance(fields, str) or not fields or not all(isinstance(f, str) for f in fields):
            raise InvalidInputError(f"fields must be a list of at least one str, got {fields!r}")
        if self._text is not None or self._text_index() is not None:
            raise IndexExistsError(f"collection {self.name!r} has a text index already", index=name)
        options = {"fields": list(fields), "language": language, "k1": k1, "b": b}
        text = TextIndex(self._database, self.path / TEXT, _options(options))
        text.drop()

        def install(connection: sqlite3.Connection) -> None:
            for statement in TRIGGERS:
                connection.execute(statement)
            write_settings(self._database, {TEXT: options})

        self._database.run(install)
        self._text = text

    def drop_index(self, name: str = TEXT) -> None:
        """Removes the full-text index.

        Raises:
            IndexNotFoundError: There is none.
        """
        text = self._need_text(name)

        def remove(connection: sqlite3.Connection) -> None:
            for statement in DROP_TRIGGERS:
                connection.execute(statement)
            connection.execute("DELETE FROM changes")
            connection.execute("DELETE FROM settings WHERE key = ?", (TEXT,))

        self._database.run(remove)
        text.drop()
        self._text = None

    def list_indexes(self) -> list[dict[str, Any]]:
        """The text index with its options, or nothing."""
        text = self._text or self._text_index()
        if text is None:
            return []
        return [{"name": TEXT, "kind": "bm25", "fields": list(text.options.fields)}]

    def search(self, query: str, topk: int = 10, prefix: str = "") -> list[dict[str, Any]]:
        """Entries whose indexed fields match words of a query.

        Args:
            query: Words; any may match.
            topk: At most so many.
            prefix: Only keys that begin so.

        Returns:
            ``{"key", "value", "score"}``, best first; ``score`` is BM25's, above 0.

        Raises:
            IndexNotFoundError: The collection has no text index; see ``create_index``.
        """
        text = self._need_text(TEXT)
        if topk < 1:
            raise InvalidInputError(f"topk must be at least 1, got {topk!r}")
        self.purge_expired()
        found = text.search(query, topk, prefix)
        out = []
        with self._database.read() as connection:
            for row_id, score in found:
                row = connection.execute(
                    "SELECT key, value FROM entries WHERE id = ?", (row_id,)
                ).fetchone()
                if row is not None:
                    out.append({"key": row[0], "value": decode(row[1]), "score": score})
        return out

    def retrieve(
        self, query: str, topk: int = 10, index_name: str = TEXT, prefix: str = ""
    ) -> list[dict[str, Any]]:
        """``search`` in the form of the other collections: ``id, text, metadata, score``.

        ``id`` is the key, ``text`` the indexed text, ``metadata`` has the ``value``.
        """
        fields = self._need_text(index_name).options.fields
        return [
            {
                "id": hit["key"],
                "text": text_of(hit["value"], fields),
                "metadata": {"value": hit["value"]},
                "score": hit["score"],
            }
            for hit in self.search(query, topk, prefix)
        ]

    def _text_index(self) -> TextIndex | None:
        options = read_settings(self._database).get(TEXT)
        if options is None:
            return None
        return TextIndex(self._database, self.path / TEXT, _options(options))

    def _need_text(self, name: str) -> TextIndex:
        if self._text is None:
            self._text = self._text_index()
        if self._text is None or name != TEXT:
            raise IndexNotFoundError(
                f"collection {self.name!r} has no index {name!r}; make the text index with "
                "create_index(fields=[...])",
                index=name,
                known=[TEXT] if self._text else [],
            )
        return self._text


def _options(stored: Mapping[str, Any]) -> TextOptions:
    return TextOptions(
        fields=tuple(stored["fields"]),
        language=stored["language"],
        k1=stored["k1"],
        b=stored["b"],
    )
