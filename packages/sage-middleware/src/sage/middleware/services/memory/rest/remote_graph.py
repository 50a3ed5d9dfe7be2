"""``RemoteGraphCollection``: a ``Graph`` collection of a memory server, used like a local one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from sage.middleware.services.memory.graph.keys import Direction, NodeKey, Types
from sage.middleware.services.memory.graph.subgraphs import Subgraph
from sage.middleware.services.memory.rest.calls import pairs_of, with_pairs
from sage.middleware.services.memory.rest.remote_calls import RemoteCalls

Entry = dict[str, Any]


class RemoteGraphCollection(RemoteCalls):
    """A ``Graph`` collection of a server; methods, results and errors are those of the local one.

    Properties are JSON: no bytes, no dates. An answer has at most ``calls.MOST`` entries: edges of
    one node beyond that are an error; ``nodes()`` and ``edges()`` of the whole graph are streamed.
    """

    # -- changing --------------------------------------------------------------------------------

    def add_node(
        self,
        node: NodeKey,
        label: str = "",
        *,
        properties: Mapping[str, Any] | None = None,
        exist_ok: bool = True,
        **more: Any,
    ) -> None:
        """Add a node, or replace its label and properties."""
        self._call("add_node", node, label, properties=properties, exist_ok=exist_ok, **more)

    def add_nodes(self, nodes: Iterable[Any], *, exist_ok: bool = True) -> int:
        """Add many nodes, all or none; how many there were."""
        return int(self._call("add_nodes", list(nodes), exist_ok=exist_ok))

    def upsert_node(
        self,
        node: NodeKey,
        label: str = "",
        *,
        properties: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Add a node, or add to its properties."""
        self._call("upsert_node", node, label, properties=properties, **more)

    def remove_node(self, node: NodeKey) -> bool:
        """Remove a node and its edges; whether it was there."""
        return bool(self._call("remove_node", node))

    def remove_nodes(self, nodes: Iterable[NodeKey]) -> int:
        """Remove nodes and their edges; how many were there."""
        return int(self._call("remove_nodes", list(nodes)))

    def add_edge(
        self,
        source: NodeKey,
        target: NodeKey,
        type: str = "",  # noqa: A002 - the word of the collections
        *,
        weight: float = 1.0,
        properties: Mapping[str, Any] | None = None,
        create_missing: bool = False,
        exist_ok: bool = True,
        **more: Any,
    ) -> None:
        """Add an edge, or replace its weight and properties."""
        settings = {"create_missing": create_missing, "exist_ok": exist_ok}
        self._call(
            "add_edge", source, target, type, weight=weight, properties=properties, **settings,
            **more,
        )  # fmt: skip

    def add_edges(
        self, edges: Iterable[Any], *, create_missing: bool = False, exist_ok: bool = True
    ) -> int:
        """Add many edges, all or none; how many there were."""
        settings = {"create_missing": create_missing, "exist_ok": exist_ok}
        return int(self._call("add_edges", list(edges), **settings))

    def upsert_edge(
        self,
        source: NodeKey,
        target: NodeKey,
        type: str = "",  # noqa: A002
        *,
        weight: float = 1.0,
        properties: Mapping[str, Any] | None = None,
        create_missing: bool = True,
        **more: Any,
    ) -> None:
        """Add an edge, or set its weight and add to its properties."""
        settings = {"weight": weight, "create_missing": create_missing}
        self._call("upsert_edge", source, target, type, properties=properties, **settings, **more)

    def remove_edge(
        self,
        source: NodeKey,
        target: NodeKey,
        type: str | None = None,  # noqa: A002
    ) -> int:
        """Remove the edge of a type, or all edges, between two nodes; how many there were."""
        return int(self._call("remove_edge", source, target, type))

    def forget(self, ids: Iterable[NodeKey]) -> int:
        """Remove nodes and their edges so that no file of the server holds anything of them."""
        return int(self._call("forget", list(ids)))

    # -- reading ---------------------------------------------------------------------------------

    def get_node(self, node: NodeKey) -> Entry:
        """A node: ``{"id", "label", "properties"}``."""
        found: Entry = self._call("get_node", node)
        return found

    def has_node(self, node: NodeKey) -> bool:
        """Whether there is a node of that id."""
        return bool(self._call("has_node", node))

    def __contains__(self, node: object) -> bool:
        return isinstance(node, str | int) and self.has_node(node)

    def get_edge(
        self,
        source: NodeKey,
        target: NodeKey,
        type: str = "",  # noqa: A002
    ) -> Entry:
        """An edge: ``{"source", "target", "type", "weight", "properties"}``."""
        found: Entry = self._call("get_edge", source, target, type)
        return found

    def has_edge(
        self,
        source: NodeKey,
        target: NodeKey,
        type: str | None = None,  # noqa: A002
    ) -> bool:
        """Whether there is an edge of that type, or any, from one node to another."""
        return bool(self._call("has_edge", source, target, type))

    def edge_count(self) -> int:
        """How many edges there are."""
        return int(self._call("edge_count"))

    def nodes(self, label: str | None = None) -> Iterator[Entry]:
        """All nodes, or those of a label."""
        for node in self._exported("node"):
            if label is None or node["label"] == label:
                yield node

    def edges(
        self,
        source: NodeKey | None = None,
        target: NodeKey | None = None,
        type: str | None = None,  # noqa: A002
    ) -> Iterator[Entry]:
        """All edges, or those from a node, to a node, of a type."""
        if source is not None or target is not None:
            yield from self._call("edges", source, target, type)
            return
        for edge in self._exported("edge"):
            if type is None or edge["type"] == type:
                yield edge

    # -- walks -----------------------------------------------------------------------------------

    def neighbors(
        self,
        node: NodeKey,
        direction: Direction = "out",
        type: Types = None,  # noqa: A002
    ) -> list[NodeKey]:
        """Nodes one edge away, each once."""
        found: list[NodeKey] = self._call("neighbors", node, direction, _types(type))
        return found

    def degree(
        self,
        node: NodeKey,
        direction: Direction = "both",
        type: Types = None,  # noqa: A002
    ) -> int:
        """How many edges a node has."""
        return int(self._call("degree", node, direction, _types(type)))

    def k_hop(
        self,
        node: NodeKey,
        k: int = 2,
        direction: Direction = "out",
        type: Types = None,  # noqa: A002
        limit: int | None = None,
    ) -> list[NodeKey]:
        """Nodes at most ``k`` edges away, nearest first, without the node itself."""
        found: list[NodeKey] = self._call("k_hop", node, k, direction, _types(type), limit)
        return found

    def shortest_path(
        self,
        source: NodeKey,
        target: NodeKey,
        *,
        direction: Direction = "out",
        type: Types = None,  # noqa: A002
        weighted: bool = False,
        max_hops: int | None = None,
    ) -> list[NodeKey] | None:
        """The path with the fewest edges, or with the least sum of weights; ``None`` if none."""
        path: list[NodeKey] | None = self._call(
            "shortest_path", source, target, direction=direction, type=_types(type),
            weighted=weighted, max_hops=max_hops,
        )  # fmt: skip
        return path

    def pagerank(
        self,
        seed: NodeKey | Mapping[NodeKey, float] | None = None,
        *,
        topk: int | None = None,
        type: Types = None,  # noqa: A002
        **options: Any,
    ) -> dict[NodeKey, float]:
        """How much nodes matter, seen from some of them; ``options`` as for the local one."""
        shares = with_pairs(seed) if isinstance(seed, Mapping) else seed
        found = self._call("pagerank", shares, topk=topk, type=_types(type), **options)
        scores: dict[NodeKey, float] = pairs_of(found)
        return scores

    # -- found by text ---------------------------------------------------------------------------

    def create_index(
        self, name: str = "text", *, fields: Sequence[str] = ("",), **options: Any
    ) -> None:
        """Make the full-text index over properties of the nodes."""
        body = {"name": name, "options": {"fields": list(fields), **options}}
        self._ask("POST", "indexes", body=body)

    def search(self, query: str, topk: int = 10, entry: str = "auto") -> list[Entry]:
        """Nodes whose text fits a query."""
        found: list[Entry] = self._call("search", query, topk, entry)
        return found

    def retrieve(
        self, query: str, topk: int = 10, index_name: str = "auto", **options: Any
    ) -> list[Entry]:
        """Nodes of ``subgraph`` as other collections give rows."""
        found: list[Entry] = self._call("retrieve", query, topk, index_name, **options)
        return found

    def subgraph(self, query: str, **options: Any) -> Subgraph:
        """What a question is about; ``options`` as for the local one."""
        found = self._call("subgraph", query, **options)
        return Subgraph(
            nodes=tuple(found["nodes"]),
            edges=tuple(found["edges"]),
            entries=pairs_of(found["entries"]),
        )

    # -- inside ----------------------------------------------------------------------------------

    def _exported(self, kind: str) -> Iterator[Entry]:
        for line in self._transport.stream("GET", ("collections", self.name, "export")):
            item = orjson.loads(line)
            if kind in item:
                yield item[kind]


def _types(types: Types) -> str | list[str] | None:
    return types if types is None or isinstance(types, str) else list(types)
