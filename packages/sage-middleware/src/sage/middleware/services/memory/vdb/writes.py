"""Changes to the rows of a vector collection. Each call is one transaction: all or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.memory_collection.base_collection import read_settings
from sage.middleware.services.memory.vdb import filters
from sage.middleware.services.memory.vdb.core import VdbCore
from sage.middleware.services.memory.vdb.filters import Where
from sage.middleware.services.memory.vdb.metrics import FloatArray, check_vectors, to_stored
from sage.middleware.services.memory.vdb.rows import (
    Batch,
    Metadata,
    check_changes,
    check_ids,
    new_batch,
    to_json,
)
from sage.middleware.services.memory.vdb.single_row import SingleRow
from sage.middleware.services.memory.vdb.store import Change, StoredRow, metadata_of


class Writes(SingleRow, VdbCore):
    """Insert, upsert, update, delete."""

    def insert_many(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Metadata | None] | None = None,
        ids: Iterable[str] | None = None,
        *,
        vectors: Any = None,
    ) -> list[str]:
        """Add rows: all of them, or none if one cannot be added.

        Args:
            texts: The texts.
            metadatas: One mapping of JSON values (or ``None``) per text.
            ids: One id per text; made if ``None``.
            vectors: ``(n, dim)`` ready vectors; the model embeds the texts if ``None``.

        Returns:
            The rows' ids, in order.

        Raises:
            DuplicateIdError: An id is there already or occurs twice.
            DimensionError: Vectors have another number of elements than the collection's.
            InvalidInputError: Something cannot be stored, or no vectors can be made.
        """
        batch = self._batch(texts, metadatas, ids, vectors)
        if len(batch):
            self._apply(lambda change: (batch, []))
        return batch.ids

    def _upsert_many(self, texts: Any, metadatas: Any, ids: Any, vectors: Any) -> list[str]:
        batch = self._batch(texts, metadatas, ids, vectors)
        if len(batch):
            self._apply(lambda change: (batch, [r.slot for r in change.find(batch.ids).values()]))
        return batch.ids

    def update_many(
        self,
        ids: Iterable[str],
        texts: Sequence[str] | None = None,
        metadatas: Sequence[Metadata | None] | None = None,
        *,
        vectors: Any = None,
        merge: bool = False,
    ) -> None:
        """Change rows: all of them, or none if one is missing. Arguments as for ``update``."""
        wanted = check_ids(ids)
        if not wanted:
            return
        new_texts, checked = check_changes(len(wanted), texts, metadatas)
        ready: FloatArray | None = None
        if vectors is not None or (new_texts is not None and self.dim is not None):
            if new_texts is not None:
                ready = self._vectors(new_texts, vectors, len(wanted))
            else:
                ready = to_stored(self.metric, check_vectors(vectors, self.dim, len(wanted)))

        def work(change: Change) -> tuple[Batch, list[int]]:
            rows = change.require(wanted)
            batch = self._changed(change, rows, new_texts, checked, ready, merge)
            batch.embedded = ready is not None and vectors is None
            return batch, [r.slot for r in rows]

        self._apply(work)

    def _changed(
        self,
        change: Change,
        rows: list[StoredRow],
        texts: list[str] | None,
        checked: tuple[list[Metadata], list[str]] | None,
        ready: FloatArray | None,
        merge: bool,
    ) -> Batch:
        if checked is None:
            plain, json = [metadata_of(r) for r in rows], [r.meta for r in rows]
        elif merge:
            merged = [
                to_json({**metadata_of(r), **m}) for r, m in zip(rows, checked[0], strict=True)
            ]
            plain, json = [m for _, m in merged], [t for t, _ in merged]
        else:
            plain, json = checked
        dim = self.dim
        if ready is None and dim is not None:
            slots = [r.slot for r in rows]
            ready = change.vector_file(dim).rows(max(slots) + 1)[slots]
        return Batch(
            ids=[r.id for r in rows],
            texts=[r.text for r in rows] if texts is None else texts,
            metadatas=plain,
            json=json,
            vectors=ready,
            times=[time.time()] * len(rows),
        )

    def delete(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        where: Where | None = None,
        missing_ok: bool = False,
    ) -> int:
        """Delete rows by id or by filter; returns how many.

        The rows are gone from every query and index at once; their bytes go when ``optimize``
        runs. What must leave no trace is deleted by ``forget``.

        Args:
            ids: One id or several.
            where: Delete every row that matches instead.
            missing_ok: Pass over ids that have no row.

        Raises:
            RowNotFoundError: An id has no row and ``missing_ok`` is false; nothing was deleted.
        """
        if (ids is None) == (where is None):
            raise InvalidInputError("delete takes ids or where, exactly one of them")
        if where is not None:
            filters.parse(where)
            return self._delete(lambda change: self._slots_where(change, where))
        wanted = check_ids([ids] if isinstance(ids, str) else list(ids or ()))
        if missing_ok:
            return self._delete(lambda c: [r.slot for r in c.find(wanted).values()])
        return self._delete(lambda c: [r.slot for r in c.require(wanted)])

    def _delete(self, find: Callable[[Change], list[int]]) -> int:
        def work(change: Change) -> tuple[None, list[int]]:
            return None, find(change)

        return self._apply(work)

    def _slots_where(self, change: Change, where: Where) -> list[int]:
        """The rows that match, as of the open transaction."""
        view = self._view()  # the transaction excludes other writers: the view is current
        mask = view.generation.columns.mask(where)
        slots = mask.slots(view.count)
        found: list[int] = slots[view.alive[slots]].tolist()
        return found

    # -- inside ----------------------------------------------------------------------------------

    def _batch(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Metadata | None] | None,
        ids: Iterable[str] | None,
        vectors: Any,
    ) -> Batch:
        batch = new_batch(
            texts, metadatas, ids, self._ids, lambda new: self._vectors(new, vectors, len(new))
        )
        batch.embedded = vectors is None and self.dim is not None
        return batch

    def _vectors(self, texts: Sequence[str], vectors: Any, rows: int) -> FloatArray | None:
        """What goes to the vector file; the model is asked outside of any transaction."""
        dim = self.dim
        if vectors is None:
            if dim is None:
                return None
            if not self._embedder:
                raise InvalidInputError(
                    f"collection {self.name!r} has no embedding model: give vectors "
                    f"({dim} elements each), or connect with embedding_model"
                )
            self._check_model()
            vectors = self._embedder.documents(texts)
        return to_stored(self.metric, check_vectors(vectors, dim, rows))

    def _after_write(self) -> None:
        """Called after each committed change, outside of its transaction."""

    def _apply(self, build: Callable[[Change], tuple[Batch | None, list[int]]]) -> int:
        """Kill and append in one transaction; returns how many rows were killed."""

        def work(change: Change) -> int:
            batch, killed = build(change)
            change.kill(killed)
            metadatas: Sequence[Metadata] = ()
            start = change.commit.start
            if batch is not None:
                if batch.vectors is not None:
                    if self._settings["dim"] is None:
                        self._settle_dim(change, batch.vectors.shape[1])
                elif self.dim is not None:
                    raise InvalidInputError(
                        f"collection {self.name!r} got its dimension from another writer just "
                        "now: give vectors"
                    )
                if batch.embedded and self.embedding_fingerprint is None:
                    self._settle_model(change)
                change.append(batch)
                metadatas = batch.metadatas
            if change.max_rows is not None or change.max_age is not None:
                killed = [*killed, *change.retain()]
            self._indexes.before_commit(change, start, metadatas, killed)
            return len(change.commit.killed)

        killed: int = self._store.change(work)
        if self._embedder and self._settings["fingerprint"] is None:
            self._settings = read_settings(self._store.database)
        self._after_write()
        return killed
