"""``PrecisionEvaluate``: share of relevant passages."""

from __future__ import annotations

from sage.lib.evaluate.metric import RankingMetric
from sage.lib.evaluate.ranking import precision


class PrecisionEvaluate(RankingMetric):
    """Adds the score ``precision@k`` in ``[0, 1]``: share of relevant ones in the first ``k``.

    ``None`` when the question has no relevant document. Equal to ``P@k`` of ir-measures.

    Example:
        >>> stream.map(PrecisionEvaluate, {"k": 10})
    """

    label = "precision"
    measure = staticmethod(precision)
