"""How sure a retriever is of its best answer, read off the scores it gave."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np

from sage.middleware.search.fusion.ranking import Doubles

_NORMAL = NormalDist()
_FEWEST = 8


@lru_cache(maxsize=256)
def _expected(listed: int, population: int) -> Doubles:
    """Where the best ``listed`` of ``population`` draws of a normal variable lie, in deviations."""
    return np.array(
        [_NORMAL.inv_cdf(1 - (i - 0.5) / population) for i in range(1, listed + 1)], np.float64
    )


def _coarse(population: int) -> int:
    """Rounded to 1/16 of its size: quantiles hardly move, and a growing collection stays cached."""
    step = 1 << max(population.bit_length() - 5, 0)
    return population // step * step


def stand_out(scores: Doubles, population: int) -> float | None:
    """By how many standard deviations the best score exceeds the mean of *all* documents.

    Similarities of unrelated texts spread like a normal variable whose mean and width depend on the
    model, the language and the query. They are estimated from the list alone: its scores from the
    10th percent on are set against the places that the best of ``population`` normal draws take.
    Free of the model's scale: 0.6 may be excellent for one model and noise for another.

    Args:
        scores: Best first.
        population: How many documents they are the best of.

    Returns:
        Standard deviations, or ``None`` when there are too few scores, or equal ones, to tell.
    """
    listed = len(scores)
    if listed < _FEWEST:
        return None
    places = _expected(listed, _coarse(max(population, listed + 1)))
    body = slice(listed // 10, None)
    x, y = places[body], scores[body]
    centre = x - x.mean()
    width = float(centre @ y / (centre @ centre))
    if not width > 0:
        return None
    mean = float(y.mean() - width * x.mean())
    return (float(scores[0]) - mean) / width


def peak(scores: Doubles) -> float:
    """How far the tenth score falls below the best: 0 (a plateau) to 1 (fewer than ten answers).

    Args:
        scores: Best first, 0 for what is not listed.
    """
    if not len(scores) or not scores[0] > 0:
        return 0.0
    tenth = float(scores[9]) if len(scores) > 9 else 0.0
    return 1.0 - tenth / float(scores[0])
