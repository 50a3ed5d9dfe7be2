"""Takes runs out of a ledger: their rows at once, their texts when the journal is written anew.

Predecessor: ``sage.kernel.ledger.store``; successors: ``sage.kernel.jobmanager.manager`` and the
command line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sage.common.paths import sync_folder
from sage.kernel.ledger import index
from sage.kernel.ledger.errors import LedgerError, PayloadError
from sage.kernel.ledger.journal import Journal
from sage.kernel.ledger.payloads import digest_of, references
from sage.kernel.ledger.store import connect

WASTE: Final = 0.2
"""Share of a journal that nobody needs from which on it is written anew."""
TOGETHER: Final = 2**20
"""Bytes of payloads that are written at a time."""

_PACKED: Final = (
    "SELECT input FROM calls UNION ALL SELECT output FROM calls UNION ALL SELECT facts FROM outputs"
)


def forget(path: Path, runs: Iterable[str]) -> list[str]:
    """Remove what runs that have ended did: their calls, and what became of their items.

    A run that another one was forked from stays until that is forgotten, too.

    Args:
        path: The database of the ledger.
        runs: Ids; those that it does not know do not matter.

    Returns:
        Ids of the runs that were removed, earlier ones that had to stay among them.

    Raises:
        LedgerError: The ledger cannot be read or written.
    """
    if not path.exists():
        return []
    with _opened(path) as (tables, journal):
        index.take_over(tables, journal)
        tables.execute("BEGIN IMMEDIATE")
        rows = tables.execute("SELECT id, mode, parent FROM runs").fetchall()
        parents = {run: parent for run, _, parent in rows}
        unwanted = set(runs) | {run for run, mode, _ in rows if mode == "forgotten"}
        needed: set[str] = set()
        for run in parents.keys() - unwanted:
            ancestor = parents[run]
            while ancestor is not None and ancestor not in needed:
                needed.add(ancestor)
                ancestor = parents.get(ancestor)
        removed = sorted((unwanted - needed) & parents.keys())
        steps = "(SELECT id FROM steps WHERE run = ?)"
        for run in removed:
            tables.execute(f"DELETE FROM calls WHERE step IN {steps}", (run,))  # noqa: S608
            tables.execute(f"DELETE FROM outputs WHERE step IN {steps}", (run,))  # noqa: S608
            tables.execute("DELETE FROM steps WHERE run = ?", (run,))
            tables.execute("DELETE FROM runs WHERE id = ?", (run,))
        for run in unwanted & needed:
            tables.execute("UPDATE runs SET mode = 'forgotten' WHERE id = ?", (run,))
        tables.execute("COMMIT")
    return removed


def compact(path: Path, *, waste: float = WASTE) -> int:
    """Write the journal anew without the texts that no run needs any more.

    Args:
        path: The database of the ledger.
        waste: Share of the journal that must be needless, else nothing is done.

    Returns:
        Bytes that were freed; 0 as well when somebody has the ledger open.

    Raises:
        LedgerError: The ledger cannot be read or written.
    """
    if not path.exists():
        return 0
    with _opened(path) as (tables, journal):
        if not journal.own() or journal.path != index.current_path(path, tables):
            return 0
        index.take_over(tables, journal)
        size = journal.size
        needed = _needed(tables, journal)
        if sum(length for _, length in needed.values()) > (1 - waste) * size:
            return 0
        new, generation = _written(path, tables, journal, needed)
        try:
            index.replace(tables, new, generation)
            freed = size - new.size
        finally:
            new.close()
        journal.path.unlink(missing_ok=True)
        with suppress(sqlite3.OperationalError):  # somebody reads: the pages are used again later
            tables.execute("VACUUM")
    return freed


@contextmanager
def _opened(path: Path) -> Iterator[tuple[sqlite3.Connection, Journal]]:
    try:
        tables = connect(path)
        try:
            tables.execute("PRAGMA synchronous = FULL")
            journal = index.open_journal(path, tables)
            try:
                yield tables, journal
            finally:
                journal.close()
        finally:
            tables.close()  # rolls back what was begun
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"runs of the ledger {str(path)!r} cannot be removed: {error}") from error


def _needed(tables: sqlite3.Connection, journal: Journal) -> dict[bytes, tuple[int, int]]:
    """Offset and bytes of the payloads that a call or an output refers to, by digest."""
    needed: dict[bytes, tuple[int, int]] = {}

    def fetch(digest: bytes) -> bytes:
        found = tables.execute("SELECT at, size FROM payloads WHERE digest = ?", (digest,))
        place = found.fetchone()
        data = b"" if place is None else journal.read(*place)
        if digest_of(data) != digest:
            raise PayloadError(digest.hex())
        needed[digest] = place
        return data

    for (packed,) in tables.execute(_PACKED):
        if packed is not None:
            with suppress(PayloadError):  # what is damaged is of no use, and is not kept
                references(packed, fetch)
    return needed


def _written(
    path: Path,
    tables: sqlite3.Connection,
    journal: Journal,
    needed: dict[bytes, tuple[int, int]],
) -> tuple[Journal, int]:
    """A new journal with these payloads, and the number in its name."""
    mark, generation = tables.execute("SELECT mark, journal FROM indexed").fetchone()
    for left in path.parent.glob(f"{path.stem}.*journal"):  # of an attempt that was interrupted
        if left != journal.path:
            left.unlink()
    new = Journal(index.journal_path(path, generation + 1), mark)
    batch: list[tuple[bytes, bytes]] = []
    room = TOGETHER
    for digest, place in sorted(needed.items(), key=lambda item: item[1]):
        batch.append((digest, journal.read(*place)))
        room -= place[1]
        if room <= 0:
            new.append({}, batch)
            batch, room = [], TOGETHER
    if batch:
        new.append({}, batch)
    new.sync()
    new.share()
    sync_folder(path.parent)
    return new, generation + 1
