"""One search over several collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sage.middleware.services.memory.errors import InvalidInputError

MERGES = ("auto", "score", "rrf")
_RRF_K = 60
_THREADS = 8
Hit = dict[str, Any]


def search_collections(
    collections: Mapping[str, Any],
    query: str | None,
    topk: int,
    *,
    merge: str = "auto",
    weights: Mapping[str, float] | None = None,
    index_names: Mapping[str, str] | None = None,
    **options: Any,
) -> list[Hit]:
    """Ask every collection and merge the answers.

    Args:
        collections: Collections with ``retrieve``, by name: of texts, keys or nodes.
        query: Text, or ``None`` with ``query_vector`` among the options.
        topk: Rows wanted at most, over all collections.
        merge: ``score`` keeps the collections' scores, which must be comparable; ``rrf`` scores a
            row by its rank, ``weight / (60 + rank)``, which needs nothing; ``auto`` takes ``score``
            if all collections have the same metric and embedding model and the search is dense,
            else ``rrf``.
        weights: Factor of a collection's scores; 1 where none is given. With ``score`` weights
            only make sense for scores above 0.
        index_names: The index to search in a collection.
        options: As for ``retrieve``.

    Returns:
        Hits as from ``retrieve`` with ``collection``; ``score`` is the merged one,
        ``collection_score`` the collection's own. The same id in two collections is two rows.

    Raises:
        InvalidInputError: ``merge`` is not known, ``score`` was asked for where scores cannot be
            compared, a weight or index belongs to no collection, or an option is for ``VDB``
            collections only.
    """
    if merge not in MERGES:
        raise InvalidInputError(f"merge is {merge!r}; expected one of {', '.join(MERGES)}")
    if not collections:
        raise InvalidInputError("search takes the names of at least one collection")
    for given in (weights or {}, index_names or {}):
        unknown = sorted(set(given) - set(collections))
        if unknown:
            raise InvalidInputError(f"{unknown[0]!r} is not among the collections searched")
    for name, collection in collections.items():
        if collection.backend_type != "VDB" and options:
            raise InvalidInputError(
                f"collection {name!r} is of the type {collection.backend_type}, whose search takes "
                f"no {', '.join(map(repr, sorted(options)))}"
            )
    reason = _not_comparable(collections, options)
    if merge == "score" and reason:
        raise InvalidInputError(f"merge='score' cannot be used: {reason}; use merge='rrf'")
    indexes = index_names or {}
    by_rank = merge == "rrf" or (merge == "auto" and bool(reason))

    def ask(name: str) -> list[Hit]:
        index = {"index_name": indexes[name]} if name in indexes else {}
        hits: list[Hit] = collections[name].retrieve(query, topk=topk, **index, **options)
        weight = (weights or {}).get(name, 1.0)
        return [
            {
                **hit,
                "collection": name,
                "collection_score": hit["score"],
                "score": weight * (1 / (_RRF_K + rank) if by_rank else hit["score"]),
            }
            for rank, hit in enumerate(hits, 1)
        ]

    names = list(collections)
    if len(names) == 1:
        answers = [ask(names[0])]
    else:
        with ThreadPoolExecutor(min(_THREADS, len(names))) as pool:
            answers = list(pool.map(ask, names))
    merged = [hit for answer in answers for hit in answer]
    # Stable: equal scores stay in the order in which the collections were named.
    merged.sort(key=lambda hit: -hit["score"])
    return merged[:topk]


def _not_comparable(collections: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
    """Why scores of these collections cannot be compared, if so."""
    if options.get("mode") not in (None, "dense"):
        return f"scores of mode {options['mode']!r} depend on the collection"
    if any(c.backend_type != "VDB" for c in collections.values()):
        return "scores of KV and Graph collections depend on the collection"
    kinds = {(c.metric, c.embedding_fingerprint, c.dim) for c in collections.values()}
    if len(kinds) > 1:
        return "the collections have different metrics or embedding models"
    if next(iter(kinds))[2] is None:
        return "the collections are searched by words, whose scores depend on the collection"
    return None


def names_of(names: str | Sequence[str]) -> list[str]:
    """Collection names, each once."""
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))
