"""The part of the graph collection that reads nodes and edges from the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sage.middleware.services.memory.errors import RowNotFoundError
from sage.middleware.services.memory.graph.keys import NodeKey, check_key
from sage.middleware.services.memory.kv.codec import decode
from sage.middleware.services.memory.storage.database import Database

_PAGE = 1000
_EDGE = (
    "SELECT s.key, t.key, k.name, e.weight, e.properties, e.source, e.target, e.type FROM edges e "
    "JOIN nodes s ON s.id = e.source JOIN nodes t ON t.id = e.target "
    "JOIN edge_types k ON k.id = e.type WHERE "
)


class GraphReads:
    """Looking nodes and edges up. The mix-in needs what is annotated."""

    name: str
    _database: Database

    def get_node(self, node: NodeKey) -> dict[str, Any]:
        """A node: ``{"id", "label", "properties"}``.

        Raises:
            RowNotFoundError: There is none of that id.
        """
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT label, properties FROM nodes WHERE key = ?", (check_key(node),)
            ).fetchone()
        if row is None:
            raise self._no_node(node)
        return {"id": node, "label": row[0], "properties": decode(row[1])}

    def has_node(self, node: NodeKey) -> bool:
        """Whether a node is there."""
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT 1 FROM nodes WHERE key = ?", (check_key(node),)
            ).fetchone()
        return found is not None

    def __contains__(self, node: object) -> bool:
        return isinstance(node, str | int) and self.has_node(node)

    def __len__(self) -> int:
        with self._database.read() as connection:
            count: int = connection.execute("SELECT COUNT(*) FROM nodes").fetchone()[0]
        return count

    def edge_count(self) -> int:
        """How many edges there are."""
        with self._database.read() as connection:
            count: int = connection.execute("SELECT COUNT(*) FROM edges").fetchone()[0]
        return count

    def get_edge(self, source: NodeKey, target: NodeKey, type: str = "") -> dict[str, Any]:  # noqa: A002
        """An edge: ``{"source", "target", "type", "weight", "properties"}``.

        Raises:
            RowNotFoundError: There is none.
        """
        values = (check_key(source), check_key(target), type)
        for edge in self._edges_where("s.key = ? AND t.key = ? AND k.name = ?", values):
            return edge
        raise RowNotFoundError(
            f"collection {self.name!r} has no edge {source!r} → {target!r} of type {type!r}",
            ids=((source, target, type),),
        )

    def has_edge(self, source: NodeKey, target: NodeKey, type: str | None = None) -> bool:  # noqa: A002
        """Whether there is an edge of a type, or of any, from one node to another."""
        where, values = "s.key = ? AND t.key = ?", [check_key(source), check_key(target)]
        if type is not None:
            where += " AND k.name = ?"
            values.append(type)
        return next(self._edges_where(where, tuple(values)), None) is not None

    def nodes(self, label: str | None = None) -> Iterator[dict[str, Any]]:
        """All nodes, or those of a label, in the order they were added.

        Read in pages while you iterate: changes made meanwhile may or may not be seen.
        """
        where, values = ("", ()) if label is None else (" AND label = ?", (label,))
        last = -1
        while True:
            with self._database.read() as connection:
                rows = connection.execute(
                    f"SELECT id, key, label, properties FROM nodes WHERE id > ?{where} "  # noqa: S608
                    "ORDER BY id LIMIT ?",
                    (last, *values, _PAGE),
                ).fetchall()
            for row in rows:
                yield {"id": row[1], "label": row[2], "properties": decode(row[3])}
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def edges(
        self,
        source: NodeKey | None = None,
        target: NodeKey | None = None,
        type: str | None = None,  # noqa: A002
    ) -> Iterator[dict[str, Any]]:
        """All edges, or those from a node, to a node, of a type.

        Read in pages while you iterate: changes made meanwhile may or may not be seen.
        """
        where, values = "1", []
        for condition, value in (("s.key", source), ("t.key", target)):
            if value is not None:
                where += f" AND {condition} = ?"
                values.append(check_key(value))
        if type is not None:
            where += " AND k.name = ?"
            values.append(type)
        return self._edges_where(where, tuple(values))

    def _edges_where(self, where: str, values: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
        """Edges that meet a condition of constant text."""
        last: tuple[int, int, int] = (-1, -1, -1)
        while True:
            with self._database.read() as connection:
                rows = connection.execute(
                    f"{_EDGE}{where} AND (e.source, e.target, e.type) > (?, ?, ?) "
                    "ORDER BY e.source, e.target, e.type LIMIT ?",
                    (*values, *last, _PAGE),
                ).fetchall()
            for row in rows:
                yield {
                    "source": row[0],
                    "target": row[1],
                    "type": row[2],
                    "weight": row[3],
                    "properties": decode(row[4]),
                }
            if len(rows) < _PAGE:
                return
            last = rows[-1][5:8]

    def _no_node(self, node: Any) -> RowNotFoundError:
        return RowNotFoundError(f"collection {self.name!r} has no node {node!r}", ids=(node,))
