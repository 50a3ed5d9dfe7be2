"""Nodes and edges as lines of JSON, to move them between collections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sage.common.paths import replacing
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.graph.writes import EdgeRow, NodeRow, edge_row, node_row


def write_lines(
    path: Path, nodes: Iterable[Mapping[str, Any]], edges: Iterable[Mapping[str, Any]]
) -> int:
    """Writes ``{"node": {...}}`` and ``{"edge": {...}}`` lines; returns how many.

    Properties that JSON has no form for become text: bytes base64, dates ISO 8601.
    """
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        for name, items in (("node", nodes), ("edge", edges)):
            for item in items:
                file.write(msgspec.json.encode({name: item}) + b"\n")
                count += 1
    return count


def read_lines(path: Path) -> tuple[list[NodeRow], list[EdgeRow]]:
    """Nodes and edges of such a file.

    Raises:
        InvalidInputError: A line is neither; says which.
    """
    nodes: list[NodeRow] = []
    edges: list[EdgeRow] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                item = msgspec.json.decode(line)
                if "node" in item:
                    nodes.append(node_row(item["node"]))
                else:
                    edges.append(edge_row(item["edge"]))
            except (msgspec.MsgspecError, KeyError, TypeError, InvalidInputError) as exc:
                raise InvalidInputError(
                    f"line {number} of {str(path)!r} is neither a node nor an edge ({exc})"
                ) from exc
    return nodes, edges
