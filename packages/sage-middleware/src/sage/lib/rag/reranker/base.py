"""What the built-in rerankers share: how a new score replaces the old one."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from sage.lib.types import Document, Retrieved

RETRIEVAL_SCORE = "retrieval_score"
"""Metadata key that keeps the score a passage came with, once a reranker has replaced it."""


def rescored(document: Document, score: float) -> Document:
    """The passage with a new score; the first one it had stays in its metadata."""
    metadata = document.metadata
    if document.score is not None and RETRIEVAL_SCORE not in metadata:
        metadata = {**metadata, RETRIEVAL_SCORE: document.score}
    return attrs.evolve(document, score=float(score), metadata=metadata)


def ordered(retrieved: Retrieved, scores: Sequence[float], top_k: int | None) -> Retrieved:
    """The passages by descending score, equal ones in the order they came in."""
    passages = retrieved.passages
    places = sorted(range(len(passages)), key=lambda n: (-scores[n], n))[:top_k]
    return attrs.evolve(retrieved, passages=tuple(rescored(passages[n], scores[n]) for n in places))


def unit_scores(passages: Sequence[Document]) -> list[float]:
    """Scores scaled to ``[0, 1]`` over the list; by rank where a passage has none."""
    known = [d.score for d in passages if d.score is not None]
    if len(known) < len(passages):
        return [1.0 - rank / len(passages) for rank in range(len(passages))]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if not high > low:
        return [1.0] * len(known)
    return [(score - low) / (high - low) for score in known]
