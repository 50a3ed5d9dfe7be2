"""``RecallEvaluate``: share of the relevant documents found."""

from __future__ import annotations

from sage.lib.evaluate.metric import RankingMetric
from sage.lib.evaluate.ranking import recall


class RecallEvaluate(RankingMetric):
    """Adds the score ``recall@k`` in ``[0, 1]``: share of the relevant found in the first ``k``.

    ``None`` when the question has no relevant document. Equal to ``R@k`` of ir-measures.

    Example:
        >>> stream.map(RecallEvaluate, {"k": 10})
    """

    label = "recall"
    measure = staticmethod(recall)
