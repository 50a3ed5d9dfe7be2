"""``HitRateEvaluate``: whether anything relevant was found."""

from __future__ import annotations

from sage.lib.evaluate.metric import RankingMetric
from sage.lib.evaluate.ranking import hit


class HitRateEvaluate(RankingMetric):
    """Adds the score ``hit@k`` in ``[0, 1]``: 1 if one of the first ``k`` is relevant.

    ``None`` when the question has no relevant document. Equal to ``Success@k`` of ir-measures.

    Example:
        >>> stream.map(HitRateEvaluate, {"k": 10})
    """

    label = "hit"
    measure = staticmethod(hit)
