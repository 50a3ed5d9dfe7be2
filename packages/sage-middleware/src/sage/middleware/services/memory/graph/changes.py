"""The part of the graph collection that changes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sage.middleware.services.memory.errors import (
    DuplicateIdError,
    RowNotFoundError,
)
from sage.middleware.services.memory.graph import writes
from sage.middleware.services.memory.graph.keys import NodeKey, check_key
from sage.middleware.services.memory.graph.vectors import NodeVectors
from sage.middleware.services.memory.graph.writes import EdgeRow, Links, NodeRow
from sage.middleware.services.memory.storage.database import Database

T = TypeVar("T")


class GraphChanges:
    """Adding, changing and removing nodes and edges. The mix-in needs what is annotated."""

    name: str
    _database: Database
    _vectors: NodeVectors | None

    def _node_text(self, key: NodeKey, properties: Mapping[str, Any]) -> str:
        raise NotImplementedError

    # ------------------------------------------------------------------ nodes

    def add_node(
        self,
        node: NodeKey,
        label: str = "",
        *,
        properties: Mapping[str, Any] | None = None,
        exist_ok: bool = True,
        **more: Any,
    ) -> None:
        """Adds a node; one that is there gets this label and these properties instead of its own.

        Args:
            node: Its id.
            label: What kind of thing it is, such as ``"person"``.
            properties: Values by name, as a key/value collection stores them.
            exist_ok: ``False`` to refuse a node that is there.
            more: Further properties.

        Raises:
            DuplicateIdError: It is there and ``exist_ok`` is ``False``.
            InvalidInputError: An id, label or property that cannot be stored.
        """
        row = writes.node_row((node, {**(properties or {}), **more}, label))
        self._write_nodes([row], exist_ok=exist_ok)

    def add_nodes(self, nodes: Iterable[Any], *, exist_ok: bool = True) -> int:
        """Adds many nodes, all or none.

        Args:
            nodes: Ids, ``(id, properties)``, ``(id, properties, label)`` or mappings with ``id``
                and perhaps ``label`` and ``properties``.
            exist_ok: See ``add_node``.

        Returns:
            How many there were.
        """
        rows = [writes.node_row(item) for item in nodes]
        self._write_nodes(rows, exist_ok=exist_ok)
        return len(rows)

    def upsert_node(
        self,
        node: NodeKey,
        label: str = "",
        *,
        properties: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Adds a node, or merges label (if given) and properties into the one that is there."""
        row = writes.node_row((node, {**(properties or {}), **more}, label))
        self._write_nodes([row], merge=True)

    def remove_node(self, node: NodeKey) -> bool:
        """Removes a node and its edges; returns whether it was there."""
        return self.remove_nodes([node]) == 1

    def remove_nodes(self, nodes: Iterable[NodeKey]) -> int:
        """Removes nodes and their edges, all at once; returns how many were there."""
        keys = [check_key(key) for key in nodes]

        def remove(connection: sqlite3.Connection, links: Links) -> int:
            count = 0
            for key in keys:
                number = writes.number_of(connection, key)
                if number is not None:
                    writes.remove_node(connection, number, links)
                    count += 1
            return count

        return self._logged(remove)

    # ------------------------------------------------------------------ edges

    def add_edge(
        self,
        source: NodeKey,
        target: NodeKey,
        type: str = "",  # noqa: A002  (what it is called)
        *,
        weight: float = 1.0,
        properties: Mapping[str, Any] | None = None,
        create_missing: bool = False,
        exist_ok: bool = True,
        **more: Any,
    ) -> None:
        """Adds an edge; one of that type that is there gets these weight and properties instead.

        Args:
            source: Where it begins.
            target: Where it ends.
            type: What it says, such as ``"knows"``.
            weight: At least 0; a length for paths, a strength for PageRank.
            properties: Values by name.
            create_missing: Add nodes that are missing, without properties.
            exist_ok: ``False`` to refuse an edge that is there.
            more: Further properties.

        Raises:
            RowNotFoundError: A node is missing.
            DuplicateIdError: The edge is there and ``exist_ok`` is ``False``.
            InvalidInputError: Something cannot be stored.
        """
        row = writes.edge_row((source, target, {**(properties or {}), **more}, type, weight))
        self._write_edges([row], create_missing=create_missing, exist_ok=exist_ok)

    def add_edges(
        self, edges: Iterable[Any], *, create_missing: bool = False, exist_ok: bool = True
    ) -> int:
        """Adds many edges, all or none.

        Args:
            edges: ``(source, target[, properties[, type[, weight]]])``, or mappings.
            create_missing: See ``add_edge``.
            exist_ok: See ``add_edge``.

        Returns:
            How many there were.
        """
        rows = [writes.edge_row(item) for item in edges]
        self._write_edges(rows, create_missing=create_missing, exist_ok=exist_ok)
        return len(rows)

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
        """Adds an edge (and its nodes), or sets weight and merges properties of the one there."""
        row = writes.edge_row((source, target, {**(properties or {}), **more}, type, weight))
        self._write_edges([row], create_missing=create_missing, merge=True)

    def remove_edge(
        self,
        source: NodeKey,
        target: NodeKey,
        type: str | None = None,  # noqa: A002
    ) -> int:
        """Removes the edge of a type, or of every type, between two nodes; returns how many."""
        ends = check_key(source), check_key(target)

        def remove(connection: sqlite3.Connection, links: Links) -> int:
            numbers = [writes.number_of(connection, key) for key in ends]
            if None in numbers:
                return 0
            if type is None:
                return writes.remove_edges(
                    connection, "source = ? AND target = ?", tuple(numbers), links
                )
            return writes.remove_edges(
                connection,
                "source = ? AND target = ? AND type = (SELECT id FROM edge_types WHERE name = ?)",
                (*numbers, type),
                links,
            )

        return self._logged(remove)

    # ------------------------------------------------------------------ inside

    def _logged(self, change: Callable[[sqlite3.Connection, Links], T]) -> T:
        def run(connection: sqlite3.Connection) -> T:
            links = Links()
            result = change(connection, links)
            links.write(connection)
            return result

        return self._database.run(run)

    def _write_nodes(
        self, rows: Sequence[NodeRow], *, merge: bool = False, exist_ok: bool = True
    ) -> None:
        if merge and self._vectors is not None:
            # The vector is of what the node will be, so what it is must be read first; the model
            # may take long, so not inside the transaction.
            rows = [self._merged(row) for row in rows]
        vectors = self._made_vectors(rows)

        def write(connection: sqlite3.Connection, links: Links) -> None:
            if len(rows) > writes.TOLD and not merge and exist_ok and self._vectors is None:
                writes.write_many_nodes(connection, rows, links)
                return
            for row, vector in zip(rows, vectors, strict=True):
                if not exist_ok and writes.number_of(connection, row.key) is not None:
                    raise DuplicateIdError(
                        f"collection {self.name!r} has a node {row.key!r} already", ids=(row.key,)
                    )
                number = writes.write_node(connection, row, links, merge=merge)
                if vector is not None:
                    NodeVectors.write(connection, number, vector)

        self._logged(write)

    def _merged(self, row: NodeRow) -> NodeRow:
        try:
            found = self.get_node(row.key)
        except RowNotFoundError:
            return row
        return NodeRow(
            key=row.key,
            label=row.label or found["label"],
            properties={**found["properties"], **row.properties},
        )

    def get_node(self, node: NodeKey) -> dict[str, Any]:
        """See ``GraphReads``."""
        raise NotImplementedError

    def _made_vectors(self, rows: Sequence[NodeRow]) -> Sequence[bytes | None]:
        if self._vectors is None:
            return [None] * len(rows)
        return self._vectors.made([self._node_text(row.key, row.properties) for row in rows])

    def _write_edges(
        self,
        rows: Sequence[EdgeRow],
        *,
        create_missing: bool,
        merge: bool = False,
        exist_ok: bool = True,
    ) -> None:
        def write(connection: sqlite3.Connection, links: Links) -> None:
            if not exist_ok:
                self._refuse_known(connection, rows)
            writes.write_edges(connection, rows, links, create_missing=create_missing, merge=merge)

        self._logged(write)

    def _refuse_known(self, connection: sqlite3.Connection, rows: Sequence[EdgeRow]) -> None:
        for row in rows:
            found = connection.execute(
                "SELECT 1 FROM edges e JOIN nodes s ON s.id = e.source JOIN nodes t "
                "ON t.id = e.target JOIN edge_types k ON k.id = e.type "
                "WHERE s.key = ? AND t.key = ? AND k.name = ?",
                (row.source, row.target, row.type),
            ).fetchone()
            if found is not None:
                raise DuplicateIdError(
                    f"collection {self.name!r} has the edge {row.source!r} → {row.target!r} of "
                    f"type {row.type!r} already",
                    ids=((row.source, row.target, row.type),),
                )

    def _write_both(self, nodes: Sequence[NodeRow], edges: Sequence[EdgeRow]) -> None:
        """Nodes and edges in one transaction."""
        vectors = self._made_vectors(nodes)

        def write(connection: sqlite3.Connection, links: Links) -> None:
            for row, vector in zip(nodes, vectors, strict=True):
                number = writes.write_node(connection, row, links)
                if vector is not None:
                    NodeVectors.write(connection, number, vector)
            writes.write_edges(connection, edges, links)

        self._logged(write)
