"""``BERTRecallEvaluate``: how much of the reference the answer says, by token vectors."""

from __future__ import annotations

from sage.lib.evaluate.bert_score import BERTScoreEvaluate
from sage.lib.evaluate.metric import Scores
from sage.lib.types import Answer


class BERTRecallEvaluate(BERTScoreEvaluate):
    """Adds ``bert_recall``: the recall of BERTScore, the best over the references.

    ``None`` when the question has no references. Settings as for ``BERTScoreEvaluate``.

    Example:
        >>> stream.map(BERTRecallEvaluate, {"model": "models/all-MiniLM-L6-v2"})
    """

    metrics = ("bert_recall",)

    def score(self, answer: Answer) -> Scores:
        return {"bert_recall": max((m.recall for m in self.matches(answer)), default=None)}
