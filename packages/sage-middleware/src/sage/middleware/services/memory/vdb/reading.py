"""Rows of a vector collection by id, by filter, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import orjson

from sage.middleware.services.memory.vdb.filters import Where, matches, parse
from sage.middleware.services.memory.vdb.retrieval import Hit, Retrieval
from sage.middleware.services.memory.vdb.store import StoredRow

_PAGE = 1000


class Reading(Retrieval):
    """Get, count, scan."""

    @overload
    def get(self, ids: str, *, with_vectors: bool = ...) -> Hit | None: ...

    @overload
    def get(self, ids: list[str] | tuple[str, ...], *, with_vectors: bool = ...) -> list[Hit]: ...

    def get(
        self, ids: str | list[str] | tuple[str, ...], *, with_vectors: bool = False
    ) -> Hit | list[Hit] | None:
        """Rows by id, as dicts ``id, text, metadata, updated`` (and ``vector`` if asked for).

        Args:
            ids: One id, or several.
            with_vectors: Add ``vector``, ``(dim,)`` float32 as it is stored.

        Returns:
            For one id its row, or ``None`` if there is none; for several a list in their order,
            without those that have no row. ``updated`` is the time of the last write, seconds
            since 1970.
        """
        wanted = [ids] if isinstance(ids, str) else list(ids)
        epoch, found = self._store.get(wanted)
        rows = self._plain(epoch, [found[i] for i in wanted if i in found], with_vectors)
        if isinstance(ids, str):
            return rows[0] if rows else None
        return rows

    def count(self, where: Where | None = None, index_name: str | None = None) -> int:
        """How many rows match a filter, an index, or both; all rows if neither is given."""
        index = None if index_name is None else self._indexes.get(index_name)
        return self._allowed(self._view(), index, where).matching

    def scan(
        self, where: Where | None = None, *, limit: int | None = None, with_vectors: bool = False
    ) -> Iterator[Hit]:
        """Rows one by one, oldest write first, as ``get`` returns them.

        All rows are as of the moment the first is taken. The scan keeps that state readable until
        it ends or is closed: ``forget`` waits for it.
        """
        node = None if where is None else parse(where)
        left = -1 if limit is None else limit
        for epoch, page in self._store.scan(self.dim if with_vectors else None):
            if left == 0:
                return
            rows = page
            if node is not None:
                rows = [r for r in page if matches(node, orjson.loads(r.meta))]
            if 0 <= left < len(rows):
                rows = rows[:left]
            left -= len(rows) if left > 0 else 0
            yield from self._plain(epoch, rows, with_vectors)

    def _plain(self, epoch: int, rows: Sequence[StoredRow], with_vectors: bool) -> list[Hit]:
        hits: list[Hit] = [
            {"id": r.id, "text": r.text, "metadata": orjson.loads(r.meta), "updated": r.ts}
            for r in rows
        ]
        dim = self.dim
        if with_vectors and hits and dim is not None:
            file = self._store.vector_file(epoch, dim)
            vectors = file.rows(max(r.slot for r in rows) + 1)
            for hit, row in zip(hits, rows, strict=True):
                hit["vector"] = vectors[row.slot].copy()
        return hits
