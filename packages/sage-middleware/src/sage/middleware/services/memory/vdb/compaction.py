"""Giving the living rows new slots without gaps, in new files, in one transaction."""

from __future__ import annotations

import os

import numpy as np

from sage.middleware.services.memory.storage.vector_file import VectorFile
from sage.middleware.services.memory.vdb.schema import ROWS_TABLE
from sage.middleware.services.memory.vdb.store import Change, RowStore

_BLOCK_ROWS = 16_384


def compact(store: RowStore, change: Change, dim: int | None) -> None:
    """Renumber the rows; the vectors go to the next generation's file.

    A crash before the commit leaves a file that nothing names: the next compaction writes over it.
    """
    c = change.connection
    commit = change.commit
    slots = np.array(
        [slot for (slot,) in c.execute("SELECT slot FROM rows ORDER BY slot")], np.int64
    )
    epoch = commit.epoch + 1
    if dim is not None:
        _copy_vectors(store, change, dim, slots, epoch)
    c.execute(
        "CREATE TEMP TABLE renumbered AS "
        "SELECT slot AS old, row_number() OVER (ORDER BY slot) - 1 AS new FROM rows"
    )
    c.execute("ALTER TABLE rows RENAME TO old_rows")
    c.execute(ROWS_TABLE)
    c.execute(
        "INSERT INTO rows SELECT row_number() OVER (ORDER BY slot) - 1, id, text, meta, ts "
        "FROM old_rows ORDER BY slot"
    )
    c.execute("DROP TABLE old_rows")
    c.execute("CREATE TEMP TABLE old_members AS SELECT name, slot FROM members")
    c.execute("DELETE FROM members")
    c.execute("INSERT INTO members SELECT name, new FROM old_members JOIN renumbered ON old = slot")
    c.execute("DROP TABLE old_members")
    c.execute("DROP TABLE renumbered")
    c.execute("DELETE FROM dead")
    commit.epoch = epoch
    commit.start = len(slots)
    commit.dead_seq = 0
    commit.killed = []
    c.execute("UPDATE state SET epoch = ?", (epoch,))


def _copy_vectors(
    store: RowStore,
    change: Change,
    dim: int,
    slots: np.ndarray[tuple[int], np.dtype[np.int64]],
    epoch: int,
) -> None:
    path = store.vector_path(epoch)
    path.unlink(missing_ok=True)
    target = VectorFile(path, dim, create=True)
    try:
        if len(slots):
            rows = change.vector_file(dim).rows(int(slots[-1]) + 1)
            for start in range(0, len(slots), _BLOCK_ROWS):
                target.write(start, rows[slots[start : start + _BLOCK_ROWS]])
        target.cut(len(slots))
        target.sync()
    finally:
        target.close()
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the commit that names the file must not outlive its entry
        finally:
            os.close(folder)
