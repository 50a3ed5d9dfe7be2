"""``CitationFaithfulnessEvaluate``: whether what an answer cites supports what it says."""

from __future__ import annotations

import re

from sage.lib.evaluate.judge import JudgeMetric, NoScore, verdicts_of
from sage.lib.evaluate.metric import Scores
from sage.lib.evaluate.support import Terms, make_terms, share_of, statements, supported
from sage.lib.types import Answer

_MARK = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_TASK = (
    "Each numbered statement is followed by the texts it cites. Say for each statement whether "
    'these texts support it. JSON: {"verdicts": [true, false]}, one verdict per statement.'
)


class CitationFaithfulnessEvaluate(JudgeMetric):
    """Adds ``citation_faithfulness`` and ``citation_validity``, both in ``[0, 1]``.

    Faithfulness: share of the answer's sentences that the text they cite supports; a sentence
    without a citation is not supported. Validity: share of the citations that point to an existing
    place. An answer cites by spans (``Answer.citations``, which stand for the whole answer) or by
    marks such as ``[2]`` for the second passage. ``None`` when it cites nothing.

    Example:
        >>> stream.map(CitationFaithfulnessEvaluate)
    """

    metrics = ("citation_faithfulness", "citation_validity")
    _terms: Terms

    def open_lexical(self) -> None:
        self._terms = make_terms(self.config.language)

    def score(self, answer: Answer) -> Scores:
        cited, validity = citations_of(answer)
        if validity is None:
            return dict.fromkeys(self.metrics)
        verdicts = [supported(text, evidence, self._terms) for text, evidence in cited]
        return {"citation_faithfulness": share_of(verdicts), "citation_validity": validity}

    async def judge_score(self, answer: Answer) -> Scores:
        cited, validity = citations_of(answer)
        if validity is None or not cited:
            return {"citation_faithfulness": None, "citation_validity": validity}
        shown = [
            f"{n}. {text}\ncites: " + (" | ".join(evidence) or "nothing")
            for n, (text, evidence) in enumerate(cited, 1)
        ]
        verdicts = verdicts_of(await self.ask(_TASK, statements="\n\n".join(shown)))
        if len(verdicts) != len(cited):
            raise NoScore(f"the judge gave {len(verdicts)} verdicts on {len(cited)} statements")
        return {"citation_faithfulness": share_of(verdicts), "citation_validity": validity}


def citations_of(answer: Answer) -> tuple[list[tuple[str, list[str]]], float | None]:
    """Each sentence with the texts it cites, and the share of valid citations.

    The share is ``None`` when nothing is cited.
    """
    texts = {d.id: d.text for d in answer.passages}
    spans: list[str] = []
    for citation in answer.citations:
        text = texts.get(citation.document_id, "")
        if 0 <= citation.start < citation.end <= len(text):
            spans.append(text[citation.start : citation.end])
    valid, total = len(spans), len(answer.citations)
    cited: list[tuple[str, list[str]]] = []
    for sentence in statements(_marks_before_dots(answer.text)):
        evidence = list(spans)
        for mark in _MARK.findall(sentence):
            for number in mark.split(","):
                total += 1
                if 1 <= int(number) <= len(answer.passages):
                    valid += 1
                    evidence.append(answer.passages[int(number) - 1].text)
        bare = _MARK.sub("", sentence).strip()
        if any(letter.isalnum() for letter in bare):
            cited.append((bare, evidence))
    return cited, valid / total if total else None


def _marks_before_dots(text: str) -> str:
    """``It is so. [1] Next`` cites for the sentence before the mark."""
    return re.sub(r"([.!?])((?:\s*\[\d[\d,\s]*\])+)", r"\2\1", text)
