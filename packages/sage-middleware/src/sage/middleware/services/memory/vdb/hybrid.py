"""Fusing what vectors found with what words found; the ways are those of ``search.fusion``."""

from __future__ import annotations

from sage.middleware.search.fusion import DEPTH, METHODS
from sage.middleware.search.fusion import fuse as fuse_rankings
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.vdb.engines import FloatArray, Slots

FETCH = DEPTH
FUSIONS = METHODS
Ranking = tuple[Slots, FloatArray]


def check_fusion(fusion: str, weight: float | None) -> None:
    """Refuse a fusion that is not known, or a weight out of range."""
    if fusion not in FUSIONS:
        raise InvalidInputError(f"fusion is {fusion!r}; expected one of {', '.join(FUSIONS)}")
    if weight is not None and (isinstance(weight, bool) or not 0 <= weight <= 1):
        raise InvalidInputError(f"weight is {weight!r}; expected a number from 0 to 1")


def fuse(
    dense: Ranking,
    words: Ranking,
    topk: int,
    fusion: str,
    weight: float | None,
    *,
    population: int,
    query_weight: float | None = None,
) -> Ranking:
    """One ranking of two, both ordered best first.

    Args:
        dense: Slots and scores by vectors.
        words: Slots and scores by words.
        topk: Results wanted at most.
        fusion: ``rrf`` (scores below 1/60), ``convex`` or ``auto`` (0 to 1).
        weight: Share of the dense side. ``auto`` with a weight is ``convex``; without one it finds
            a weight for this query. 0.5 for the others if ``None``.
        population: Rows that were ranked.
        query_weight: Highest score that words could give, if known.
    """
    method = "convex" if fusion == "auto" and weight is not None else fusion
    return fuse_rankings(
        dense,
        words,
        method=method,
        topk=topk,
        population=max(1, population),
        query_weight=query_weight,
        weight=0.5 if weight is None else weight,
    )
