"""Tables of a vector collection."""

from __future__ import annotations

from sage.middleware.services.memory.memory_collection.base_collection import SETTINGS_SCHEMA

ROWS_TABLE = """
    CREATE TABLE rows (
        slot INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        text TEXT NOT NULL,
        meta TEXT NOT NULL,
        ts REAL NOT NULL
    )
"""
MIGRATIONS = (
    # rows: the truth. dead: killed slots in order, so that other handles can follow.
    # state: one row; epoch counts compactions, seq counts commits,
    # callables the indexes made with a Python callable;
    # max_rows and max_age (seconds) bound the collection.
    ";".join(  # noqa: FLY002 - an f-string would read as statements built from input
        (
            SETTINGS_SCHEMA,
            """
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        next_slot INTEGER NOT NULL,
        dead_seq INTEGER NOT NULL,
        callables INTEGER NOT NULL,
        max_rows INTEGER,
        max_age REAL
    );
    INSERT INTO state VALUES (1, 1, 0, 0, 0, 0, NULL, NULL);
    """,
            ROWS_TABLE,
            """
    CREATE TABLE dead (seq INTEGER PRIMARY KEY, slot INTEGER NOT NULL);
    CREATE TABLE indexes (
        name TEXT PRIMARY KEY,
        callable INTEGER NOT NULL,
        spec TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE members (
        name TEXT NOT NULL,
        slot INTEGER NOT NULL,
        PRIMARY KEY (name, slot)
    ) WITHOUT ROWID
    """,
        )
    ),
)
