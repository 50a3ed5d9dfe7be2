"""``MRREvaluate``: how early the first relevant passage comes."""

from __future__ import annotations

from typing import Any

import attrs

from sage.lib.evaluate.judgements import grades_of, ranking_of
from sage.lib.evaluate.metric import PassageMetric, Scores
from sage.lib.evaluate.ranking import reciprocal_rank
from sage.lib.types import Answer


class MRREvaluate(PassageMetric):
    """Adds the score ``mrr`` in ``[0, 1]``: 1 / rank of the first relevant passage.

    ``None`` when the question has no relevant document. Equal to ``RR`` of ir-measures.

    Example:
        >>> stream.map(MRREvaluate, {"k": 10})
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
        self.metrics = ("mrr" if k is None else f"mrr@{k}",)

    def score(self, answer: Answer) -> Scores:
        grades = grades_of(answer.query)
        ranking = ranking_of(answer.passages, grades)
        return {self.metrics[0]: reciprocal_rank(ranking, grades, self.config.k)}
