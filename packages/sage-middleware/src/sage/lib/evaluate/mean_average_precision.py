"""``MAPEvaluate``: precision over all relevant documents."""

from __future__ import annotations

from sage.lib.evaluate.metric import RankingMetric, WholeRanking
from sage.lib.evaluate.ranking import average_precision


class MAPEvaluate(RankingMetric):
    """Adds the score ``map`` in ``[0, 1]``: average precision, whose mean is MAP.

    ``None`` when the question has no relevant document. Equal to ``AP`` of ir-measures.

    Example:
        >>> stream.map(MAPEvaluate, {"k": 10})
    """

    Config = WholeRanking
    label = "map"
    measure = staticmethod(average_precision)
