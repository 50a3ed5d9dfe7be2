"""A weight for every query, by how sure each retriever is of it."""

from __future__ import annotations

from math import exp, log

import attrs
import numpy as np
import numpy.typing as npt

from sage.middleware.search.fusion.confidence import peak, stand_out
from sage.middleware.search.fusion.convex import convex
from sage.middleware.search.fusion.ranking import Ranking, doubles


@attrs.frozen(kw_only=True)
class Weighing:
    """Constants of ``dense_weight``.

    ``weight = 1 / (1 + exp(-(bias + dense * ln(stand_out) - sparse * peak - coverage * covered)))``

    The defaults were set once, for six public collections together (abstracts, encyclopedia
    paragraphs, dialogue; English, German, Chinese), and hold for collections left out when they
    were set; ``docs/adr/0006-search-and-fusion.md`` has the figures, and
    ``benchmarks/memory/quality.py`` measures them again.
    """

    bias: float = -1.6
    dense: float = 2.2
    sparse: float = 2.7
    coverage: float = 0.6


DEFAULT = Weighing()


def dense_weight(
    dense: Ranking,
    sparse: Ranking,
    *,
    population: int,
    query_weight: float | None = None,
    constants: Weighing = DEFAULT,
) -> float:
    """The weight of the dense side for one query, 0 to 1.

    Larger the more the best vector stands out of its background, smaller the more the best text
    stands out by its words and the more of the query's words it covers.

    Args:
        dense: Ranking by vectors, best first, at least 8 (better 100) of them.
        sparse: Ranking by BM25.
        population: How many documents were ranked (those that pass the filter).
        query_weight: Sum of the idf of the query's terms, by which ``sparse`` is at most; ``None``
            if not known.
        constants: To set it otherwise.
    """
    if not len(sparse[0]):
        return 1.0
    if not len(dense[0]):
        return 0.0
    lexical = doubles(sparse[1])
    outstanding = stand_out(doubles(dense[1]), population)
    if outstanding is None:
        return 0.5
    covered = 0.4 if not query_weight else min(float(lexical[0]) / query_weight, 1.0)
    logit = (
        constants.bias
        + constants.dense * log(max(outstanding, 0.1))
        - constants.sparse * peak(lexical)
        - constants.coverage * covered
    )
    return 1 / (1 + exp(-logit))


def auto(
    dense: Ranking,
    sparse: Ranking,
    *,
    population: int,
    query_weight: float | None = None,
    topk: int | None = None,
    constants: Weighing = DEFAULT,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """``convex`` with the weight that ``dense_weight`` finds for this query."""
    weight = dense_weight(
        dense, sparse, population=population, query_weight=query_weight, constants=constants
    )
    return convex(dense, sparse, weight=weight, topk=topk)
