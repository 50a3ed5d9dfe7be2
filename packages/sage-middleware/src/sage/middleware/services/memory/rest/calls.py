"""Methods of ``KV`` and ``Graph`` collections that may be called over HTTP, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

import attrs

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.graph.subgraphs import Subgraph
from sage.middleware.services.memory.memory_collection.kv_collection import ABSENT

MOST = 10_000
"""Entries of one answer at most."""

ABSENT_MARK: Final = {"$absent": True}
"""Stands for ``ABSENT`` in arguments and results."""

_PAIRS: Final = "$pairs"

_KV = """
    put get delete compare_and_set ttl put_many get_many delete_many delete_prefix batch scan keys
    count purge_expired search retrieve forget
"""
_GRAPH = """
    add_node add_nodes upsert_node remove_node remove_nodes add_edge add_edges upsert_edge
    remove_edge get_node has_node get_edge has_edge nodes edges neighbors degree k_hop
    shortest_path pagerank search retrieve subgraph forget edge_count
"""
METHODS: Mapping[str, frozenset[str]] = {
    "KV": frozenset(_KV.split()),
    "Graph": frozenset(_GRAPH.split()),
}


def call(collection: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a method; iterators come back as lists.

    Raises:
        InvalidInputError: The method is not offered, takes other arguments, or gives more than
            ``MOST`` entries.
    """
    offered = METHODS.get(collection.backend_type, frozenset())
    function = getattr(collection, method, None) if method in offered else None
    if function is None:
        here = sorted(m for m in offered if hasattr(collection, m))
        raise InvalidInputError(
            f"a {collection.backend_type} collection has no method {method!r} here; it has "
            f"{', '.join(here) or 'none: its rows have routes of their own'}"
        )
    graph = collection.backend_type == "Graph"
    if method == "batch":
        function = partial(_apply_batch, collection)
    result: Any
    plain = [_given(value, graph) for value in args]
    try:
        result = function(*plain, **{key: _given(value, graph) for key, value in kwargs.items()})
        if isinstance(result, Iterator):
            result = list(islice(result, MOST + 1))
            if len(result) > MOST:
                raise InvalidInputError(
                    f"{method} gives more than {MOST:,} entries; ask for less, or export"
                )
    except TypeError as exc:
        raise InvalidInputError(f"{method}: {exc}") from exc
    if isinstance(result, Subgraph):
        return {**attrs.asdict(result, recurse=False), "entries": with_pairs(result.entries)}
    if graph and method == "pagerank":
        return with_pairs(result)
    return ABSENT_MARK if result is ABSENT else result


def _apply_batch(collection: Any, changes: Sequence[Any]) -> int:
    """Do ``["put", key, value, ttl]`` and ``["delete", key]``, all or none; how many there were."""
    with collection.batch() as batch:
        for change in changes:
            match change:
                case ["put", key, value, *ttl] if len(ttl) < 2:
                    batch.put(key, value, *ttl)
                case ["delete", key]:
                    batch.delete(key)
                case _:
                    raise InvalidInputError(
                        f"a change of a batch is {change!r}; expected ['put', key, value], "
                        "['put', key, value, ttl] or ['delete', key]"
                    )
        return len(batch)


def with_pairs(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """A mapping whose keys may be numbers, as JSON can hold it."""
    return {_PAIRS: [list(pair) for pair in mapping.items()]}


def pairs_of(value: Any) -> dict[Any, Any]:
    """The mapping that ``with_pairs`` was given.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        return dict(value[_PAIRS])
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidInputError(f"expected {{{_PAIRS!r}: [[key, value], …]}}: {exc}") from exc


def _given(value: Any, graph: bool) -> Any:
    if graph and isinstance(value, Mapping) and value.keys() == {_PAIRS}:
        return pairs_of(value)
    return ABSENT if value == ABSENT_MARK else value
