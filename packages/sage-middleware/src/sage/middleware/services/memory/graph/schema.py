"""The tables of a graph collection."""

from __future__ import annotations

from sage.middleware.services.memory.memory_collection.base_collection import SETTINGS_SCHEMA

MIGRATIONS = (
    SETTINGS_SCHEMA
    + """;
    CREATE TABLE nodes (
        id INTEGER PRIMARY KEY,
        key NOT NULL UNIQUE,
        label TEXT NOT NULL,
        properties BLOB NOT NULL
    );
    CREATE INDEX nodes_label ON nodes (label) WHERE label <> '';
    CREATE TABLE edge_types (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE edges (
        source INTEGER NOT NULL,
        target INTEGER NOT NULL,
        type INTEGER NOT NULL,
        weight REAL NOT NULL,
        properties BLOB NOT NULL,
        PRIMARY KEY (source, target, type)
    ) WITHOUT ROWID;
    CREATE INDEX edges_in ON edges (target, source, type);
    CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
    CREATE TABLE vector_changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL);
    CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL);
    CREATE TABLE links (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        change INTEGER NOT NULL,
        source INTEGER NOT NULL,
        target INTEGER NOT NULL,
        type INTEGER NOT NULL,
        weight REAL NOT NULL
    )
    """,
)
"""``key`` has no type, so that 1 and "1" are two nodes. ``links`` tells what happened to nodes and
edges since the last snapshot of the neighbours, ``changes`` which nodes did since that of the
words."""

NODE_ADDED, NODE_REMOVED, EDGE_ADDED, EDGE_REMOVED, EDGE_WEIGHED, ALL_CHANGED = range(6)
"""Values of ``links.change``; the last means that a batch was too large to be told one by one."""

LINK = "INSERT INTO links (change, source, target, type, weight) VALUES (?, ?, ?, ?, ?)"
