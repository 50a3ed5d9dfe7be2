"""``ContextPrecisionEvaluate``: whether the useful passages come first."""

from __future__ import annotations

from collections.abc import Sequence

from sage.lib.contracts import AnswerLike
from sage.lib.evaluate.accuracy import contains
from sage.lib.evaluate.judge import JudgeMetric, NoScore, numbered, verdicts_of
from sage.lib.evaluate.judgements import grades_of
from sage.lib.evaluate.metric import Scores
from sage.lib.types import Answer, Evaluation, Retrieved

_TASK = (
    "Say for each passage whether it helps to answer the question as the reference does. JSON: "
    '{"verdicts": [true, false]}, one verdict per passage, in order.'
)


class ContextPrecisionEvaluate(JudgeMetric):
    """Adds ``context_precision`` in ``[0, 1]``: mean precision at the ranks of useful passages.

    Without ``judge``, a passage is useful when it was judged relevant (``metadata["qrels"]``), or,
    without judgements, when it contains a reference answer. ``None`` when that cannot be known,
    there are no passages, or the judge cannot answer; 0 when none is useful.
    Source: Es et al., RAGAs: Automated Evaluation of Retrieval Augmented Generation, 2024.

    Example:
        >>> retrieved.map(ContextPrecisionEvaluate)
    """

    metrics = ("context_precision",)
    needs = "passages"

    async def execute(self, item: AnswerLike | Retrieved) -> Evaluation:  # type: ignore[override]
        return await super().execute(item)  # type: ignore[arg-type]

    def score(self, answer: Answer) -> Scores:
        grades, references = grades_of(answer.query), answer.query.answers
        if not answer.passages or not (grades or references):
            return {"context_precision": None}
        useful = [
            (grades.get(d.id, 0) > 0 or grades.get(d.parent_id or "", 0) > 0)
            if grades
            else any(contains(d.text, text) > 0 for text in references)
            for d in answer.passages
        ]
        return {"context_precision": precision_of(useful)}

    async def judge_score(self, answer: Answer) -> Scores:
        if not answer.passages:
            return {"context_precision": None}
        data = {"question": answer.query.text, "passages": numbered(answer.passages)}
        if answer.query.answers:
            data["reference"] = answer.query.answers[0]
        verdicts = verdicts_of(await self.ask(_TASK, **data))
        if len(verdicts) != len(answer.passages):
            raise NoScore(
                f"the judge gave {len(verdicts)} verdicts on {len(answer.passages)} passages"
            )
        return {"context_precision": precision_of(verdicts)}


def precision_of(useful: Sequence[bool]) -> float:
    """Mean of the precision at each rank that is useful; 0 when none is."""
    hits = [rank for rank, each in enumerate(useful, 1) if each]
    return sum(n / rank for n, rank in enumerate(hits, 1)) / len(hits) if hits else 0.0
