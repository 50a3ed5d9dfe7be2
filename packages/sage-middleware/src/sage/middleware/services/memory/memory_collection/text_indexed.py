"""What ``KV`` and ``Graph`` collections share: one full-text index over chosen fields of rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from sage.middleware.services.memory.errors import (
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
)
from sage.middleware.services.memory.kv.text_index import TextIndex, TextOptions
from sage.middleware.services.memory.memory_collection.base_collection import (
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.storage.database import Database

TEXT = "text"
"""Name of the index, its setting and its folder."""

_EVENTS = {"insert": "new", "update": "new", "delete": "old"}


class TextIndexed:
    """Making, dropping and finding the text index. The mix-in needs what is annotated.

    Triggers fill the table ``changes`` for it. They are there only while there is an index:
    others pay nothing.
    """

    backend_type: ClassVar[str]
    _indexed_table: ClassVar[str]
    """Table of the rows; constant text, never input."""

    name: str
    path: Path
    _database: Database
    _text: TextIndex | None

    def list_indexes(self) -> list[dict[str, Any]]:
        """The text index with its options, or nothing."""
        text = self._text or self._text_index()
        if text is None:
            return []
        return [{"name": TEXT, "kind": "bm25", "fields": list(text.options.fields)}]

    def drop_index(self, name: str = TEXT) -> None:
        """Removes the full-text index.

        Raises:
            IndexNotFoundError: There is none.
        """
        text = self._need_text(name)

        def remove(connection: sqlite3.Connection) -> None:
            for event in _EVENTS:
                connection.execute(f"DROP TRIGGER IF EXISTS {self._indexed_table}_{event}")
            connection.execute("DELETE FROM changes")
            connection.execute("DELETE FROM settings WHERE key = ?", (TEXT,))

        self._database.run(remove)
        text.drop()
        self._text = None

    def _make_index(
        self, name: str, fields: Sequence[str], language: str, k1: float, b: float
    ) -> None:
        """``create_index`` of the collections."""
        if name != TEXT:
            raise InvalidInputError(
                f"a {self.backend_type} collection has one index, {TEXT!r}; got {name!r}"
            )
        if isinstance(fields, str) or not fields or not all(isinstance(f, str) for f in fields):
            raise InvalidInputError(f"fields must be a list of at least one str, got {fields!r}")
        if self._text is not None or self._text_index() is not None:
            raise IndexExistsError(f"collection {self.name!r} has a text index already", index=name)
        options = {"fields": list(fields), "language": language, "k1": k1, "b": b}
        text = self._index_of(_options(options))
        text.drop()
        table = self._indexed_table

        def install(connection: sqlite3.Connection) -> None:
            for event, row in _EVENTS.items():
                connection.execute(
                    f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} "  # noqa: S608
                    f"BEGIN INSERT INTO changes (id) VALUES ({row}.id); END"
                )
            write_settings(self._database, {TEXT: options})

        self._database.run(install)
        self._text = text

    def _index_of(self, options: TextOptions) -> TextIndex:
        return TextIndex(self._database, self.path / TEXT, options)

    def _text_index(self) -> TextIndex | None:
        options = read_settings(self._database).get(TEXT)
        return None if options is None else self._index_of(_options(options))

    def _need_text(self, name: str) -> TextIndex:
        if self._text is None:
            self._text = self._text_index()
        if self._text is None or name != TEXT:
            raise IndexNotFoundError(
                f"collection {self.name!r} has no index {name!r}; make the text index with "
                "create_index(fields=[...])",
                index=name,
                known=[index["name"] for index in self.list_indexes()],
            )
        return self._text


def _options(stored: Mapping[str, Any]) -> TextOptions:
    return TextOptions(
        fields=tuple(stored["fields"]),
        language=stored["language"],
        k1=stored["k1"],
        b=stored["b"],
    )
