"""``TokensEvaluate``: tokens of the model call, as the provider counted them."""

from __future__ import annotations

from sage.lib.evaluate.metric import Metric, Scores
from sage.lib.types import Answer


class TokensEvaluate(Metric):
    """Adds ``input_tokens``, ``output_tokens`` and ``total_tokens``; ``None`` when not counted.

    Example:
        >>> stream.map(TokensEvaluate)
    """

    metrics = ("input_tokens", "output_tokens", "total_tokens")

    def score(self, answer: Answer) -> Scores:
        read, written = answer.usage.input_tokens, answer.usage.output_tokens
        known = read is not None and written is not None
        return {
            "input_tokens": None if read is None else float(read),
            "output_tokens": None if written is None else float(written),
            "total_tokens": float((read or 0) + (written or 0)) if known else None,
        }
