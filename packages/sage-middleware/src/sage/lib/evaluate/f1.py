"""``F1Evaluate``: token F1 against the best of the reference answers."""

from __future__ import annotations

from sage.lib.adapt import as_answer
from sage.lib.contracts import AnswerLike, EvaluateFunction, NoConfig
from sage.lib.evaluate.scores import with_score
from sage.lib.evaluate.squad import best_of, token_f1
from sage.lib.types import Evaluation


class F1Evaluate(EvaluateFunction):
    """Adds the score ``f1`` in ``[0, 1]``; ``None`` when the question has no references.

    Source: the official evaluation script of SQuAD 2.0.

    Example:
        >>> stream.map(F1Evaluate).map(ExactMatch)
    """

    Config = NoConfig
    metrics = ("f1",)

    def execute(self, item: AnswerLike) -> Evaluation:
        """Score one answer.

        Raises:
            ItemError: The item holds no answer.
        """
        answer = as_answer(item)
        return with_score(item, "f1", best_of(token_f1, answer.text, answer.query.answers))
