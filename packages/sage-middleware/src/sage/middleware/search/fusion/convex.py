"""Convex combination of scores scaled to 0...1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage.common.errors import ConfigError
from sage.middleware.search.fusion.ranking import Ranking, doubles, to_unit, weighted_sum


def convex(
    dense: Ranking, sparse: Ranking, *, weight: float, topk: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """``weight * dense + (1 - weight) * sparse``, each scaled to 0...1 over its own list.

    What is missing from a list has 0 there, so lists should be deep (``DEPTH``).
    Source: S. Bruch, S. Gai, A. Ingber, An analysis of fusion functions for hybrid retrieval,
    TOIS 42(1), 2023 (min-max scaling).

    Args:
        dense: Ranking by vectors.
        sparse: Ranking by words.
        weight: Of ``dense``, 0 to 1.
        topk: How many to return; all if not given.

    Returns:
        Ids and scores from 0 to 1, best first, equal scores by id.

    Raises:
        ConfigError: ``weight`` is not between 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight must be between 0 and 1, got {weight!r}", weight=weight)
    return weighted_sum(
        [
            (dense[0], weight * to_unit(doubles(dense[1]))),
            (sparse[0], (1 - weight) * to_unit(doubles(sparse[1]))),
        ],
        topk,
    )
