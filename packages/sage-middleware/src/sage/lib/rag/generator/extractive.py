"""``ExtractiveGenerator``: answers without a model, by quoting the passages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from sage.lib.adapt import as_retrieved
from sage.lib.contracts import GenerationFunction, PromptLike
from sage.lib.types import Answer, Citation, Document, Prompt

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.lib.rag.generator.reading.reader import Reader

MODEL = "extractive"


class ExtractiveGenerator(GenerationFunction):
    """Quotes the span (or sentences) of the passages that answers the question best.

    No language model: sentences are ranked by the words they share with the question, spans by
    rules about what kind of answer is asked for. Everything it says is in a passage, at the
    characters that ``Answer.citations`` gives; ``Answer.model`` is ``"extractive"``, so that nobody
    takes it for a model's answer. Usage is empty and the cost 0.

    Measured on SQuAD 2.0 (answerable questions over all paragraphs, top 5 by BM25, questions not
    used for fitting the weights): see ``reading.weights``.

    Example:
        >>> stream.map(DenseRetriever, {...}).map(ExtractiveGenerator, {"answer": "span"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            answer: ``span`` (a short answer) or ``sentence`` (whole sentences).
            sentences: How many sentences a ``sentence`` answer quotes, and how many a span is
                looked for in.
            language: Of the questions, for stems and stop words (ISO 639-1).
            no_answer: The answer when no passage shares a word with the question.
        """

        answer: str = attrs.field(
            default="span", validator=attrs.validators.in_(("span", "sentence"))
        )
        sentences: int | None = None
        language: str = "en"
        no_answer: str = "I do not know."

    _reader: Reader

    def open(self, ctx: RuntimeContext) -> None:
        """Load stems, stop words and weights."""
        from sage.lib.rag.generator.reading.reader import Reader  # noqa: PLC0415 - NumPy

        self._reader = Reader(self.config.language, self.config.sentences or 3)

    def execute(self, item: PromptLike) -> Answer:
        """Quote the answer.

        Raises:
            ItemError: The item holds no question.
        """
        started = time.perf_counter()
        retrieved = as_retrieved(item)
        passages = retrieved.passages
        graded = list(zip((d.text for d in passages), _shares(passages), strict=True))
        if self.config.answer == "span":
            text, citations = self._span(retrieved.query.text, graded, passages)
        else:
            text, citations = self._sentences(retrieved.query.text, graded, passages)
        return Answer(
            text=text or self.config.no_answer,
            query=retrieved.query,
            prompt=item if isinstance(item, Prompt) else None,
            passages=passages,
            model=MODEL,
            finish_reason="stop" if text else "no_answer",
            citations=citations,
            cost=0.0,
            latency=time.perf_counter() - started,
        )

    def _span(
        self, question: str, graded: list[tuple[str, float]], passages: tuple[Document, ...]
    ) -> tuple[str, tuple[Citation, ...]]:
        found = self._reader.read(question, graded)
        if found is None:
            return "", ()
        passage = passages[found.passage]
        citation = Citation(document_id=passage.id, start=found.start, end=found.end)
        return passage.text[found.start : found.end], (citation,)

    def _sentences(
        self, question: str, graded: list[tuple[str, float]], passages: tuple[Document, ...]
    ) -> tuple[str, tuple[Citation, ...]]:
        found = self._reader.best_sentences(question, graded)[: self.config.sentences or 1]
        citations = tuple(
            Citation(document_id=passages[index].id, start=start, end=end)
            for _, index, start, end in found
        )
        texts = [passages[index].text[start:end].strip() for _, index, start, end in found]
        return " ".join(texts), citations


def _shares(passages: tuple[Document, ...]) -> list[float]:
    """Each passage's part of the best score; by rank where there are no scores."""
    scores = [d.score for d in passages]
    known = [s for s in scores if s is not None]
    if len(known) < len(scores) or not known or max(known) <= 0:
        return [1.0 / (1 + rank) for rank in range(len(passages))]
    top = max(known)
    return [max(0.0, s / top) for s in known]
