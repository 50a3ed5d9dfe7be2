"""``HitRateEvaluate``: whether anything relevant was found."""

from __future__ import annotations

from typing import Any

import attrs

from sage.lib.evaluate.judgements import grades_of, ranking_of
from sage.lib.evaluate.metric import PassageMetric, Scores
from sage.lib.evaluate.ranking import hit
from sage.lib.types import Answer


class HitRateEvaluate(PassageMetric):
    """Adds the score ``hit@k`` in ``[0, 1]``: 1 if one of the first ``k`` is relevant.

    ``None`` when the question has no relevant document. Equal to ``Success@k`` of ir-measures.

    Example:
        >>> stream.map(HitRateEvaluate, {"k": 10})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            k: How many passages count.
        """

        k: int = attrs.field(default=10, validator=attrs.validators.ge(1))

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self.metrics = (f"hit@{self.config.k}",)

    def score(self, answer: Answer) -> Scores:
        grades = grades_of(answer.query)
        ranking = ranking_of(answer.passages, grades)
        return {self.metrics[0]: hit(ranking, grades, self.config.k)}
