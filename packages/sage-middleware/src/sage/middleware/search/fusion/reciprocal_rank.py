"""Reciprocal rank fusion: by places, whatever the scores mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.search.fusion.ranking import Ranking, weighted_sum


def reciprocal_rank(
    rankings: Sequence[Ranking],
    *,
    k: float = 60,
    weights: Sequence[float] | None = None,
    topk: int | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Sums ``weight / (k + place)`` over rankings, places counted from 1.

    Needs no scores that can be compared, and so cannot tell a sure retriever from a guessing one:
    on sets where one of the two is much better the result is worse than that one alone.
    Source: G. Cormack, C. Clarke, S. Büttcher, Reciprocal rank fusion outperforms Condorcet and
    individual rank learning methods, SIGIR 2009 (with k = 60).

    Args:
        rankings: At least one.
        k: How little the first places stand out; above 0.
        weights: One per ranking; all 1 if not given.
        topk: How many to return; all if not given.

    Returns:
        Ids and scores, best first, equal scores by id.

    Raises:
        ConfigError: ``k`` or the number of weights is wrong.
    """
    if not k > 0:
        raise ConfigError(f"k must be above 0, got {k!r}")
    if weights is None:
        weights = [1.0] * len(rankings)
    if len(weights) != len(rankings) or not rankings:
        raise ConfigError(f"got {len(weights)} weights for {len(rankings)} rankings")
    return weighted_sum(
        [
            (ids, weight / (k + 1 + np.arange(len(ids), dtype=np.float64)))
            for (ids, _), weight in zip(rankings, weights, strict=True)
        ],
        topk,
    )
