"""``MAPEvaluate``: precision over all relevant documents."""

from __future__ import annotations

from typing import Any

import attrs

from sage.lib.evaluate.judgements import grades_of, ranking_of
from sage.lib.evaluate.metric import PassageMetric, Scores
from sage.lib.evaluate.ranking import average_precision
from sage.lib.types import Answer


class MAPEvaluate(PassageMetric):
    """Adds the score ``map`` in ``[0, 1]``: average precision, whose mean is MAP.

    ``None`` when the question has no relevant document. Equal to ``AP`` of ir-measures.

    Example:
        >>> stream.map(MAPEvaluate, {"k": 10})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            k: How many passages count; default: all.
        """

        k: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
        )

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        k = self.config.k
        self.metrics = ("map" if k is None else f"map@{k}",)

    def score(self, answer: Answer) -> Scores:
        grades = grades_of(answer.query)
        ranking = ranking_of(answer.passages, grades)
        return {self.metrics[0]: average_precision(ranking, grades, self.config.k)}
