"""``LightReranker``: a local reranker without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.lib.adapt import as_retrieved
from sage.lib.contracts import RerankFunction, RetrievedLike
from sage.lib.rag.reranker.base import ordered, unit_scores
from sage.lib.types import Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


@attrs.frozen(kw_only=True)
class LightWeights:
    """Weights of the features of ``sage.lib.rag.reranker.lexical``; see ``LightReranker``."""

    match: float = 0.0
    coverage: float = 0.0
    phrase: float = 0.3
    proximity: float = 1.0


class LightReranker(RerankFunction):
    """Reorders by what the words say, together with the score the passages came with.

    Where a dense retriever sees topics, this sees whether the question's own words are there, how
    rare they are among the candidates, whether they stand side by side and close together. No
    model, no dependency, less than a millisecond per passage.

    The score is ``keep * s + (1 - keep) * f``: ``s`` is the score the passage came with, scaled to
    ``[0, 1]`` over the list, ``f`` the weighted mean of the features. Best with 20 to 100
    candidates. The defaults count only phrases and closeness, which BM25 does not see; they were
    set on Cranfield and English XQuAD together, where they add .007 and .011 to the nDCG@10 of
    dense search and move BM25 and hybrid search (``auto``) by less than .001; hybrid search with
    ``convex`` or ``rrf`` loses .002 on Cranfield. A lower ``keep`` gains more after dense search
    and loses after the others. ``benchmarks/rag/retrieval_quality.py`` measures
    it again.

    Example:
        >>> stream.map(DenseRetriever, {..., "top_k": 50}).map(LightReranker, {"top_k": 5})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            top_k: Most passages; default: all.
            keep: Weight of the score the passages came with, 0 to 1.
            weights: Of the features.
            language: ISO 639-1 code or English name, for stems and stop words; ``auto``: guessed
                from the passages of each question.
        """

        top_k: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
        )
        keep: float = attrs.field(
            default=0.8,
            validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1)),
        )
        weights: LightWeights = attrs.field(factory=LightWeights)
        language: str = "auto"

    def open(self, ctx: RuntimeContext) -> None:
        """Load stems and stop words.

        Raises:
            ConfigError: The language is not known.
        """
        from sage.lib.rag.terms import Terms  # noqa: PLC0415 - PyStemmer

        self._terms: Any = Terms(self.config.language)

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Rerank the passages of one question.

        Raises:
            ItemError: The item holds no question.
        """
        from sage.lib.rag.reranker.lexical import features_of  # noqa: PLC0415

        retrieved = as_retrieved(item)
        passages = retrieved.passages
        if not passages:
            return retrieved
        question, texts = self._terms.of(retrieved.query.text, [d.text for d in passages])
        w: LightWeights = self.config.weights
        total = w.match + w.coverage + w.phrase + w.proximity or 1.0
        keep = self.config.keep
        scores = [
            keep * before
            + (1 - keep)
            * (
                w.match * f.match
                + w.coverage * f.coverage
                + w.phrase * f.phrase
                + w.proximity * f.proximity
            )
            / total
            for before, f in zip(unit_scores(passages), features_of(question, texts), strict=True)
        ]
        return ordered(retrieved, scores, self.config.top_k)
