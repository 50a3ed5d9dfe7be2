"""One row at a time, by the calls for many; local and remote vector collections have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sage.middleware.services.memory.vdb.rows import Metadata, as_lists


class SingleRow:
    """Insert, update and upsert one row. The mix-in needs what is annotated."""

    insert_many: Callable[..., list[str]]
    _upsert_many: Callable[[Any, Any, Any, Any], list[str]]
    update_many: Callable[..., None]

    def insert(
        self,
        text: str,
        metadata: Metadata | None = None,
        id: str | None = None,  # noqa: A002 - the word users write
        *,
        vector: Any = None,
    ) -> str:
        """Add one row.

        Args:
            text: The text; embedded by the collection's model unless ``vector`` is given.
            metadata: JSON values by field.
            id: The row's id; made if ``None``.
            vector: Ready vector, ``(dim,)`` numbers.

        Returns:
            The row's id.

        Raises:
            DuplicateIdError: There is a row of that id.
            DimensionError: The vector has another number of elements than the collection's.
            InvalidInputError: Something cannot be stored, or no vector can be made.
        """
        return self.insert_many(
            [text],
            None if metadata is None else [metadata],
            None if id is None else [id],
            vectors=None if vector is None else [vector],
        )[0]

    def upsert(
        self,
        texts: str | Iterable[str],
        metadatas: Metadata | Sequence[Metadata | None] | None = None,
        ids: str | Iterable[str] | None = None,
        *,
        vectors: Any = None,
    ) -> list[str]:
        """Insert rows, replacing those whose id is there already; one row or many.

        Takes what ``insert`` or ``insert_many`` take.

        Returns:
            The rows' ids, in order.

        Raises:
            DuplicateIdError: An id occurs twice.
            DimensionError: Vectors have another number of elements than the collection's.
            InvalidInputError: Something cannot be stored, or no vectors can be made.
        """
        return self._upsert_many(*as_lists(texts, metadatas, ids, vectors))

    def update(
        self,
        id: str,  # noqa: A002 - the word users write
        text: str | None = None,
        metadata: Metadata | None = None,
        *,
        vector: Any = None,
        merge: bool = False,
    ) -> None:
        """Change one row; what is ``None`` stays as it is.

        Args:
            id: The row.
            text: New text, embedded again unless ``vector`` is given.
            metadata: New metadata instead of the old.
            vector: New vector.
            merge: Keep the fields of the old metadata that the new one does not name.

        Raises:
            RowNotFoundError: No row has this id; nothing was changed.
        """
        self.update_many(
            [id],
            None if text is None else [text],
            None if metadata is None else [metadata],
            vectors=None if vector is None else [vector],
            merge=merge,
        )
