"""``FaithfulnessEvaluate``: whether the passages support what the answer says."""

from __future__ import annotations

from sage.lib.evaluate.judge import JudgeMetric, NoScore, numbered, verdicts_of
from sage.lib.evaluate.metric import Scores
from sage.lib.evaluate.support import Terms, make_terms, share_of, statements, supported
from sage.lib.types import Answer

_TASK = (
    "List each claim of the answer and say for each whether the passages support it. JSON: "
    '{"claims": ["..."], "verdicts": [true, false]}, one verdict per claim; both empty when the '
    "answer claims nothing."
)


class FaithfulnessEvaluate(JudgeMetric):
    """Adds ``faithfulness`` in ``[0, 1]``: share of the claims that the passages support.

    Without ``judge``, claims are the sentences of the answer and words decide, see ``support``.
    ``None`` when the answer claims nothing, there are no passages, or the judge cannot answer.
    Source: Es et al., RAGAs: Automated Evaluation of Retrieval Augmented Generation, 2024.

    Example:
        >>> stream.map(FaithfulnessEvaluate, {"judge": "gpt-4o-mini"}, concurrency=16)
    """

    metrics = ("faithfulness",)
    _terms: Terms

    def open_lexical(self) -> None:
        self._terms = make_terms(self.config.language)

    def score(self, answer: Answer) -> Scores:
        if not answer.passages:
            return {"faithfulness": None}
        # An extractive answer may be a phrase of a passage; the question's words are no claim.
        evidence = [d.text for d in answer.passages]
        verdicts = [supported(each, evidence, self._terms) for each in statements(answer.text)]
        return {"faithfulness": share_of(verdicts)}

    async def judge_score(self, answer: Answer) -> Scores:
        if not answer.passages or not answer.text.strip():
            return {"faithfulness": None}
        found = await self.ask(
            _TASK,
            question=answer.query.text,
            answer=answer.text,
            passages=numbered(answer.passages),
        )
        verdicts = verdicts_of(found)
        claims = found.get("claims")
        if isinstance(claims, list) and len(claims) != len(verdicts):
            raise NoScore(f"the judge gave {len(verdicts)} verdicts on {len(claims)} claims")
        return {"faithfulness": share_of(verdicts)}
