"""``NDCGEvaluate``: graded quality of the ranking."""

from __future__ import annotations

from sage.lib.evaluate.metric import RankingMetric
from sage.lib.evaluate.ranking import ndcg


class NDCGEvaluate(RankingMetric):
    """Adds the score ``ndcg@k`` in ``[0, 1]``: normalised discounted cumulative gain.

    ``None`` when the question has no relevant document. Equal to ``nDCG@k`` of ir-measures.

    Example:
        >>> stream.map(NDCGEvaluate, {"k": 10})
    """

    label = "ndcg"
    measure = staticmethod(ndcg)
