"""Queries of a chromadb collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sage.middleware.services.memory.chroma.reading import ChromaReading
from sage.middleware.services.memory.errors import (
    InvalidInputError,
)
from sage.middleware.services.memory.vdb.diversity import check_balance, diversify
from sage.middleware.services.memory.vdb.filters import Node, Where
from sage.middleware.services.memory.vdb.hybrid import FETCH, check_fusion, fuse
from sage.middleware.services.memory.vdb.index_specs import MetadataFilter
from sage.middleware.services.memory.vdb.metrics import (
    FloatArray,
    check_vector,
    scores,
    to_query,
)
from sage.middleware.services.memory.vdb.retrieval import MODES, Hit

_PAGE = 1000
_DIVERSE = 50
_EF_SEARCH = 400


class ChromaSearching(ChromaReading):
    """Retrieve."""

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
        with_vectors: bool = False,
    ) -> list[Hit]:
        """The best rows for a query; as ``VDBMemoryCollection.retrieve``."""
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise InvalidInputError(f"topk is {topk!r}; expected a positive integer")
        nodes = self._nodes(where, index_name)
        if mode is None:
            words = index_name is not None and self._index(index_name)["kind"] == "bm25"
            mode = "bm25" if words and query_vector is None else "dense"
        if mode not in MODES:
            raise InvalidInputError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
        check_fusion(fusion, weight)
        if mmr is not None:
            check_balance(mmr)
        vector = None if mode == "bm25" else self._query_vector(query, query_vector)
        if mode != "dense" and query is None:
            raise InvalidInputError(f"mode={mode!r} takes a query text")
        wide = mode == "hybrid" or mmr is not None
        count = topk
        if wide:
            count = max(fetch or 0, 4 * topk, FETCH if mode == "hybrid" else _DIVERSE)
        allowed = None
        if metadata_filter_func is not None:
            accept = metadata_filter_func
            matching = self._matching(nodes)
            allowed = [
                r["id"]
                for r in (self.scan() if matching is None else self.get(matching))
                if accept(r["metadata"])
            ]
        ids, points = self._ranking(mode, query, vector, nodes, allowed, count, fusion, weight)
        if mmr is not None and ids:
            rows = {r["id"]: r["vector"] for r in self.get(ids, with_vectors=True)}
            ids, points = _present(ids, points, rows)
            picks = diversify(
                np.array(points, np.float32), np.array([rows[i] for i in ids]), topk, mmr
            )
            ids, points = [ids[p] for p in picks], [points[p] for p in picks]
        ids, points = ids[:topk], points[:topk]
        found = {r["id"]: r for r in self.get(ids, with_vectors=with_vectors)}
        hits: list[Hit] = []
        for one, point in zip(ids, points, strict=True):
            if one in found and (threshold is None or point >= threshold):
                hit = found[one]
                del hit["updated"]
                hits.append({**hit, "score": point})
        return hits

    def retrieve_many(
        self,
        queries: Sequence[str] | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vectors: Any = None,
        **options: Any,
    ) -> list[list[Hit]]:
        """``retrieve`` for several queries, embedded together."""
        if queries is None and query_vectors is None:
            raise InvalidInputError("retrieve_many takes queries or query_vectors")
        texts: list[str | None] = list(queries) if queries is not None else []
        if query_vectors is None and options.get("mode") != "bm25" and texts:
            self._need_model()
            query_vectors = self._embedder.queries([t for t in texts if t is not None])
        vectors = [None] * len(texts) if query_vectors is None else list(query_vectors)
        texts = texts or [None] * len(vectors)
        return [
            self.retrieve(text, topk, index_name, query_vector=vector, **options)
            for text, vector in zip(texts, vectors, strict=True)
        ]

    def _query_vector(self, query: str | None, vector: Any) -> FloatArray:
        if vector is None:
            if query is None:
                raise InvalidInputError("retrieve takes a query text or query_vector")
            self._need_model()
            vector = self._embedder.query(query)
        return check_vector(vector, self.dim)

    def _ranking(
        self,
        mode: str,
        query: str | None,
        vector: FloatArray | None,
        nodes: Sequence[Node],
        allowed: list[str] | None,
        count: int,
        fusion: str,
        weight: float | None,
    ) -> tuple[list[str], list[float]]:
        dense: tuple[list[str], list[float]] = ([], [])
        if vector is not None and len(self):
            dense = self._nearest(vector, nodes, allowed, count)
        if mode == "dense":
            return dense
        assert query is not None
        with self._lock:
            if not self._words.loaded or len(self._words) != len(self):
                self._words.load(self._live())
        words = self._words.search(
            query, count, self._matching(nodes) if allowed is None else allowed
        )
        if mode == "bm25":
            return words
        names = sorted({*dense[0], *words[0]})
        place = {one: i for i, one in enumerate(names)}
        slots, points = fuse(
            _numbered(dense, place),
            _numbered(words, place),
            count,
            fusion,
            weight,
            population=len(self),
        )
        return [names[s] for s in slots.tolist()], points.tolist()

    def _nearest(
        self, vector: FloatArray, nodes: Sequence[Node], allowed: list[str] | None, count: int
    ) -> tuple[list[str], list[float]]:
        clause, rest = self._selection(nodes)
        ids = allowed
        if ids is None and rest:
            ids = self._matching(nodes)
        if ids is not None:
            if not ids:
                return [], []
            clause = None
        page = self._live().query(
            query_embeddings=[vector], n_results=count, where=clause, ids=ids, include=["distances"]
        )
        found, distances = page["ids"][0], page["distances"][0]
        possible = len(ids) if ids is not None else len(self)
        if len(found) < min(count, possible):
            # The graph gave up early: score what matches exactly, if more does match.
            matching = ids if ids is not None else self._matching(nodes)
            if matching is None or len(matching) > len(found):
                return self._exact(vector, matching, count)
        return list(found), [self._score(d) for d in distances]

    def _exact(
        self, vector: FloatArray, ids: list[str] | None, count: int
    ) -> tuple[list[str], list[float]]:
        page = self._live().get(ids=ids, include=["embeddings"])
        rows = np.asarray(page["embeddings"], np.float32)
        if self.metric == "cosine":
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        points = scores(self.metric, rows, to_query(self.metric, vector))
        order = np.argsort(-points, kind="stable")[:count]
        return [page["ids"][i] for i in order], points[order].tolist()

    def _score(self, distance: float) -> float:
        if self.metric == "l2":
            return float(1 / (1 + max(0.0, distance) ** 0.5))
        return float(1 - distance)


def _numbered(ranking: tuple[list[str], list[float]], place: Mapping[str, int]) -> Any:
    ids, points = ranking
    return np.array([place[i] for i in ids], np.int64), np.array(points, np.float32)


def _present(
    ids: list[str], points: list[float], rows: Mapping[str, Any]
) -> tuple[list[str], list[float]]:
    kept = [(i, p) for i, p in zip(ids, points, strict=True) if i in rows]
    return [i for i, _ in kept], [p for _, p in kept]
