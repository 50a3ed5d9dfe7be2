"""One call for every method, as a configuration names it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.search.fusion.auto import auto
from sage.middleware.search.fusion.convex import convex
from sage.middleware.search.fusion.ranking import Ranking
from sage.middleware.search.fusion.reciprocal_rank import reciprocal_rank

Method = Literal["auto", "convex", "rrf"]
METHODS: tuple[str, ...] = get_args(Method)

DEPTH = 100
"""How many of each ranking to fuse: what is deeper hardly ever reaches the first ten."""


def fuse(
    dense: Ranking,
    sparse: Ranking,
    *,
    method: str = "auto",
    topk: int | None = None,
    population: int | None = None,
    query_weight: float | None = None,
    weight: float = 0.5,
    k: float = 60,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Joins a ranking by vectors and one by words.

    Args:
        dense: Ids and similarities, best first; ``DEPTH`` of them.
        sparse: Ids and BM25 scores, best first; ``DEPTH`` of them.
        method: ``"auto"`` (a weight per query), ``"convex"`` (one weight) or ``"rrf"``.
        topk: How many to return; all if not given.
        population: For ``auto``: how many documents were ranked; ten times the longer list if not
            given.
        query_weight: For ``auto``: ``BM25Index.query_weight``; makes it surer.
        weight: For ``convex`` and ``rrf``: weight of the dense side, 0 to 1.
        k: For ``rrf``.

    Returns:
        Ids and scores, best first. Scores are for this query only: 0 to 1 with ``auto`` and
        ``convex``, below 1 / k with ``rrf``.

    Raises:
        ConfigError: The method is not known or an argument is out of range.
    """
    if method == "auto":
        ranked = population or 10 * max(len(dense[0]), len(sparse[0]))
        return auto(dense, sparse, population=ranked, query_weight=query_weight, topk=topk)
    if method == "convex":
        return convex(dense, sparse, weight=weight, topk=topk)
    if method == "rrf":
        if not 0 <= weight <= 1:
            raise ConfigError(f"weight must be between 0 and 1, got {weight!r}", weight=weight)
        return reciprocal_rank([dense, sparse], k=k, weights=[weight, 1 - weight], topk=topk)
    raise ConfigError(
        f"fusion method {method!r} is not known; expected one of {', '.join(METHODS)}",
        method=method,
    )
