"""What rules can ask about an item.

Predecessor: ``sage.lib.adapt``; successors: the routers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.lib.adapt import to_dict
from sage.lib.memory.keys import metadata_of
from sage.lib.types import Answer, Evaluation, Prompt, Retrieved


def facts_of(item: Any) -> dict[str, Any]:
    """Fields of an item by name.

    Its metadata; over them its own fields as the sinks write them (``question``, ``answer``,
    ``model`` …; those of a mapping as they are); and ``score`` (of the best passage), ``scores``
    of an evaluation by their names, ``passage_count``, and ``length`` (characters of the text).
    """
    plain = to_dict(item)
    facts: dict[str, Any] = dict(metadata_of(item))
    if isinstance(plain, Mapping):
        facts.update(plain)
    else:
        facts["value"] = plain
    text = item if isinstance(item, str) else facts.get("question") or facts.get("text")
    if isinstance(text, str):
        facts.setdefault("length", len(text))
    if isinstance(item, Evaluation):
        facts.update(item.scores)
        item = item.answer
    if isinstance(item, Retrieved | Prompt | Answer):
        facts["passage_count"] = len(item.passages)
        scores = [p.score for p in item.passages if p.score is not None]
        if scores:
            facts.setdefault("score", max(scores))
    return facts
