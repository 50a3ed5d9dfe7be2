"""Changes of nodes and edges, in the tables and in the log that the adjacency follows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from sage.middleware.services.memory.errors import InvalidInputError, RowNotFoundError
from sage.middleware.services.memory.graph.keys import NodeKey, check_key, check_weight
from sage.middleware.services.memory.graph.schema import (
    ALL_CHANGED,
    EDGE_ADDED,
    EDGE_REMOVED,
    EDGE_WEIGHED,
    LINK,
    NODE_ADDED,
    NODE_REMOVED,
)
from sage.middleware.services.memory.kv.codec import decode, encode

TOLD = 5000
"""Larger batches are not told one by one: reading all edges again is faster then."""


@attrs.frozen(kw_only=True)
class NodeRow:
    """A node to write."""

    key: NodeKey
    label: str = ""
    properties: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class EdgeRow:
    """An edge to write."""

    source: NodeKey
    target: NodeKey
    type: str = ""
    weight: float = 1.0
    properties: Mapping[str, Any] = attrs.field(factory=dict)


def node_row(item: Any) -> NodeRow:
    """A node from a key, ``(key, properties)``, ``(key, properties, label)`` or a mapping.

    Raises:
        InvalidInputError: None of these.
    """
    if isinstance(item, NodeRow):
        row = item
    elif isinstance(item, tuple | list) and 1 <= len(item) <= 3:
        given: list[Any] = [*item, None, None]
        row = NodeRow(key=given[0], label=given[2] or "", properties=given[1] or {})
    elif isinstance(item, Mapping) and "id" in item:
        unknown = set(item) - {"id", "label", "properties"}
        if unknown:
            raise InvalidInputError(f"a node has id, label and properties, not {unknown.pop()!r}")
        row = NodeRow(
            key=item["id"],
            label=item.get("label") or "",
            properties=item.get("properties") or {},
        )
    else:
        row = NodeRow(key=item)
    check_key(row.key)
    _check(row.label, row.properties, "label")
    return row


def edge_row(item: Any) -> EdgeRow:
    """An edge from ``(source, target[, properties[, type[, weight]]])`` or a mapping.

    Raises:
        InvalidInputError: None of these.
    """
    if isinstance(item, EdgeRow):
        row = item
    elif isinstance(item, tuple | list) and 2 <= len(item) <= 5:
        parts: list[Any] = [*item, *(None, None, 1.0)[len(item) - 2 :]]
        row = EdgeRow(
            source=parts[0],
            target=parts[1],
            properties=parts[2] or {},
            type=parts[3] or "",
            weight=parts[4],
        )
    elif isinstance(item, Mapping) and "source" in item and "target" in item:
        unknown = set(item) - {"source", "target", "type", "weight", "properties"}
        if unknown:
            raise InvalidInputError(
                f"an edge has source, target, type, weight and properties, not {unknown.pop()!r}"
            )
        row = EdgeRow(
            source=item["source"],
            target=item["target"],
            type=item.get("type") or "",
            weight=item.get("weight", 1.0),
            properties=item.get("properties") or {},
        )
    else:
        raise InvalidInputError(
            f"an edge must be (source, target[, properties[, type[, weight]]]), got {item!r}"
        )
    check_key(row.source)
    check_key(row.target)
    check_weight(row.weight)
    _check(row.type, row.properties, "type")
    return row


def _check(name: Any, properties: Any, what: str) -> None:
    if not isinstance(name, str):
        raise InvalidInputError(f"the {what} must be a str, got {name!r}")
    # dict before Mapping: the check of an abstract class costs more than the rest of the row.
    is_mapping = isinstance(properties, dict) or isinstance(properties, Mapping)  # noqa: SIM101
    if not is_mapping or not all(isinstance(k, str) for k in properties):
        raise InvalidInputError(f"properties must be a mapping with str keys, got {properties!r}")


class Links:
    """Collects what to tell the adjacencies; written at the end of the transaction."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, float]] = []
        self._all = False

    def tell(
        self, change: int, source: int, target: int = 0, kind: int = 0, weight: float = 0.0
    ) -> None:
        """Adds one change."""
        self._rows.append((change, source, target, kind, weight))

    def tell_all(self) -> None:
        """Says that too much changed to be told."""
        self._all = True

    def write(self, connection: sqlite3.Connection) -> None:
        """Writes the log."""
        rows = self._rows
        if self._all or len(rows) > TOLD:
            rows = [(ALL_CHANGED, 0, 0, 0, 0.0)]
        connection.executemany(LINK, rows)


def number_of(connection: sqlite3.Connection, key: NodeKey) -> int | None:
    """Number of a node, ``None`` when there is none of that key."""
    row = connection.execute("SELECT id FROM nodes WHERE key = ?", (key,)).fetchone()
    return None if row is None else int(row[0])


def type_number(connection: sqlite3.Connection, name: str, known: dict[str, int]) -> int:
    """Number of an edge type, new if need be."""
    if name not in known:
        row = connection.execute("SELECT id FROM edge_types WHERE name = ?", (name,)).fetchone()
        if row is None:
            cursor = connection.execute("INSERT INTO edge_types (name) VALUES (?)", (name,))
            known[name] = int(cursor.lastrowid or 0)
        else:
            known[name] = int(row[0])
    return known[name]


def write_node(
    connection: sqlite3.Connection, row: NodeRow, links: Links, *, merge: bool = False
) -> int:
    """Inserts or replaces a node; ``merge`` keeps properties that ``row`` does not name."""
    found = connection.execute(
        "SELECT id, label, properties FROM nodes WHERE key = ?", (row.key,)
    ).fetchone()
    if found is None:
        cursor = connection.execute(
            "INSERT INTO nodes (key, label, properties) VALUES (?, ?, ?)",
            (row.key, row.label, encode(dict(row.properties))),
        )
        number = int(cursor.lastrowid or 0)
        links.tell(NODE_ADDED, number)
        return number
    number, label, properties = int(found[0]), row.label, dict(row.properties)
    if merge:
        label, properties = row.label or found[1], {**decode(found[2]), **properties}
    connection.execute(
        "UPDATE nodes SET label = ?, properties = ? WHERE id = ?",
        (label, encode(properties), number),
    )
    return number


def write_many_nodes(connection: sqlite3.Connection, rows: Sequence[NodeRow], links: Links) -> None:
    """Inserts or replaces many nodes with one statement."""
    connection.executemany(
        "INSERT INTO nodes (key, label, properties) VALUES (?, ?, ?) ON CONFLICT (key) "
        "DO UPDATE SET label = excluded.label, properties = excluded.properties",
        [(row.key, row.label, encode(row.properties)) for row in rows],
    )
    links.tell_all()


def write_edges(
    connection: sqlite3.Connection,
    rows: Sequence[EdgeRow],
    links: Links,
    *,
    create_missing: bool = False,
    merge: bool = False,
) -> int:
    """Inserts or replaces edges; returns how many rows there were.

    Raises:
        RowNotFoundError: A node is missing and ``create_missing`` is not set.
    """
    many = len(rows) > TOLD
    numbers: dict[NodeKey, int] = {}
    if many:
        numbers.update(connection.execute("SELECT key, id FROM nodes"))
    types: dict[str, int] = {}

    def number(key: NodeKey, row: EdgeRow) -> int:
        found = numbers.get(key)
        if found is None:
            found = number_of(connection, key)
            if found is None:
                if not create_missing:
                    raise RowNotFoundError(
                        f"the edge {row.source!r} → {row.target!r} needs the node {key!r}, which "
                        "is not there; add it first or pass create_missing=True",
                        ids=(key,),
                    )
                found = write_node(connection, NodeRow(key=key), links)
            numbers[key] = found
        return found

    done = 0
    # In the order of the table, so that pages fill one after another; a later duplicate still wins,
    # as the sort is stable.
    prepared = [
        (
            number(row.source, row),
            number(row.target, row),
            type_number(connection, row.type, types),
            float(row.weight),
            row.properties,
        )
        for row in rows
    ]
    prepared.sort(key=lambda edge: edge[:3])
    if many and not merge:
        connection.executemany(
            "INSERT INTO edges VALUES (?, ?, ?, ?, ?) ON CONFLICT (source, target, type) "
            "DO UPDATE SET weight = excluded.weight, properties = excluded.properties",
            [(*edge[:4], encode(edge[4])) for edge in prepared],
        )
        links.tell_all()
        return len(prepared)
    for source, target, kind, weight, given in prepared:
        done += 1
        properties = given
        cursor = connection.execute(
            "INSERT OR IGNORE INTO edges VALUES (?, ?, ?, ?, ?)",
            (source, target, kind, weight, encode(properties)),
        )
        if cursor.rowcount:
            links.tell(EDGE_ADDED, source, target, kind, weight)
            continue
        place = (source, target, kind)
        was = connection.execute(
            "SELECT weight, properties FROM edges WHERE source = ? AND target = ? AND type = ?",
            place,
        ).fetchone()
        if merge:
            properties = {**decode(was[1]), **properties}
        connection.execute(
            "UPDATE edges SET weight = ?, properties = ? "
            "WHERE source = ? AND target = ? AND type = ?",
            (weight, encode(properties), *place),
        )
        if was[0] != weight:
            links.tell(EDGE_WEIGHED, *place, weight)
    return done


def remove_edges(
    connection: sqlite3.Connection, where: str, values: tuple[Any, ...], links: Links
) -> int:
    """Removes edges that meet a condition of constant text; returns how many."""
    rows = connection.execute(
        f"SELECT source, target, type FROM edges WHERE {where}",  # noqa: S608
        values,
    ).fetchall()
    connection.execute(f"DELETE FROM edges WHERE {where}", values)  # noqa: S608
    for row in rows:
        links.tell(EDGE_REMOVED, *row)
    return len(rows)


def remove_node(connection: sqlite3.Connection, number: int, links: Links) -> None:
    """Removes a node and its edges."""
    remove_edges(connection, "source = ?", (number,), links)
    remove_edges(connection, "target = ?", (number,), links)
    connection.execute("DELETE FROM nodes WHERE id = ?", (number,))
    if connection.execute("DELETE FROM vectors WHERE id = ?", (number,)).rowcount:
        connection.execute("INSERT INTO vector_changes (id) VALUES (?)", (number,))
    links.tell(NODE_REMOVED, number)
