"""What a question is about: entry nodes by text, then what surrounds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from sage.middleware.services.memory.graph.keys import NodeKey


@attrs.frozen(kw_only=True)
class Subgraph:
    """Part of a graph.

    Attributes:
        nodes: ``{"id", "label", "properties", "score"}``, best first.
        edges: ``{"source", "target", "type", "weight", "properties"}`` between these nodes.
        entries: Ids of the nodes that the text led to, with their scores, best first.
    """

    nodes: tuple[Mapping[str, Any], ...] = ()
    edges: tuple[Mapping[str, Any], ...] = ()
    entries: Mapping[NodeKey, float] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.nodes)


def seed_shares(entries: Mapping[int, float]) -> dict[int, float]:
    """Scores of entry nodes as shares that add up to 1."""
    positive = {node: max(score, 0.0) for node, score in entries.items()}
    total = sum(positive.values())
    if not total > 0:
        return {node: 1 / len(entries) for node in entries}
    return {node: score / total for node, score in positive.items() if score > 0}
