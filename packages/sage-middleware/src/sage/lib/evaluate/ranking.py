"""Measures of a ranking against judgements, with trec_eval's definitions. No dependencies.

``ranking`` is a list of document ids, best first, each once; ``grades`` maps ids to relevance
grades: above 0 is relevant, absent is not judged and counts as not relevant. Every measure is
``None`` when nothing is relevant: such a question says nothing about a retriever.

Source: trec_eval 9 (``ndcg_cut``, ``map``, ``recip_rank``, ``recall``, ``P``, ``success``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Grades = Mapping[str, float]


def relevant_count(grades: Grades) -> int:
    """How many documents are relevant."""
    return sum(grade > 0 for grade in grades.values())


def ndcg(ranking: Sequence[str], grades: Grades, k: int) -> float | None:
    """Normalised discounted cumulative gain of the first ``k``; the gain is the grade.

    Source: Järvelin, Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, 2002.
    """
    best = _gain(sorted((g for g in grades.values() if g > 0), reverse=True)[:k])
    if best == 0:
        return None
    return _gain([max(0.0, grades.get(doc, 0.0)) for doc in ranking[:k]]) / best


def average_precision(ranking: Sequence[str], grades: Grades, k: int | None = None) -> float | None:
    """Mean of the precision at each relevant document, those not found counting 0."""
    total = relevant_count(grades)
    if not total:
        return None
    hits, summed = 0, 0.0
    for rank, doc in enumerate(ranking[:k], 1):
        if grades.get(doc, 0) > 0:
            hits += 1
            summed += hits / rank
    return summed / total


def reciprocal_rank(ranking: Sequence[str], grades: Grades, k: int | None = None) -> float | None:
    """1 / rank of the first relevant document; 0 when none is found."""
    if not relevant_count(grades):
        return None
    return next(
        (1 / rank for rank, doc in enumerate(ranking[:k], 1) if grades.get(doc, 0) > 0), 0.0
    )


def recall(ranking: Sequence[str], grades: Grades, k: int) -> float | None:
    """Share of the relevant documents among the first ``k``."""
    total = relevant_count(grades)
    return _hits(ranking, grades, k) / total if total else None


def precision(ranking: Sequence[str], grades: Grades, k: int) -> float | None:
    """Share of relevant documents among ``k`` places; empty places are not relevant."""
    return _hits(ranking, grades, k) / k if relevant_count(grades) else None


def hit(ranking: Sequence[str], grades: Grades, k: int) -> float | None:
    """1.0 if a relevant document is among the first ``k``, else 0.0."""
    return float(_hits(ranking, grades, k) > 0) if relevant_count(grades) else None


def _hits(ranking: Sequence[str], grades: Grades, k: int) -> int:
    return sum(grades.get(doc, 0) > 0 for doc in ranking[:k])


def _gain(grades: Sequence[float]) -> float:
    return math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))
