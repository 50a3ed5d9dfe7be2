"""``ContextRecallEvaluate``: whether the passages hold what the reference answer says."""

from __future__ import annotations

from sage.lib.contracts import AnswerLike
from sage.lib.evaluate.judge import JudgeMetric, NoScore, numbered, verdicts_of
from sage.lib.evaluate.metric import Scores
from sage.lib.evaluate.support import Terms, coverage, make_terms, share_of, statements
from sage.lib.types import Answer, Evaluation, Retrieved

_TASK = (
    "Say for each sentence of the reference answer whether the passages say it. JSON: "
    '{"verdicts": [true, false]}, one verdict per sentence.'
)


class ContextRecallEvaluate(JudgeMetric):
    """Adds ``context_recall`` in ``[0, 1]``: share of the reference answer found in the passages.

    Without ``judge``, the share of its content words, of the best reference; with it, the share of
    the sentences of the first reference. ``None`` without references, or when the judge cannot
    answer; 0 without passages.
    Source: Es et al., RAGAs: Automated Evaluation of Retrieval Augmented Generation, 2024.

    Example:
        >>> retrieved.map(ContextRecallEvaluate)
    """

    metrics = ("context_recall",)
    needs = "passages"
    _terms: Terms

    def open_lexical(self) -> None:
        self._terms = make_terms(self.config.language)

    async def execute(self, item: AnswerLike | Retrieved) -> Evaluation:  # type: ignore[override]
        return await super().execute(item)  # type: ignore[arg-type]

    def score(self, answer: Answer) -> Scores:
        evidence = [d.text for d in answer.passages]
        found = [coverage(text, evidence, self._terms) for text in answer.query.answers]
        return {"context_recall": max((v for v in found if v is not None), default=None)}

    async def judge_score(self, answer: Answer) -> Scores:
        wanted = [each for text in answer.query.answers[:1] for each in statements(text)]
        if not wanted:
            return {"context_recall": None}
        if not answer.passages:
            return {"context_recall": 0.0}
        found = await self.ask(
            _TASK,
            question=answer.query.text,
            reference="\n".join(f"{n}. {each}" for n, each in enumerate(wanted, 1)),
            passages=numbered(answer.passages),
        )
        verdicts = verdicts_of(found)
        if len(verdicts) != len(wanted):
            raise NoScore(f"the judge gave {len(verdicts)} verdicts on {len(wanted)} sentences")
        return {"context_recall": share_of(verdicts)}
