"""How much each sentence says about the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sage.lib.rag.refiner.spans import Cut
from sage.lib.rag.reranker.lexical import features_of
from sage.lib.rag.retriever.embedding import Embedding
from sage.lib.rag.terms import Terms

Relevance = Callable[[str, Sequence[Cut], Sequence[str]], list[float]]
"""``(question, sentences, their texts) -> relevance of each``, 0 for none."""

NEIGHBOUR = 0.25
"""Share of a neighbour's relevance: an answer often stands beside the sentence that names it."""
RANK = 0.3
"""What the last passage loses against the first."""


def by_words(terms: Terms) -> Relevance:
    """Shared words, weighted by rarity among the sentences, and how many of them stand close."""

    def relevance(question: str, cuts: Sequence[Cut], texts: Sequence[str]) -> list[float]:
        asked, sentences = terms.of(question, texts)
        # b: long sentences cost their tokens already, so that length is held against them little.
        found = features_of(asked, sentences, b=0.3)
        return _in_place(cuts, [0.7 * f.match + 0.2 * f.coverage + 0.1 * f.phrase for f in found])

    return relevance


def by_vectors(embedding: Embedding) -> Relevance:
    """Cosine of the embeddings of sentence and question; below 0 counts as 0."""

    def relevance(question: str, cuts: Sequence[Cut], texts: Sequence[str]) -> list[float]:
        vectors = embedding.documents(texts)
        asked = embedding.query(question)
        norms = np.linalg.norm(vectors, axis=1) * float(np.linalg.norm(asked))
        cosines = (vectors @ asked) / np.maximum(norms, 1e-12)
        return _in_place(cuts, np.maximum(cosines, 0.0).astype(float).tolist())

    return relevance


def _in_place(cuts: Sequence[Cut], own: Sequence[float]) -> list[float]:
    last = max(1, cuts[-1].passage)
    out = []
    for n, cut in enumerate(cuts):
        beside = [
            own[m] for m in (n - 1, n + 1) if 0 <= m < len(cuts) and cuts[m].passage == cut.passage
        ]
        value = own[n] + NEIGHBOUR * max(beside, default=0.0)
        out.append(value * (1 - RANK * cut.passage / last))
    return out
