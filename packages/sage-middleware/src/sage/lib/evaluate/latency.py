"""``LatencyEvaluate``: how long the answer took."""

from __future__ import annotations

from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.types import Answer


class LatencyEvaluate(Metric):
    """Adds ``latency``, seconds of the generator with its retries; ``None`` when not measured.

    Example:
        >>> stream.map(LatencyEvaluate)
    """

    metrics = ("latency",)

    def score(self, answer: Answer) -> Scores:
        return {"latency": answer.latency}
