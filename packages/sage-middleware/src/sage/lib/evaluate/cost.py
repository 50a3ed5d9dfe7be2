"""``CostEvaluate``: what the answer cost."""

from __future__ import annotations

from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.types import Answer


class CostEvaluate(Metric):
    """Adds ``cost`` in USD; ``None`` when the price is not known, never 0 for unknown.

    Example:
        >>> stream.map(CostEvaluate)
    """

    metrics = ("cost",)

    def score(self, answer: Answer) -> Scores:
        return {"cost": answer.cost}
