"""What a question says about relevant documents, and the ranking of an item's passages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sage.lib.errors import ItemError
from sage.lib.types import Document, Query

QRELS = "qrels"
"""Key of ``Query.metadata``: ``{document id: grade}``, or a list of ids of relevant documents."""


def grades_of(query: Query) -> dict[str, float]:
    """The judged documents of a question with their grades; empty when nobody judged.

    Raises:
        ItemError: ``metadata["qrels"]`` is neither a mapping nor a list of ids.
    """
    given = query.metadata.get(QRELS)
    if given is None:
        return {}
    if isinstance(given, Mapping):
        try:
            return {str(doc): float(grade) for doc, grade in given.items()}
        except (TypeError, ValueError) as exc:
            raise ItemError(f"question {query.id!r}: grades in qrels must be numbers") from exc
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        return {str(doc): 1.0 for doc in given}
    raise ItemError(
        f"question {query.id!r}: metadata['qrels'] must map document ids to grades or be "
        f"a list of ids, got {given!r}"
    )


def ranking_of(passages: Iterable[Document], grades: Mapping[str, float]) -> list[str]:
    """Ids of the documents found, best first, each once.

    Where documents were judged and passages cut from them were found, a passage stands for its
    document; a second passage of one document takes no place.
    """
    return list(
        dict.fromkeys(
            d.id if d.id in grades or d.parent_id is None else d.parent_id for d in passages
        )
    )
