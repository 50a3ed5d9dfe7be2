"""The tables of a key/value collection and the statements on them."""

from __future__ import annotations

from sage.middleware.services.memory.memory_collection.base_collection import SETTINGS_SCHEMA

MIGRATIONS = (
    SETTINGS_SCHEMA
    + """;
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        value BLOB NOT NULL,
        expires REAL
    );
    CREATE INDEX entries_expires ON entries (expires) WHERE expires IS NOT NULL;
    CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL)
    """,
)
"""``changes`` names the rows written since the last snapshot of the text index."""

PUT = (
    "INSERT INTO entries (key, value, expires) VALUES (?, ?, ?) ON CONFLICT (key) "
    "DO UPDATE SET value = excluded.value, expires = excluded.expires"
)
GET = "SELECT value, expires FROM entries WHERE key = ?"
DELETE = "DELETE FROM entries WHERE key = ?"
EXPIRED = "SELECT 1 FROM entries WHERE expires <= ? LIMIT 1"
DELETE_EXPIRED = "DELETE FROM entries WHERE expires <= ?"
