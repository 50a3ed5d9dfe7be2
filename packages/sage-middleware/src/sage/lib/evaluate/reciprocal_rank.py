"""``MRREvaluate``: how early the first relevant passage comes."""

from __future__ import annotations

from sage.lib.evaluate.metric import RankingMetric, WholeRanking
from sage.lib.evaluate.ranking import reciprocal_rank


class MRREvaluate(RankingMetric):
    """Adds the score ``mrr`` in ``[0, 1]``: 1 / rank of the first relevant passage.

    ``None`` when the question has no relevant document. Equal to ``RR`` of ir-measures.

    Example:
        >>> stream.map(MRREvaluate, {"k": 10})
    """

    Config = WholeRanking
    label = "mrr"
    measure = staticmethod(reciprocal_rank)
