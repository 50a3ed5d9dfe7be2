"""Bases of the evaluators: one for measures of the answer, one for measures of the passages.

Predecessor: ``sage.lib.contracts``; successor: the evaluators beside this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from sage.lib.contracts import AnswerLike, EvaluateFunction, NoConfig
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
