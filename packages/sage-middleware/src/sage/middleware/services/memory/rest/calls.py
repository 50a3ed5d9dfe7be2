"""Methods of ``KV`` and ``Graph`` collections that may be called over HTTP, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.memory_collection.kv_collection import ABSENT

MOST = 10_000
"""Entries of one answer at most."""

ABSENT_MARK: Final = {"$absent": True}
"""Stands for ``ABSENT`` in arguments and results."""

_KV = """
    put get delete compare_and_set ttl put_many get_many delete_many delete_prefix scan keys count
    purge_expired search retrieve forget
"""
_GRAPH = """
    add_node add_nodes upsert_node remove_node remove_nodes add_edge add_edges upsert_edge
    remove_edge get_node has_node get_edge has_edge nodes edges neighbors degree k_hop
    shortest_path pagerank search retrieve subgraph forget
"""
METHODS: Mapping[str, frozenset[str]] = {
    "KV": frozenset(_KV.split()),
    "Graph": frozenset(_GRAPH.split()),
}


def call(collection: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a method; iterators come back as lists of at most ``MOST`` entries.

    Raises:
        InvalidInputError: The method is not offered, or takes other arguments.
    """
    offered = METHODS.get(collection.backend_type, frozenset())
    function = getattr(collection, method, None) if method in offered else None
    if function is None:
        here = sorted(m for m in offered if hasattr(collection, m))
        raise InvalidInputError(
            f"a {collection.backend_type} collection has no method {method!r} here; it has "
            f"{', '.join(here) or 'none: its rows have routes of their own'}"
        )
    plain = [_sentinel(value) for value in args]
    try:
        result = function(*plain, **{key: _sentinel(value) for key, value in kwargs.items()})
        if isinstance(result, Iterator):
            result = list(islice(result, MOST))
    except TypeError as exc:
        raise InvalidInputError(f"{method}: {exc}") from exc
    return ABSENT_MARK if result is ABSENT else result


def _sentinel(value: Any) -> Any:
    return ABSENT if value == ABSENT_MARK else value
