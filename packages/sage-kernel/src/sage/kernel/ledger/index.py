"""The tables of a ledger's database, made from its journal.

The database says up to where the journal is in its tables, and takes over what comes after in one
transaction; several processes may do that at any time. So a commit costs an append to the journal,
and some thousand calls share a transaction.

Predecessor: ``sage.kernel.ledger.journal``; successor: ``sage.kernel.ledger.store``.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Final

from sage.kernel.ledger.journal import Journal, Row
from sage.kernel.ledger.schema import INSERTS, VERBS

MOST_ROWS: Final = 64
"""Most rows per INSERT statement: each step of a statement gives up the interpreter lock."""
TOGETHER: Final = 4096
"""Rows of the journal that are held in memory before they go into their tables."""


def upto(connection: sqlite3.Connection) -> int:
    """Offset in the journal up to which it is in the tables."""
    return int(connection.execute("SELECT upto FROM indexed").fetchone()[0])


def open_journal(database: Path, connection: sqlite3.Connection) -> Journal:
    """The journal of a database, shared with others who have it open.

    Raises:
        OSError: It cannot be opened.
    """
    mark = bytes(connection.execute("SELECT mark FROM indexed").fetchone()[0])
    while True:
        journal = Journal(current_path(database, connection), mark)
        journal.share()
        if journal.path == current_path(database, connection):
            return journal
        journal.close()  # it was written anew meanwhile


def current_path(database: Path, connection: sqlite3.Connection) -> Path:
    """Where the journal of a database is."""
    generation = connection.execute("SELECT journal FROM indexed").fetchone()[0]
    return journal_path(database, generation)


def journal_path(database: Path, generation: int) -> Path:
    """Where a journal is that was written anew so often."""
    return database.with_suffix(f".{generation}.journal" if generation else ".journal")


def take_over(connection: sqlite3.Connection, journal: Journal) -> None:
    """Put what is new in the journal into the tables.

    Raises:
        sqlite3.Error: The database cannot be written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        start = end = upto(connection)
        tables: dict[str, list[Row]] = {table: [] for table in INSERTS}
        for frame in journal.frames(start):
            for table, rows in frame.rows.items():
                tables[table] += rows
            tables["payloads"] += frame.places
            end = frame.end
            if sum(map(len, tables.values())) > TOGETHER:
                _insert(connection, tables)
        _insert(connection, tables)
        if end != start:
            connection.execute("UPDATE indexed SET upto = ?", (end,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def replace(connection: sqlite3.Connection, new: Journal, generation: int) -> None:
    """Go over to a new journal, of which payloads are needed only."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM payloads")
    for frame in new.frames(0):
        _insert(connection, {"payloads": list(frame.places)})
    connection.execute("UPDATE indexed SET upto = ?, journal = ?", (new.size, generation))
    connection.execute("COMMIT")


def cut(connection: sqlite3.Connection, journal: Journal) -> bool:
    """Go on at the end of a journal that has become shorter than it was; whether it has."""
    if upto(connection) <= journal.size:  # read in this order: both only grow
        return False
    connection.execute("BEGIN IMMEDIATE")  # from now on nobody else takes over what comes
    try:
        size = journal.size
        short = size < upto(connection)
        if short:
            connection.execute("UPDATE indexed SET upto = ?", (size,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return short


def _insert(connection: sqlite3.Connection, tables: dict[str, list[Row]]) -> None:
    tables["payloads"].sort(key=itemgetter(0))  # neighbours share a page
    for table, rows in tables.items():
        for start in range(0, len(rows), MOST_ROWS):
            part = rows[start : start + MOST_ROWS]
            connection.execute(_statement(table, len(part)), list(chain.from_iterable(part)))
        rows.clear()


@lru_cache(maxsize=256)
def _statement(table: str, count: int) -> str:
    columns = INSERTS[table]
    marks = f"({','.join('?' * len(columns))})"
    return f"{VERBS[table]} INTO {table} ({','.join(columns)}) VALUES {','.join([marks] * count)}"
