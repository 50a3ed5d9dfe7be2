"""``AnswerRelevancyEvaluate``: whether the answer is about the question."""

from __future__ import annotations

from typing import Any

import attrs

from sage.lib.evaluate.judge import JudgeConfig, JudgeMetric, NoScore
from sage.lib.evaluate.metric import Scores
from sage.lib.types import Answer

_TASK = (
    "Grade how directly and completely the answer addresses the question, whether or not it is "
    'true. JSON: {"grade": N} with N from 0 (not at all, or a refusal) to 4 (fully).'
)


class AnswerRelevancyEvaluate(JudgeMetric):
    """Adds ``answer_relevancy`` in ``[0, 1]``.

    With ``judge``, the model's grade. Without, the cosine of question and answer under an embedding
    model, 0 where it is negative; its level depends on the model, so compare only runs with the
    same one. ``None`` for an empty answer, or when the judge cannot answer.

    Example:
        >>> stream.map(AnswerRelevancyEvaluate, {"embed": "minilm"})
    """

    metrics = ("answer_relevancy",)

    @attrs.frozen(kw_only=True)
    class Config(JudgeConfig):
        """Settings.

        Attributes:
            embed: Name of the embedding model, when no ``judge`` is given.
        """

        embed: str = "default"

    _model: Any = None

    def open_lexical(self) -> None:
        from sage.middleware.utils.embedding.embedding_api import (  # noqa: PLC0415 - NumPy
            apply_embedding_model,
        )

        self._model = apply_embedding_model(self.config.embed)

    def score(self, answer: Answer) -> Scores:
        if not answer.text.strip() or not answer.query.text.strip():
            return {"answer_relevancy": None}
        question = self._model.embed(answer.query.text, kind="query")
        return {
            "answer_relevancy": min(1.0, max(0.0, float(question @ self._model.embed(answer.text))))
        }

    async def judge_score(self, answer: Answer) -> Scores:
        if not answer.text.strip():
            return {"answer_relevancy": None}
        found = await self.ask(_TASK, question=answer.query.text, answer=answer.text)
        grade = found.get("grade")
        if isinstance(grade, bool) or not isinstance(grade, int | float) or not 0 <= grade <= 4:
            raise NoScore(f"the judge's grade is no number from 0 to 4: {grade!r}")
        return {"answer_relevancy": grade / 4}

    def close(self) -> None:
        """Release the model or the connections."""
        super().close()
        if self._model is not None:
            self._model.close()
