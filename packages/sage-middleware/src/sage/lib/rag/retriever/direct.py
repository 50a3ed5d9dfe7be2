"""A backend over documents given directly: exact dense search, BM25, or both fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.lib.rag.retriever.embedding import Embedding
from sage.lib.rag.retriever.fusing import Fusing
from sage.lib.types import Document
from sage.middleware.search import BM25Index
from sage.middleware.search.fusion import Ranking
from sage.middleware.services.memory.vdb.filters import matches, parse

Vector = npt.NDArray[np.float32]


class DirectBackend:
    """Searches documents in memory.

    Args:
        documents: What is searched.
        vectors: ``(n, dim)``, one row per document; made by ``embed`` when missing and needed.
        embed: Vectors of questions (and of documents that came without). Closed by ``close``.
        modes: Which searches will be asked for; others need no index.
        fusing: How hybrid search joins its two rankings.

    Raises:
        ConfigError: Vectors and documents differ in number, or dense search has no ``embed``.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        *,
        modes: Sequence[str],
        vectors: Any = None,
        embed: Embedding | None = None,
        fusing: Fusing | None = None,
    ) -> None:
        self._documents = documents
        self._embed = embed
        self._fusing = fusing or Fusing()
        self._matrix: Vector | None = None
        self._index: BM25Index | None = None
        if "dense" in modes or "hybrid" in modes:
            if embed is None:
                raise ConfigError("dense search over given documents needs embed, a callable")
            rows = embed.documents([d.text for d in documents]) if vectors is None else vectors
            matrix = np.ascontiguousarray(rows, dtype=np.float32)
            if matrix.ndim != 2 or len(matrix) != len(documents):
                raise ConfigError(
                    f"vectors must be of shape ({len(documents)}, dim), one row per document, got "
                    f"{matrix.shape}"
                )
            norms = np.linalg.norm(matrix, axis=1, keepdims=True)
            self._matrix = matrix / np.maximum(norms, 1e-12)
        if "bm25" in modes or "hybrid" in modes:
            self._index = BM25Index()
            self._index.add(range(len(documents)), [d.text for d in documents])

    def search(
        self,
        query: str,
        topk: int,
        where: Mapping[str, Any] | None,
        mode: str,
        vector: Any = None,
    ) -> list[Document]:
        """The best ``topk`` documents with scores: cosine, BM25, or a fusion.

        Args:
            vector: ``(dim,)`` vector for the dense side instead of that of ``query``.

        Raises:
            FilterError: ``where`` is malformed.
        """
        allowed = None
        if where is not None:
            node = parse(where)
            allowed = np.fromiter((matches(node, d.metadata) for d in self._documents), bool)
        if mode == "dense":
            rows, scores = self._dense(query, topk, allowed, vector)
        elif mode == "bm25":
            rows, scores = self._bm25(query, topk, allowed)
        else:
            assert self._index is not None
            depth = max(self._fusing.depth, topk)
            rows, scores = self._fusing.join(
                self._dense(query, depth, allowed, vector),
                self._bm25(query, depth, allowed),
                topk=topk,
                population=len(self._documents) if allowed is None else int(allowed.sum()),
                query_weight=self._index.query_weight(query),
            )
        return [
            attrs.evolve(self._documents[int(row)], score=float(score))
            for row, score in zip(rows, scores, strict=True)
        ]

    @property
    def embedding(self) -> Embedding | None:
        """The model of its vectors; closed with the backend."""
        return self._embed

    def close(self) -> None:
        """Close the embedding model if it was made for this."""
        if self._embed is not None:
            self._embed.close()

    def _dense(self, query: str, topk: int, allowed: Any, given: Any) -> Ranking:
        assert self._matrix is not None
        assert self._embed is not None
        vector = self._embed.query(query) if given is None else np.asarray(given, np.float32)
        unit = vector / max(float(np.linalg.norm(vector)), 1e-12)
        # Not `@`: a BLAS with threads makes them wait for each other actively, which costs up to
        # six times the CPU of the product itself, and the cores are the other steps'.
        scores = np.einsum("ij,j->i", self._matrix, unit)
        if allowed is not None:
            scores = np.where(allowed, scores, -np.inf)
        k = min(topk, len(scores))
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.lexsort((best, -scores[best]))]
        best = best[np.isfinite(scores[best])]
        return best, scores[best]

    def _bm25(self, query: str, topk: int, allowed: Any) -> Ranking:
        assert self._index is not None
        return self._index.search(query, topk, allowed)
