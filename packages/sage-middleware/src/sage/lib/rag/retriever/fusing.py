"""How rankings are joined: two of one question, or those of several questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from sage.lib.types import Document

if TYPE_CHECKING:
    from sage.middleware.search.fusion import Ranking

RRF_K = 60.0
DEPTH = 100


@attrs.frozen(kw_only=True)
class Fusing:
    """How a dense and a lexical ranking become one; see ``HybridRetriever``."""

    method: str = "auto"
    weight: float | None = None
    rrf_k: float = RRF_K
    depth: int = DEPTH

    def join(
        self,
        dense: Ranking,
        sparse: Ranking,
        *,
        topk: int,
        population: int | None = None,
        query_weight: float | None = None,
    ) -> Ranking:
        """The best ``topk`` of both, with fused scores."""
        from sage.middleware.search.fusion import fuse  # noqa: PLC0415 - NumPy

        # A weight that was given is one the user wants, whatever the query.
        fixed = self.method == "auto" and self.weight is not None
        return fuse(
            dense,
            sparse,
            method="convex" if fixed else self.method,
            topk=topk,
            population=population,
            query_weight=query_weight,
            weight=0.5 if self.weight is None else self.weight,
            k=self.rrf_k,
        )


def join_documents(
    dense: Sequence[Document], sparse: Sequence[Document], fusing: Fusing, topk: int
) -> list[Document]:
    """``Fusing.join`` for passages known by their ids."""
    numbers, known = _numbered((dense, sparse))
    rows, scores = fusing.join(_ranking(dense, numbers), _ranking(sparse, numbers), topk=topk)
    return [attrs.evolve(known[int(r)], score=float(s)) for r, s in zip(rows, scores, strict=True)]


def join_lists(
    lists: Sequence[Sequence[Document]],
    topk: int,
    *,
    k: float = RRF_K,
    weights: Sequence[float] | None = None,
) -> list[Document]:
    """Several lists of passages as one, by reciprocal rank; scores are scaled to at most 1.

    A passage that is first in every list scores 1. Scores of different questions cannot be
    compared, ranks can.
    Source: G. Cormack, C. Clarke, S. Büttcher, Reciprocal rank fusion outperforms Condorcet and
    individual rank learning methods, SIGIR 2009.
    """
    from sage.middleware.search.fusion import reciprocal_rank  # noqa: PLC0415 - NumPy

    if not lists:
        return []
    shares = [1.0] * len(lists) if weights is None else list(weights)
    numbers, known = _numbered(lists)
    rows, scores = reciprocal_rank(
        [_ranking(found, numbers) for found in lists], k=k, weights=shares, topk=topk
    )
    scale = (k + 1) / sum(shares)
    return [
        attrs.evolve(known[int(row)], score=float(score) * scale)
        for row, score in zip(rows, scores, strict=True)
    ]


def _numbered(lists: Sequence[Sequence[Document]]) -> tuple[dict[str, int], list[Document]]:
    numbers: dict[str, int] = {}
    known: list[Document] = []
    for found in lists:
        for document in found:
            if document.id not in numbers:
                numbers[document.id] = len(known)
                known.append(document)
    return numbers, known


def _ranking(found: Sequence[Document], numbers: dict[str, int]) -> Any:
    import numpy as np  # noqa: PLC0415 - only once something was found

    first: dict[int, float] = {}
    for document in found:
        first.setdefault(numbers[document.id], document.score or 0.0)
    return np.array(list(first), np.int64), np.array(list(first.values()), np.float64)
