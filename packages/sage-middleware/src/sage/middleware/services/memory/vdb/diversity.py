"""Maximal marginal relevance: results that are good and unlike each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.vdb.engines import FloatArray


def check_balance(balance: float) -> float:
    """The weight of relevance, 0 (only unlike) to 1 (only relevant)."""
    if isinstance(balance, bool) or not 0 <= balance <= 1:
        raise InvalidInputError(f"mmr is {balance!r}; expected a number from 0 to 1")
    return float(balance)


def diversify(
    relevance: FloatArray, vectors: FloatArray, topk: int, balance: float
) -> npt.NDArray[np.int64]:
    """Positions picked one by one: ``balance * relevance - (1 - balance) * greatest cosine``.

    Args:
        relevance: ``(n,)`` scores, scaled to 0 … 1 by their range.
        vectors: ``(n, dim)`` vectors of the candidates.
        topk: How many to pick.
        balance: See ``check_balance``.

    Source: J. Carbonell, J. Goldstein, The Use of MMR, SIGIR 1998.
    """
    count = len(relevance)
    if count == 0:
        return np.empty(0, np.int64)
    low, high = float(relevance.min()), float(relevance.max())
    scaled = (relevance - low) / (high - low) if high > low else np.ones(count, np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1)
    nearest = np.full(count, -np.inf, np.float32)
    free = np.ones(count, np.bool_)
    picked: list[int] = []
    for _ in range(min(topk, count)):
        value = balance * scaled
        if picked:
            value = value - (1 - balance) * nearest
        choice = int(np.argmax(np.where(free, value, -np.inf)))
        picked.append(choice)
        free[choice] = False
        # Not `@`: see metrics.scores.
        nearest = np.maximum(nearest, np.einsum("ij,j->i", unit, unit[choice]))
    return np.array(picked, np.int64)
