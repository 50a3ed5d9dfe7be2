"""Fusing what vectors found with what words found."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.vdb.dense import best
from sage.middleware.services.memory.vdb.engines import FloatArray, Slots

Fusion = Literal["auto", "rrf", "convex"]
FUSIONS: tuple[str, ...] = get_args(Fusion)
_RRF_K = 60
Ranking = tuple[Slots, FloatArray]


def check_fusion(fusion: str, weight: float | None) -> None:
    """Refuse a fusion that is not known, or a weight out of range."""
    if fusion not in FUSIONS:
        raise InvalidInputError(f"fusion is {fusion!r}; expected one of {', '.join(FUSIONS)}")
    if weight is not None and (isinstance(weight, bool) or not 0 <= weight <= 1):
        raise InvalidInputError(f"weight is {weight!r}; expected a number from 0 to 1")


def fuse(dense: Ranking, words: Ranking, topk: int, fusion: str, weight: float | None) -> Ranking:
    """One ranking of two; both are ordered best first.

    - ``rrf``: sum of ``1 / (60 + rank)``, each side times its weight. Scores up to 0.0164.
      Source: Cormack, Clarke, Büttcher, Reciprocal Rank Fusion, SIGIR 2009.
    - ``convex``: weighted sum of scores scaled to 0 … 1 by their range. Scores 0 to 1.
    - ``auto``: convex, with a weight chosen for this query by how clearly each side separates its
      best results from the rest.

    Args:
        weight: Share of the dense side, 0 to 1; 0.5 if ``None`` (``auto`` chooses its own).
    """
    slots = np.union1d(dense[0], words[0])
    if not len(slots):
        return dense
    share = 0.5 if weight is None else weight
    if fusion == "rrf":
        points = share * _ranks(dense, slots) + (1 - share) * _ranks(words, slots)
    else:
        if fusion == "auto" and weight is None:
            share = _share(dense, words)
        points = share * _scaled(dense, slots) + (1 - share) * _scaled(words, slots)
    return best(slots, points.astype(np.float32), topk)


def _ranks(ranking: Ranking, slots: Slots) -> FloatArray:
    out = np.zeros(len(slots), np.float32)
    out[np.searchsorted(slots, ranking[0])] = 1 / (_RRF_K + np.arange(1, len(ranking[0]) + 1))
    return out


def _scaled(ranking: Ranking, slots: Slots) -> FloatArray:
    out = np.zeros(len(slots), np.float32)
    found, points = ranking
    if len(points):
        low, high = float(points.min()), float(points.max())
        spread = high - low
        out[np.searchsorted(slots, found)] = (points - low) / spread if spread > 0 else 1.0
    return out


def _share(dense: Ranking, words: Ranking) -> float:
    clear, clear_words = _clarity(dense[1]), _clarity(words[1])
    total = clear + clear_words
    return 0.5 if total <= 0 else min(0.8, max(0.2, clear / total))


def _clarity(points: FloatArray) -> float:
    """How far the best five stand above the middle, in units of the spread."""
    if len(points) < 2:
        return float(len(points))
    spread = float(points.std())
    return 0.0 if spread == 0 else float(points[:5].mean() - np.median(points)) / spread
