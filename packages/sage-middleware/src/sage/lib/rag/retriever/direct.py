"""A backend over documents given directly: exact dense search, BM25, or both fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.lib.rag.retriever.backend import matches
from sage.lib.types import Document
from sage.middleware.search import BM25Index

Vector = npt.NDArray[np.float32]
DEPTH = 100
"""How many of each ranking hybrid search fuses."""


class DirectBackend:
    """Searches documents in memory.

    Args:
        documents: What is searched.
        vectors: ``(n, dim)``, one row per document; made by ``embed`` when missing and needed.
        embed: ``text -> vector``, for questions (and documents without vectors).
        modes: Which searches will be asked for; others need no index.

    Raises:
        ConfigError: Vectors and documents differ in number, or dense search has no ``embed``.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        *,
        modes: Sequence[str],
        vectors: Any = None,
        embed: Callable[[str], Any] | None = None,
    ) -> None:
        self._documents = documents
        self._embed = embed
        self._matrix: Vector | None = None
        self._index: BM25Index | None = None
        if "dense" in modes or "hybrid" in modes:
            if embed is None:
                raise ConfigError("dense search over given documents needs embed, a callable")
            rows = [embed(d.text) for d in documents] if vectors is None else vectors
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
        self, query: str, topk: int, where: Mapping[str, Any] | None, mode: str
    ) -> list[Document]:
        """The best ``topk`` documents with scores: cosine, BM25, or a fusion in ``[0, 1]``."""
        allowed = None
        if where is not None:
            allowed = np.fromiter((matches(d.metadata, where) for d in self._documents), bool)
        if mode == "dense":
            rows, scores = self._dense(query, topk, allowed)
        elif mode == "bm25":
            rows, scores = self._bm25(query, topk, allowed)
        else:
            dense = self._dense(query, DEPTH, allowed)
            lexical = self._bm25(query, DEPTH, allowed)
            rows, scores = fuse(lexical, dense, topk)
        return [
            attrs.evolve(self._documents[int(row)], score=float(score))
            for row, score in zip(rows, scores, strict=True)
        ]

    def close(self) -> None:
        """Nothing was opened."""

    def _dense(self, query: str, topk: int, allowed: Any) -> tuple[Any, Any]:
        assert self._matrix is not None
        assert self._embed is not None
        vector = np.asarray(self._embed(query), dtype=np.float32).reshape(-1)
        scores = self._matrix @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
        if allowed is not None:
            scores = np.where(allowed, scores, -np.inf)
        k = min(topk, len(scores))
        if k == 0:
            return [], []
        best = np.argpartition(-scores, k - 1)[:k]
        best = best[np.lexsort((best, -scores[best]))]
        best = best[np.isfinite(scores[best])]
        return best, scores[best]

    def _bm25(self, query: str, topk: int, allowed: Any) -> tuple[Any, Any]:
        assert self._index is not None
        return self._index.search(query, topk, allowed)


def fuse(lexical: tuple[Any, Any], dense: tuple[Any, Any], topk: int) -> tuple[Any, Any]:
    """Convex fusion: the mean of both scores, each scaled to ``[0, 1]`` over its own list.

    Source: Bruch, Gai, Ingber, An Analysis of Fusion Functions for Hybrid Retrieval, TOIS 42(1),
    2023. Equal weights were the best fixed setting on SQuAD 2.0 and Cranfield.
    """
    fused: dict[int, float] = {}
    for rows, scores in (lexical, dense):
        if not len(rows):
            continue
        low, high = float(scores[-1]), float(scores[0])
        width = high - low
        for row, score in zip(rows, scores, strict=True):
            share = (float(score) - low) / width if width > 0 else 1.0
            fused[int(row)] = fused.get(int(row), 0.0) + 0.5 * share
    best = sorted(fused, key=lambda row: (-fused[row], row))[:topk]
    return best, [fused[row] for row in best]
