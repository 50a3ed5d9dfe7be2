"""A ranking: ids with scores, best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ranking: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Ids ``(n,)`` (integers, each once) and scores ``(n,)`` (higher is better), best first."""

Doubles: TypeAlias = npt.NDArray[np.float64]


def doubles(scores: npt.NDArray[Any]) -> Doubles:
    """Scores in double precision."""
    return np.asarray(scores, np.float64)


def to_unit(scores: Doubles) -> Doubles:
    """Scores scaled so that the best is 1 and the last of the list 0; all 1 when they are equal."""
    if not len(scores):
        return scores
    low, high = scores[-1], scores[0]
    if not high > low:
        return np.ones(len(scores))
    out: Doubles = (scores - low) / (high - low)
    return out


def weighted_sum(
    parts: Sequence[tuple[npt.NDArray[Any], Doubles]], topk: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Sums the scores of each id over the parts; best first, equal scores by id."""
    ids = np.concatenate([np.asarray(part, np.int64) for part, _ in parts])
    values = np.concatenate([scores for _, scores in parts])
    if not len(ids):
        return ids, values.astype(np.float32)
    order = np.argsort(ids, kind="stable")
    ids, values = ids[order], values[order]
    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    ids, values = ids[first], np.add.reduceat(values, first)
    best = np.argsort(-values, kind="stable")[:topk]
    return ids[best], values[best].astype(np.float32)
