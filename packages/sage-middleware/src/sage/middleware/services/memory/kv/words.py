"""The part of the key/value collection that searches its values by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.kv.codec import decode
from sage.middleware.services.memory.kv.text_index import text_of
from sage.middleware.services.memory.memory_collection.text_indexed import TEXT, TextIndexed


class KVWords(TextIndexed):
    """Making and asking the full-text index of the values."""

    _indexed_table: ClassVar[str] = "entries"

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
        self._make_index(name, fields, language, k1, b)

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
