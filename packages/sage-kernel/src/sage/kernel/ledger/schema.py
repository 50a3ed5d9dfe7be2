"""Tables of the ledger."""

from __future__ import annotations

from typing import Final

FORMAT: Final = 3
PAGE_SIZE: Final = 4096
"""The rows are small (payloads stay in the journal), and whole pages are written."""

SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS runs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        mode TEXT NOT NULL,       -- record, fork; forgotten: only forks of it need it
        parent TEXT,              -- run a fork came from
        seed BLOB NOT NULL,       -- of ctx.random and ctx.uuid
        created REAL NOT NULL     -- unix seconds
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS steps (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL,
        uid TEXT NOT NULL,
        name TEXT NOT NULL,
        version TEXT NOT NULL,    -- code version
        UNIQUE (run, uid, version)
    )""",
    """CREATE TABLE IF NOT EXISTS payloads (
        digest BLOB PRIMARY KEY,
        at INTEGER NOT NULL,      -- offset in the journal
        size INTEGER NOT NULL     -- bytes
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS indexed (
        upto INTEGER NOT NULL,    -- offset in the journal: what is before it is in the tables
        mark BLOB NOT NULL,       -- what the frames of the journal begin with (MARK_SIZE bytes)
        journal INTEGER NOT NULL  -- how often it was written anew, which is part of its name
    )""",
    "INSERT INTO indexed SELECT 0, randomblob(8), 0 WHERE NOT EXISTS (SELECT 1 FROM indexed)",
    """CREATE TABLE IF NOT EXISTS calls (
        id INTEGER PRIMARY KEY,
        step INTEGER NOT NULL,
        record TEXT NOT NULL,
        request BLOB NOT NULL,    -- digest of what was asked
        ordinal INTEGER NOT NULL,
        input BLOB,               -- packed request
        output BLOB,              -- packed response
        kind TEXT NOT NULL,
        provider TEXT,
        model TEXT,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cached_tokens INTEGER,
        cost TEXT,                -- USD, decimal; NULL: unknown
        started REAL NOT NULL,    -- unix seconds
        latency REAL NOT NULL,    -- seconds
        retries INTEGER NOT NULL,
        error TEXT,               -- why it failed; NULL: it has a response
        source INTEGER,           -- the call whose response was taken: nothing was paid
        flags INTEGER NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS calls_by_record ON calls (step, record, request)",
    "CREATE INDEX IF NOT EXISTS calls_shared ON calls (request) WHERE flags & 4 <> 0",
    """CREATE TABLE IF NOT EXISTS outputs (
        step INTEGER NOT NULL,    -- the sink, or the step an item was lost in
        record TEXT NOT NULL,
        nth INTEGER NOT NULL,     -- of several outputs under one record id
        status TEXT NOT NULL,     -- ok, failed, dead_letter, skipped
        at REAL NOT NULL,         -- unix seconds
        facts BLOB,               -- packed
        PRIMARY KEY (step, record, nth)
    ) WITHOUT ROWID""",
)

INSERTS: Final = {
    "payloads": ("digest", "at", "size"),
    "calls": (
        "step",
        "record",
        "request",
        "ordinal",
        "input",
        "output",
        "kind",
        "provider",
        "model",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "cost",
        "started",
        "latency",
        "retries",
        "error",
        "source",
        "flags",
    ),
    "outputs": ("step", "record", "nth", "status", "at", "facts"),
}
"""Columns of what comes through the journal, per table."""

VERBS: Final = {
    "payloads": "INSERT OR REPLACE",  # the same content; a damaged copy is given up
    "calls": "INSERT",
    "outputs": "INSERT OR REPLACE",  # an item that is computed again has the last word
}
