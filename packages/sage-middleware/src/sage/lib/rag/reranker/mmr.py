"""``MMRReranker``: passages that are good and unlike each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.lib.adapt import as_retrieved
from sage.lib.contracts import RerankFunction, RetrievedLike
from sage.lib.rag.reranker.base import unit_scores
from sage.lib.types import Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class MMRReranker(RerankFunction):
    """Picks passages one by one: relevant, and unlike those picked before.

    ``balance * relevance - (1 - balance) * greatest similarity to a picked one``, where relevance
    is the score the passage came with, scaled to ``[0, 1]`` over the list, and similarity a cosine:
    of word vectors (stems, weighted by how rare they are in the list) or, with ``embed``, of
    embeddings. Scores stay as they are, so the order is no longer that of the scores.

    Source: J. Carbonell, J. Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering
    Documents and Producing Summaries, SIGIR 1998.

    Example:
        >>> stream.map(MMRReranker, {"top_k": 5, "balance": 0.7})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            top_k: How many passages to pick; default: all, in the order they are picked.
            balance: Weight of relevance, 1 (only relevance) to 0 (only unlikeness).
            embed: ``text -> vector``, an ``EmbeddingModel`` or the name of one; default: words.
            language: Of the passages, for stems and stop words (ISO 639-1).
        """

        top_k: int | None = attrs.field(
            default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
        )
        balance: float = attrs.field(
            default=0.7,
            validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1)),
        )
        embed: Any = None
        language: str = "en"

    _embedding: Any = None

    def open(self, ctx: RuntimeContext) -> None:
        """Load the embedding model or the stems.

        Raises:
            ConfigError: ``embed`` or ``language`` is not known.
        """
        from sage.lib.rag.reranker.word_vectors import WordVectors  # noqa: PLC0415 - NumPy

        if self.config.embed is None:
            self._vectors: Any = WordVectors(self.config.language)
            return
        from sage.lib.rag.retriever.embedding import Embedding  # noqa: PLC0415 - NumPy

        self._embedding = Embedding(self.config.embed)
        self._vectors = self._embedding.documents

    def execute(self, item: RetrievedLike) -> Retrieved:
        """Pick the passages of one question.

        Raises:
            ItemError: The item holds no question.
        """
        import numpy as np  # noqa: PLC0415 - not before a job runs

        from sage.middleware.services.memory.vdb.diversity import diversify  # noqa: PLC0415

        retrieved = as_retrieved(item)
        passages = retrieved.passages
        if not passages:
            return retrieved
        places = diversify(
            np.asarray(unit_scores(passages), np.float32),
            np.asarray(self._vectors([d.text for d in passages]), np.float32),
            self.config.top_k or len(passages),
            self.config.balance,
        )
        return attrs.evolve(retrieved, passages=tuple(passages[int(n)] for n in places))

    def close(self) -> None:
        """Close the model if it was made here."""
        if self._embedding is not None:
            self._embedding.close()
            self._embedding = None
