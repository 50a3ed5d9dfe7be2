"""Adding scores to an item without losing earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.lib.adapt import as_answer
from sage.lib.types import Answer, Evaluation, Retrieved


def with_score(item: Any, name: str, value: float | None) -> Evaluation:
    """The evaluation of ``item`` with one more score."""
    return with_scores(item, {name: value})


def with_scores(item: Any, scores: Mapping[str, float | None]) -> Evaluation:
    """The evaluation of ``item`` with more scores."""
    earlier = item.scores if isinstance(item, Evaluation) else {}
    return Evaluation(answer=answer_of(item), scores={**earlier, **scores})


def answer_of(item: Any) -> Answer:
    """The answer of an item; of passages without an answer, one with the empty text.

    Raises:
        ItemError: The item holds neither.
    """
    if isinstance(item, Retrieved):
        return Answer(text="", query=item.query, passages=item.passages)
    return as_answer(item)
