"""Queries of a vector collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import attrs
import numpy as np
import orjson

from sage.middleware.services.memory.errors import CollectionLockedError, InvalidInputError
from sage.middleware.services.memory.vdb.core import VdbCore
from sage.middleware.services.memory.vdb.dense import STRATEGIES, Allowed
from sage.middleware.services.memory.vdb.diversity import check_balance, diversify
from sage.middleware.services.memory.vdb.engines import FloatArray, Slots
from sage.middleware.services.memory.vdb.filters import Where
from sage.middleware.services.memory.vdb.hybrid import FETCH, Ranking, check_fusion, fuse
from sage.middleware.services.memory.vdb.index_specs import IndexSpec, MetadataFilter
from sage.middleware.services.memory.vdb.metrics import check_vector, check_vectors, to_query
from sage.middleware.services.memory.vdb.state import StaleViewError, View
from sage.middleware.services.memory.vdb.text_search import text_search

Mode = Literal["dense", "bm25", "hybrid"]
MODES: tuple[str, ...] = get_args(Mode)
Hit = dict[str, Any]
T = TypeVar("T")
_TRIES = 50
_DIVERSE = 50


@attrs.frozen(kw_only=True)
class _Request:
    """A checked query without its text and vector."""

    topk: int
    mode: str
    index: IndexSpec | None
    where: Where | None
    accept: MetadataFilter | None
    threshold: float | None
    mmr: float | None
    fetch: int
    fusion: str
    weight: float | None
    strategy: str
    with_vectors: bool


class Retrieval(VdbCore):
    """Queries; all of them see the last commit of anyone."""

    def retrieve(
        self,
        query: str | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vector: Any = None,
        where: Where | None = None,
        metadata_filter_func: MetadataFilter | None = None,
        mode: str | None = None,
        threshold: float | None = None,
        mmr: float | None = None,
        fetch: int | None = None,
        fusion: str = "auto",
        weight: float | None = None,
        strategy: str = "auto",
        with_vectors: bool = False,
    ) -> list[Hit]:
        """The best rows for a query, best first.

        Filters come first: the answer has ``topk`` rows whenever that many match (``bm25``: and
        share a word with the query).

        Args:
            query: Text to search for.
            topk: Rows wanted at most.
            index_name: Only rows of this index, searched its way; all rows if ``None``.
            query_vector: ``(dim,)`` vector to search with instead of embedding ``query``.
            where: Only rows that match this filter; see ``vdb.filters``.
            metadata_filter_func: Only rows whose metadata this callable accepts. It is called for
                every row that passes the other filters: slow on large collections.
            mode: ``dense`` (by vectors), ``bm25`` (by words) or ``hybrid`` (both, fused). The
                index's kind if ``None``; ``dense`` without an index, ``bm25`` if there are no
                vectors.
            threshold: Only rows with at least this score.
            mmr: Prefer rows unlike those before: weight of relevance, 1 (only relevance) to 0.
            fetch: Candidates for ``hybrid`` and ``mmr``.
            fusion: ``auto``, ``rrf`` or ``convex``; for ``hybrid``; see ``vdb.hybrid``.
            weight: Share of the dense side in ``hybrid``, 0 to 1.
            strategy: ``auto``, ``exact`` (score every matching row) or ``scan``.
            with_vectors: Add ``vector``, ``(dim,)`` float32 as it is stored.

        Returns:
            Dicts ``id, text, metadata, score``; a greater score is better. ``dense``: by metric,
            see ``vdb.metrics`` (cosine: -1 to 1). ``bm25``: above 0, unbounded. ``hybrid``: by
            fusion, see ``vdb.hybrid``. Ties are ordered by age.

        Raises:
            IndexNotFoundError: There is no such index.
            IndexDetachedError: The index needs its callable again.
            EmbeddingMismatchError: The model is not the one the collection was built with.
            DimensionError: The vector has another number of elements than the collection's.
            FilterError: ``where`` is malformed.
            InvalidInputError: Another argument is wrong, or neither text nor vector is given.
        """
        request = self._request(
            topk=topk,
            index_name=index_name,
            where=where,
            accept=metadata_filter_func,
            mode=mode,
            threshold=threshold,
            mmr=mmr,
            fetch=fetch,
            fusion=fusion,
            weight=weight,
            strategy=strategy,
            with_vectors=with_vectors,
            has_vector=query_vector is not None,
        )
        vector = None
        if request.mode != "bm25":
            vector = self._query_vector(query, query_vector)
        return self._until_current(lambda view: self._answer(view, query, vector, request))

    def retrieve_many(
        self,
        queries: Sequence[str] | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vectors: Any = None,
        **options: Any,
    ) -> list[list[Hit]]:
        """``retrieve`` for several queries, embedded together; all answers are of one commit.

        Args:
            queries: Texts.
            query_vectors: ``(n, dim)`` vectors to search with instead.
            topk, index_name, options: As for ``retrieve``.
        """
        if queries is None and query_vectors is None:
            raise InvalidInputError("retrieve_many takes queries or query_vectors")
        if isinstance(queries, str):
            raise InvalidInputError("queries is one string; expected a list of strings")
        options["accept"] = options.pop("metadata_filter_func", None)
        request = self._request(
            topk=topk,
            index_name=index_name,
            has_vector=query_vectors is not None,
            **{**_DEFAULTS, **options},
        )
        vectors: list[FloatArray | None]
        texts: list[str | None]
        if request.mode == "bm25":
            vectors = [None] * len(queries or ())
        else:
            if query_vectors is None:
                if not len(queries or ()):
                    return []
                self._need_model()
                query_vectors = self._embedder.queries(list(queries or ()))
            rows = check_vectors(query_vectors, self.dim, len(queries) if queries else None)
            vectors = [to_query(self.metric, row) for row in rows]
        texts = list(queries) if queries is not None else [None] * len(vectors)

        def answer(view: View) -> list[list[Hit]]:
            return [
                self._answer(view, text, vector, request)
                for text, vector in zip(texts, vectors, strict=True)
            ]

        return self._until_current(answer)

    def explain(
        self,
        topk: int = 10,
        index_name: str | None = None,
        *,
        where: Where | None = None,
        strategy: str = "auto",
    ) -> dict[str, Any]:
        """How a dense query with these arguments is answered: strategy, rows, candidates."""
        index = None if index_name is None else self._indexes.get(index_name)
        plan = self._dense.plan(self._allowed(self._view(), index, where), topk, strategy)
        return attrs.asdict(plan)

    # -- inside ----------------------------------------------------------------------------------

    def _request(self, *, index_name: str | None, has_vector: bool, **given: Any) -> _Request:
        topk = given["topk"]
        if isinstance(topk, bool) or not isinstance(topk, int | np.integer) or topk < 1:
            raise InvalidInputError(f"topk is {topk!r}; expected a positive integer")
        index = None if index_name is None else self._indexes.get(index_name)
        mode = given["mode"]
        if mode is None:
            words = index is not None and index.kind == "bm25" and not has_vector
            mode = "bm25" if words or (self.dim is None and not has_vector) else "dense"
        if mode not in MODES:
            raise InvalidInputError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
        if given["strategy"] not in STRATEGIES:
            raise InvalidInputError(
                f"strategy is {given['strategy']!r}; expected one of {', '.join(STRATEGIES)}"
            )
        check_fusion(given["fusion"], given["weight"])
        mmr = given["mmr"]
        if mmr is not None:
            check_balance(mmr)
            if self.dim is None:
                raise InvalidInputError(f"mmr needs vectors; collection {self.name!r} has none")
        fetch = given["fetch"]
        if fetch is None:
            fetch = max(FETCH if mode == "hybrid" else _DIVERSE, 4 * topk)
        return _Request(
            index=index, **{**given, "mode": mode, "topk": int(topk), "fetch": max(fetch, topk)}
        )

    def _until_current(self, answer: Callable[[View], T]) -> T:
        """Ask again when rows of the view were deleted while it was read."""
        for _ in range(_TRIES):
            try:
                return answer(self._view())
            except StaleViewError:
                continue
        raise CollectionLockedError(
            f"collection {self.name!r} was changed {_TRIES} times while one query was answered",
            path=str(self.path),
        )

    def _allowed(
        self,
        view: View,
        index: IndexSpec | None,
        where: Where | None,
        accept: MetadataFilter | None = None,
    ) -> Allowed:
        mask = None if index is None else self._indexes.members(index, view)
        if where is not None:
            second = view.generation.columns.mask(where)
            if mask is None:
                mask = second
            else:
                both = mask.bits(view.count) & second.bits(view.count)
                return self._accepted(Allowed(view, bits=both), accept)
        if mask is None:
            return self._accepted(Allowed(view), accept)
        return self._accepted(Allowed(view, mask.bits(view.count), mask.slots(view.count)), accept)

    def _accepted(self, allowed: Allowed, accept: MetadataFilter | None) -> Allowed:
        if accept is None:
            return allowed
        slots = allowed.slots()
        rows = self._store.state.fetch(allowed.view, slots.tolist())
        kept = [i for i, (_, _, meta) in enumerate(rows) if accept(orjson.loads(meta))]
        return Allowed(allowed.view, slots=slots[kept])

    def _need_model(self) -> None:
        if not self._embedder:
            raise InvalidInputError(
                f"collection {self.name!r} has no embedding model: give query_vector, connect "
                "with embedding_model, or search by words with mode='bm25'"
            )
        self._check_model()

    def _query_vector(self, query: str | None, vector: Any) -> FloatArray:
        if vector is None:
            if query is None:
                raise InvalidInputError("retrieve takes a query text or query_vector")
            self._need_model()
            vector = self._embedder.query(query)
        return to_query(self.metric, check_vector(vector, self.dim))

    def _answer(
        self, view: View, query: str | None, vector: FloatArray | None, request: _Request
    ) -> list[Hit]:
        allowed = self._allowed(view, request.index, request.where, request.accept)
        wide = request.mmr is not None or request.mode == "hybrid"
        slots, points = self._ranking(
            allowed, query, vector, request, request.fetch if wide else request.topk
        )
        if request.mmr is not None and len(slots):
            picks = diversify(points, self._rows(view, slots), request.topk, float(request.mmr))
            slots, points = slots[picks], points[picks]
        slots, points = slots[: request.topk], points[: request.topk]
        if request.threshold is not None:
            passing = points >= request.threshold
            slots, points = slots[passing], points[passing]
        return self._hits(view, slots, points, request.with_vectors)

    def _ranking(
        self,
        allowed: Allowed,
        query: str | None,
        vector: FloatArray | None,
        request: _Request,
        count: int,
    ) -> Ranking:
        dense: Ranking = (np.empty(0, np.int64), np.empty(0, np.float32))
        if vector is not None and allowed.view.count and self.dim is not None:
            dense = self._dense.search(vector, allowed, count, request.strategy)
        if request.mode == "dense":
            return dense
        if query is None:
            raise InvalidInputError(f"mode={request.mode!r} takes a query text")
        options = request.index.options if request.index is not None else {}
        search = text_search(self._store.database, allowed.view, options)
        words = search.search(query, allowed, count)
        if request.mode == "bm25":
            return words
        return fuse(
            dense,
            words,
            count,
            request.fusion,
            request.weight,
            population=allowed.matching,
            query_weight=search.query_weight(query),
        )

    def _rows(self, view: View, slots: Slots) -> FloatArray:
        rows: FloatArray = self._dense.vectors(view).rows(view.count)[slots]
        return rows

    def _hits(
        self, view: View, slots: Slots, points: FloatArray, with_vectors: bool = False
    ) -> list[Hit]:
        rows = self._store.state.fetch(view, slots.tolist())
        hits: list[Hit] = [
            {"id": row_id, "text": text, "metadata": orjson.loads(meta), "score": score}
            for (row_id, text, meta), score in zip(rows, points.tolist(), strict=True)
        ]
        if with_vectors and self.dim is not None:
            for hit, vector in zip(hits, self._rows(view, slots), strict=True):
                hit["vector"] = vector
        return hits


_DEFAULTS: dict[str, Any] = {
    "where": None,
    "accept": None,
    "mode": None,
    "threshold": None,
    "mmr": None,
    "fetch": None,
    "fusion": "auto",
    "weight": None,
    "strategy": "auto",
    "with_vectors": False,
}
