"""The part of the graph collection that walks: neighbours, hops, paths, PageRank."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from sage.middleware.services.memory.errors import InvalidInputError, RowNotFoundError
from sage.middleware.services.memory.graph import pagerank, traversal
from sage.middleware.services.memory.graph.adjacency import Adjacency
from sage.middleware.services.memory.graph.adjacency_cache import AdjacencyCache
from sage.middleware.services.memory.graph.keys import (
    Direction,
    NodeKey,
    Types,
    check_direction,
    check_key,
    check_weight,
)
from sage.middleware.services.memory.storage.database import Database

_TURNED: Mapping[Direction, Direction] = {"out": "in", "in": "out", "both": "both"}


class GraphWalks:
    """Everything that runs on the adjacency. The mix-in needs what is annotated."""

    name: str
    _database: Database
    _cache: AdjacencyCache

    def _no_node(self, node: Any) -> RowNotFoundError:
        raise NotImplementedError

    def neighbors(
        self,
        node: NodeKey,
        direction: Direction = "out",
        type: Types = None,  # noqa: A002
    ) -> list[NodeKey]:
        """Nodes one edge away, each once.

        Args:
            node: From where.
            direction: ``"out"`` along edges, ``"in"`` against them, ``"both"``.
            type: Only edges of this type, or of these.

        Raises:
            RowNotFoundError: There is no such node.
        """
        with self._cache.lock:
            adjacency = self._cache.current()
            row = traversal.neighbours(adjacency, check_direction(direction), self._types(type))
            keys = adjacency.keys
            found = row(self._number(adjacency, node))
            return [keys[other] for other in dict.fromkeys(found)]  # type: ignore[misc]

    def degree(
        self,
        node: NodeKey,
        direction: Direction = "both",
        type: Types = None,  # noqa: A002
    ) -> int:
        """How many edges a node has; one from the node to itself counts twice with ``"both"``."""
        with self._cache.lock:
            adjacency = self._cache.current()
            row = traversal.neighbours(adjacency, check_direction(direction), self._types(type))
            return len(row(self._number(adjacency, node)))

    def k_hop(
        self,
        node: NodeKey,
        k: int = 2,
        direction: Direction = "out",
        type: Types = None,  # noqa: A002
        limit: int | None = None,
    ) -> list[NodeKey]:
        """Nodes at most ``k`` edges away, nearest first, without the node itself.

        Args:
            node: From where.
            k: At least 1.
            direction: See ``neighbors``.
            type: See ``neighbors``.
            limit: Stop at so many nodes.

        Raises:
            RowNotFoundError: There is no such node.
        """
        if k < 1:
            raise InvalidInputError(f"k must be at least 1, got {k!r}")
        with self._cache.lock:
            adjacency = self._cache.current()
            start = self._number(adjacency, node)
            if direction == "out" and type is None:
                row = adjacency.out.others.__getitem__
            else:
                row = traversal.neighbours(adjacency, check_direction(direction), self._types(type))
            found = traversal.k_hop(row, start, k, limit)
            return list(map(adjacency.keys.__getitem__, found))  # type: ignore[arg-type]

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
        """The path with the fewest edges, or with the least sum of weights.

        Args:
            source: First node of the path.
            target: Last node.
            direction: Whether edges are followed as they are, against, or both ways.
            type: Only edges of this type, or of these.
            weighted: Least sum of weights.
            max_hops: No longer path than this; not together with ``weighted``.

        Returns:
            Ids from ``source`` to ``target``, or ``None`` when there is no path.

        Raises:
            RowNotFoundError: One of the nodes is not there.
        """
        check_direction(direction)
        if weighted and max_hops is not None:
            raise InvalidInputError("max_hops limits edges; it cannot be used with weighted=True")
        with self._cache.lock:
            adjacency = self._cache.current()
            types = self._types(type)
            start, goal = self._number(adjacency, source), self._number(adjacency, target)
            if weighted:
                found = traversal.lightest_path(
                    traversal.weighted(adjacency, direction, types),
                    traversal.weighted(adjacency, _TURNED[direction], types),
                    start,
                    goal,
                )
                path = None if found is None else found[0]
            else:
                path = traversal.shortest_path(
                    traversal.neighbours(adjacency, direction, types),
                    traversal.neighbours(adjacency, _TURNED[direction], types),
                    start,
                    goal,
                    max_hops,
                )
            if path is None:
                return None
            return list(map(adjacency.keys.__getitem__, path))  # type: ignore[arg-type]

    def pagerank(
        self,
        seed: NodeKey | Mapping[NodeKey, float] | None = None,
        *,
        damping: float = 0.85,
        eps: float = 3e-5,
        exact: bool = False,
        direction: Direction = "out",
        type: Types = None,  # noqa: A002
        weighted: bool = False,
        topk: int | None = None,
    ) -> dict[NodeKey, float]:
        """How much nodes matter, seen from some of them.

        Args:
            seed: A node, or nodes with shares (scaled to add up to 1); ``None`` for every node
                alike, which is always exact.
            damping: Probability of following an edge rather than starting again at the seeds.
            eps: Mass below this per edge is not handed on. Scores are never too high; what they
                lack together grows with ``eps``. Ignored with ``exact``.
            exact: Power iteration over the whole graph: all nodes, errors below 1e-9, slow.
            direction: See ``neighbors``.
            type: See ``neighbors``.
            weighted: Follow edges in proportion to their weights.
            topk: Only so many of the best.

        Returns:
            Scores by node, best first; nodes that no mass reached are left out.

        Raises:
            RowNotFoundError: A seed is not there.
            InvalidInputError: A parameter is out of range.
        """
        if not 0 <= damping < 1:
            raise InvalidInputError(f"damping must be from 0 to below 1, got {damping!r}")
        if not 0 < eps < 1:
            raise InvalidInputError(f"eps must be between 0 and 1, got {eps!r}")
        check_direction(direction)
        with self._cache.lock:
            adjacency = self._cache.current()
            types = self._types(type)
            shares = None if seed is None else self._shares(adjacency, seed)
            if exact or shares is None:
                row = traversal.weighted(adjacency, direction, types)
                if not weighted:
                    plain = traversal.neighbours(adjacency, direction, types)
                    row = lambda node: [(other, 1.0) for other in plain(node)]  # noqa: E731
                scores = pagerank.iterate(adjacency, row, shares, damping)
            else:
                scores, _ = pagerank.push(
                    traversal.neighbours(adjacency, direction, types),
                    shares,
                    damping,
                    eps,
                    traversal.weighted(adjacency, direction, types) if weighted else None,
                )
            best = sorted(scores.items(), key=itemgetter(1), reverse=True)[:topk]
            keys = adjacency.keys
            return {keys[node]: score for node, score in best if score > 0}  # type: ignore[misc]

    # ------------------------------------------------------------------ inside

    def _spread(
        self, seeds: Mapping[int, float], damping: float, eps: float, weighted: bool
    ) -> dict[int, float]:
        """Scores by node number of a walk both ways from seeds."""
        with self._cache.lock:
            adjacency = self._cache.current()
            known = {n: share for n, share in seeds.items() if n < len(adjacency.keys)}
            scores, _ = pagerank.push(
                traversal.neighbours(adjacency, "both", None),
                known,
                damping,
                eps,
                traversal.weighted(adjacency, "both", None) if weighted else None,
            )
            return scores

    def _number(self, adjacency: Adjacency, node: NodeKey) -> int:
        try:
            return adjacency.numbers[node]
        except (KeyError, TypeError):
            check_key(node)
            raise self._no_node(node) from None

    def _shares(
        self, adjacency: Adjacency, seed: NodeKey | Mapping[NodeKey, float]
    ) -> dict[int, float]:
        if not isinstance(seed, Mapping):
            return {self._number(adjacency, seed): 1.0}
        shares = {self._number(adjacency, node): check_weight(x) for node, x in seed.items()}
        total = sum(shares.values())
        if not total > 0:
            raise InvalidInputError(f"the shares of the seeds must add up to more than 0: {seed!r}")
        return {node: share / total for node, share in shares.items() if share > 0}

    def _types(self, types: Types) -> frozenset[int] | None:
        """Numbers of edge types; those that no edge ever had are left out."""
        if types is None:
            return None
        names = [types] if isinstance(types, str) else list(types)
        with self._database.read() as connection:
            known = dict(connection.execute("SELECT name, id FROM edge_types").fetchall())
        return frozenset(known[name] for name in names if name in known)
