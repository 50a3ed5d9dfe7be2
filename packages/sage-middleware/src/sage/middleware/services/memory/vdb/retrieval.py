"""Queries of a vector collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import orjson

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.vdb import filters
from sage.middleware.services.memory.vdb.core import VdbCore
from sage.middleware.services.memory.vdb.dense import Allowed, Plan
from sage.middleware.services.memory.vdb.engines import Slots
from sage.middleware.services.memory.vdb.filters import Where
from sage.middleware.services.memory.vdb.index_specs import IndexSpec, MetadataFilter
from sage.middleware.services.memory.vdb.metrics import (
    FloatArray,
    check_vector,
    check_vectors,
    to_query,
)
from sage.middleware.services.memory.vdb.state import StaleViewError, View

Mode = Literal["dense", "bm25", "hybrid"]
MODES: tuple[str, ...] = get_args(Mode)
Hit = dict[str, Any]
_TRIES = 20


class Retrieval(VdbCore):
    """Retrieve, get, count, scan."""

    def retrieve(
        self,
        query: str | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vector: Any = None,
        where: Where | None = None,
        threshold: float | None = None,
        strategy: str = "auto",
    ) -> list[Hit]:
        """The best rows for a query."""
        index = None if index_name is None else self._indexes.get(index_name)
        vector = self._query_vector(query, query_vector)
        return self._until_current(
            lambda view: self._dense_hits(view, vector, topk, index, where, threshold, strategy)
        )

    def _until_current(self, answer: Any) -> Any:
        for _ in range(_TRIES):
            try:
                return answer(self._view())
            except StaleViewError:
                continue
        raise InvalidInputError("the collection changes faster than it can be read")

    def _allowed(self, view: View, index: IndexSpec | None, where: Where | None) -> Allowed:
        mask = None if index is None else self._indexes.members(index, view)
        if where is not None:
            second = view.generation.columns.mask(where)
            if mask is None:
                mask = second
            else:
                return Allowed(view, bits=mask.bits(view.count) & second.bits(view.count))
        if mask is None:
            return Allowed(view)
        return Allowed(view, mask.bits(view.count), mask.slots(view.count))

    def _query_vector(self, query: str | None, vector: Any) -> FloatArray:
        if vector is None:
            if query is None:
                raise InvalidInputError("retrieve takes a query text or query_vector")
            if not self._embedder:
                raise InvalidInputError(
                    f"collection {self.name!r} has no embedding model: give query_vector, "
                    "or connect with embedding_model"
                )
            vector = self._embedder.query(query)
        return to_query(self.metric, check_vector(vector, self.dim))

    def _dense_hits(
        self,
        view: View,
        vector: FloatArray,
        topk: int,
        index: IndexSpec | None,
        where: Where | None,
        threshold: float | None,
        strategy: str,
    ) -> list[Hit]:
        if self.dim is None:
            return []
        slots, points = self._dense.search(
            vector, self._allowed(view, index, where), topk, strategy
        )
        if threshold is not None:
            keep = int(np.searchsorted(-points, -threshold, side="right"))
            slots, points = slots[:keep], points[:keep]
        return self._hits(view, slots, points)

    def _hits(self, view: View, slots: Slots, points: FloatArray) -> list[Hit]:
        rows = self._store.state.fetch(view, slots.tolist())
        return [
            {"id": id, "text": text, "metadata": orjson.loads(meta), "score": score}
            for (id, text, meta), score in zip(rows, points.tolist(), strict=True)
        ]

    # -- reading rows ----------------------------------------------------------------------------

    def get(self, ids: str | Sequence[str]) -> Any:
        """Rows by id: one (``None`` if missing), or a list without the missing ones."""
        if isinstance(ids, str):
            row = self._store.get([ids]).get(ids)
            return None if row is None else _plain(row)
        found = self._store.get(ids)
        return [_plain(found[i]) for i in ids if i in found]

    def count(self, where: Where | None = None) -> int:
        """How many rows match; all if ``where`` is ``None``."""
        view = self._view()
        return self._allowed(view, None, where).matching


def _plain(row: Any) -> Hit:
    return {"id": row.id, "text": row.text, "metadata": orjson.loads(row.meta)}
