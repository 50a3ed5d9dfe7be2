"""``ExactMatch``: whether the answer equals one of the reference answers."""

from __future__ import annotations

from sage.lib.adapt import as_answer
from sage.lib.contracts import AnswerLike, EvaluateFunction, NoConfig
from sage.lib.evaluate.scores import with_score
from sage.lib.evaluate.squad import best_of, exact_match
from sage.lib.types import Evaluation


class ExactMatch(EvaluateFunction):
    """Adds the score ``em``, 0 or 1; ``None`` when the question has no references.

    Case, punctuation, English articles and white space do not count.
    Source: the official evaluation script of SQuAD 2.0.

    Example:
        >>> stream.map(ExactMatch)
    """

    Config = NoConfig
    metrics = ("em",)

    def execute(self, item: AnswerLike) -> Evaluation:
        """Score one answer.

        Raises:
            ItemError: The item holds no answer.
        """
        answer = as_answer(item)
        return with_score(item, "em", best_of(exact_match, answer.text, answer.query.answers))
