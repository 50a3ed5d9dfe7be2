"""Bases of the evaluators: of measures of the answer, of the passages, and of their ranking.

Predecessor: ``sage.lib.contracts``; successor: the evaluators beside this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import attrs

from sage.lib.contracts import AnswerLike, EvaluateFunction, NoConfig
from sage.lib.evaluate.judgements import grades_of, ranking_of
from sage.lib.evaluate.scores import answer_of, with_scores
from sage.lib.types import Answer, Evaluation, Retrieved

Scores = Mapping[str, float | None]
Needs = Literal["answer", "passages"]


class Metric(EvaluateFunction):
    """Scores the answer of an item; a subclass defines ``score``.

    Attributes:
        needs: ``answer``, or ``passages`` when the measure makes sense without an answer.
    """

    Config: ClassVar[type | None] = NoConfig
    needs: ClassVar[Needs] = "answer"

    def score(self, answer: Answer) -> Scores:
        """The scores of one answer; ``None`` is "no score", never 0 and never NaN."""
        raise NotImplementedError

    def execute(self, item: AnswerLike) -> Evaluation:
        """Score one answer.

        Raises:
            ItemError: The item holds no answer.
        """
        return with_scores(item, self.score(answer_of(item)))


class PassageMetric(Metric):
    """Scores the passages of an item, with or without an answer."""

    needs = "passages"

    def execute(self, item: AnswerLike | Retrieved) -> Evaluation:
        """Score the passages of one item.

        Raises:
            ItemError: The item holds no passages.
        """
        return with_scores(item, self.score(answer_of(item)))


@attrs.frozen(kw_only=True)
class FirstPassages:
    """Settings of a ranking metric that looks at the first passages.

    Attributes:
        k: How many passages count.
    """

    k: int = attrs.field(default=10, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class WholeRanking:
    """Settings of a ranking metric that looks at all passages, unless told otherwise.

    Attributes:
        k: How many passages count; default: all.
    """

    k: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )


class RankingMetric(PassageMetric):
    """Scores the order of the passages by the judgements of their question.

    Attributes:
        label: Name of the score; ``@k`` is added where only the first ``k`` passages count.
        measure: A measure of ``sage.lib.evaluate.ranking``: ``(ranking, grades, k)`` to a score.
    """

    Config: ClassVar[type | None] = FirstPassages
    label: ClassVar[str]
    measure: ClassVar[Callable[..., float | None]]

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        k = self.config.k
        self.metrics = (self.label if k is None else f"{self.label}@{k}",)

    def score(self, answer: Answer) -> Scores:
        """The measure, under its name."""
        grades = grades_of(answer.query)
        ranking = ranking_of(answer.passages, grades)
        return {self.metrics[0]: self.measure(ranking, grades, self.config.k)}
