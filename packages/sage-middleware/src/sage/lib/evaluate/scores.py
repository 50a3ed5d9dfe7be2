"""Adding a score to an item without losing earlier ones."""

from __future__ import annotations

from typing import Any

from sage.lib.adapt import as_answer
from sage.lib.types import Evaluation


def with_score(item: Any, name: str, value: float | None) -> Evaluation:
    """The evaluation of ``item`` with one more score."""
    earlier = item.scores if isinstance(item, Evaluation) else {}
    return Evaluation(answer=as_answer(item), scores={**earlier, name: value})
