"""``GraphRetriever``: what a question is about, and what surrounds it in a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_query
from sage.lib.contracts import QueryLike, RetrievalFunction
from sage.lib.rag.retriever.base import combined_filter
from sage.lib.rag.retriever.collection import CollectionHandle, open_handle
from sage.lib.types import Document, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

_FAR = 10_000
"""How many nodes a walk may bring when a filter still has to choose among them."""


class GraphRetriever(RetrievalFunction):
    """Enters a graph by text and returns the nodes that matter around there.

    Entry nodes are found by words, vectors or both. ``pagerank`` then walks from them along edges
    of any direction, in proportion to their scores, and takes the nodes it meets most; ``hops``
    takes everything at most ``hops`` edges away, each step worth ``decay`` of the one before, and
    can be told edge types and direction; ``none`` gives the entry nodes.

    A passage is a node: its text (a str id, then the strings of its properties), its properties
    and ``label`` as metadata, and in ``metadata["edges"]`` its edges to other passages of the
    result, as ``{"source", "target", "type", "weight"}``. The collection must be reachable in this
    process.

    Source: personalised PageRank as in B. Gutiérrez et al., HippoRAG, NeurIPS 2024.

    Example:
        >>> stream.map(GraphRetriever, {"collection_name": "entities", "top_k": 10})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            collection_name: A ``Graph`` collection of the memory service or of ``data_dir``.
            data_dir: As for the other retrievers.
            top_k: Most nodes.
            entry: How to enter: ``text`` (BM25), ``vector``, ``hybrid``, or ``auto`` for all that
                the collection was set up for.
            entry_k: How many entry nodes.
            expand: ``pagerank``, ``hops`` or ``none``.
            damping: For ``pagerank``: the probability of another step, 0 to 1.
            weighted: For ``pagerank``: follow edges in proportion to their weights.
            hops: For ``hops``: how many edges away.
            decay: For ``hops``: what a step keeps of the score, 0 to 1.
            direction: For ``hops``: ``out``, ``in`` or ``both``.
            edge_types: For ``hops``: only edges of these types.
            where: Filter over label and properties; the walk crosses other nodes too.
            where_key: As for the other retrievers.
            similarity_threshold: Least score.
            edges: Put the edges among the result into the metadata.
        """

        collection_name: str
        data_dir: str | None = None
        top_k: int = attrs.field(default=10, validator=attrs.validators.ge(1))
        entry: str = attrs.field(
            default="auto", validator=attrs.validators.in_(("auto", "text", "vector", "hybrid"))
        )
        entry_k: int = attrs.field(default=5, validator=attrs.validators.ge(1))
        expand: str = attrs.field(
            default="pagerank", validator=attrs.validators.in_(("pagerank", "hops", "none"))
        )
        damping: float = attrs.field(
            default=0.5,
            validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.lt(1)),
        )
        weighted: bool = True
        hops: int = attrs.field(default=1, validator=attrs.validators.ge(1))
        decay: float = attrs.field(
            default=0.5,
            validator=attrs.validators.and_(attrs.validators.gt(0), attrs.validators.le(1)),
        )
        direction: str = attrs.field(
            default="both", validator=attrs.validators.in_(("out", "in", "both"))
        )
        edge_types: list[str] | None = None
        where: dict[str, Any] | None = None
        where_key: str | None = "where"
        similarity_threshold: float | None = None
        edges: bool = True

    _handle: CollectionHandle | None = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        if self.config.edge_types is not None and self.config.expand != "hops":
            raise ConfigError(
                f"edge_types need expand 'hops', got {self.config.expand!r}: a pagerank walk "
                "follows every edge"
            )

    def open(self, ctx: RuntimeContext) -> None:
        """Open the collection.

        Raises:
            ConfigError: It does not exist, or is no graph.
        """
        settings = self.config
        self._handle = open_handle(ctx, settings.collection_name, settings.data_dir)
        self._graph = self._handle.collection()
        if not hasattr(self._graph, "subgraph"):
            kind = self._handle.facts.get("backend_type", type(self._graph).__name__)
            self.close()
            raise ConfigError(
                f"the collection {settings.collection_name!r} is of type {kind!r}; GraphRetriever "
                "needs one made with backend_type='Graph'"
            )
        indexes = self._graph.list_indexes()
        self._fields = list(indexes[0].get("fields", [""])) if indexes else [""]

    def execute(self, item: QueryLike) -> Retrieved:
        """Find the nodes for one question.

        Raises:
            ItemError: The item holds no question.
            IndexNotFoundError: The collection has no index to enter by.
        """
        assert self._handle is not None, "open() comes first"
        settings = self.config
        query = as_query(item)
        where = combined_filter(settings.where, query, settings.where_key)
        nodes = self._nodes(query.text, settings.top_k if where is None else _FAR)
        if where is not None:
            nodes = _matching(nodes, where)
        least = settings.similarity_threshold
        best = [n for n in nodes if least is None or n["score"] >= least][: settings.top_k]
        chosen = {node["id"] for node in best}
        passages = tuple(self._passage(node, chosen) for node in best)
        return Retrieved(query=query, passages=passages)

    def close(self) -> None:
        """Close what was opened."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _nodes(self, text: str, limit: int) -> list[Mapping[str, Any]]:
        settings = self.config
        if settings.expand == "pagerank":
            found = self._graph.subgraph(
                text,
                topk=settings.entry_k,
                max_nodes=limit,
                entry=settings.entry,
                damping=settings.damping,
                weighted=settings.weighted,
            )
            return list(found.nodes)
        entries = self._graph.search(text, settings.entry_k, settings.entry)
        return entries if settings.expand == "none" else self._surrounded(entries)

    def _surrounded(self, entries: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        settings = self.config
        scores: dict[Any, float] = {}
        for entry in entries:
            frontier, seen = [entry["id"]], {entry["id"]}
            worth = float(entry["score"])
            for _ in range(settings.hops + 1):
                for node in frontier:
                    scores[node] = max(scores.get(node, worth), worth)
                reached = [
                    other
                    for node in frontier
                    for other in self._graph.neighbors(
                        node, settings.direction, settings.edge_types
                    )
                ]
                frontier = [n for n in dict.fromkeys(reached) if n not in seen]
                seen.update(frontier)
                worth *= settings.decay
        known = {entry["id"]: entry for entry in entries}
        best = sorted(scores, key=lambda node: -scores[node])
        return [
            {**(known.get(node) or self._graph.get_node(node)), "score": scores[node]}
            for node in best
        ]

    def _passage(self, node: Mapping[str, Any], chosen: set[Any]) -> Document:
        from sage.middleware.services.memory.kv.text_index import (  # noqa: PLC0415 - NumPy
            text_of,
        )

        key, properties = node["id"], node["properties"]
        words = text_of(properties, self._fields)
        metadata = {"label": node["label"], **properties}
        if self.config.edges:
            metadata["edges"] = self._edges(key, chosen)
        return Document(
            id=str(key),
            text=f"{key}\n{words}".strip() if isinstance(key, str) else words,
            metadata=metadata,
            score=float(node["score"]),
        )

    def _edges(self, key: Any, chosen: set[Any]) -> list[dict[str, Any]]:
        return [
            {name: edge[name] for name in ("source", "target", "type", "weight")}
            for side in ("source", "target")
            for edge in self._graph.edges(**{side: key})
            # An edge to itself is found from both sides.
            if edge["source"] in chosen
            and edge["target"] in chosen
            and not (side == "target" and edge["source"] == key)
        ]


def _matching(nodes: list[Mapping[str, Any]], where: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    from sage.middleware.services.memory.vdb.filters import matches, parse  # noqa: PLC0415 - NumPy

    tree = parse(where)
    return [n for n in nodes if matches(tree, {"label": n["label"], **n["properties"]})]
