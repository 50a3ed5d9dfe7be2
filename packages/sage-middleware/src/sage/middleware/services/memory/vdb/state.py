"""What a handle keeps in memory of a collection's rows, and how it follows the database.

A row never changes in its slot: an update writes a new slot and kills the old one. So everything
kept per slot only grows, and a reader works on a ``View``: how many slots there are and which of
them live, as of one commit.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from sage.middleware.services.memory.storage.database import Database
from sage.middleware.services.memory.vdb.columns import Columns
from sage.middleware.services.memory.vdb.filters import BoolArray

_CACHED_ROWS = 8192
_CACHED_CHARS = 4096
_IN_MOST = 500


class StaleViewError(Exception):
    """The slots were renumbered after the view was taken: take a new one and start again."""


class Generation:
    """What belongs to one numbering of the slots; compaction starts the next one.

    Attributes:
        epoch: Number of the generation.
        columns: Metadata by slot.
        rows: Cache of fetched rows by slot.
        parts: Further caches by name (vector file, engines, text indexes); made on demand.
    """

    __slots__ = ("columns", "epoch", "lock", "parts", "rows")

    def __init__(self, epoch: int, columns: Columns) -> None:
        self.epoch = epoch
        self.columns = columns
        self.rows: dict[int, tuple[str, str, bytes]] = {}
        self.parts: dict[str, Any] = {}
        self.lock = threading.RLock()


class View:
    """The slots as of one commit; never changed after it was published."""

    __slots__ = ("_alive", "count", "dead", "dead_seq", "generation", "seq")

    def __init__(
        self,
        generation: Generation,
        seq: int,
        count: int,
        alive: BoolArray,
        dead: int,
        dead_seq: int,
    ) -> None:
        self.generation = generation
        self.seq = seq
        self.count = count
        self.dead = dead
        self.dead_seq = dead_seq
        self._alive = alive

    @property
    def live(self) -> int:
        """Rows that are not deleted."""
        return self.count - self.dead

    @property
    def alive(self) -> BoolArray:
        """Which slots hold a row, ``(count,)``."""
        return self._alive[: self.count]

    def changed(
        self, seq: int, count: int, killed: Sequence[int] | npt.NDArray[np.int64], dead_seq: int
    ) -> View:
        """The view after a commit that appended slots up to ``count`` and killed some."""
        alive = self._alive
        if count > len(alive):
            # Slots behind every view's count are set already: appending does not touch the array.
            alive = np.ones(max(count, len(alive) * 3 // 2, 1024), np.bool_)
            alive[: self.count] = self._alive[: self.count]
        elif len(killed):
            alive = alive.copy()
        if len(killed):
            alive[killed] = False
        return View(self.generation, seq, count, alive, self.dead + len(killed), dead_seq)


class State:
    """The rows of one handle: view, metadata columns and a cache of fetched rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._version = -1
        self.view = self._empty(-1)

    def _empty(self, epoch: int) -> View:
        generation = Generation(epoch, Columns(self._read_field))
        return View(generation, -1, 0, np.ones(0, np.bool_), 0, 0)

    def _read_field(self, field: str, count: int, missing: object) -> Iterable[tuple[int, Any]]:
        with self._database.read() as c:
            for slot, meta in c.execute("SELECT slot, meta FROM rows WHERE slot < ?", (count,)):
                value = orjson.loads(meta).get(field, missing)
                if value is not missing:
                    yield slot, value

    # -- following the database ------------------------------------------------------------------

    def refresh(self) -> View:
        """The view as of the last commit of anyone."""
        version = self._database.data_version()
        if version != self._version:
            with self._lock:
                if not self._is_current():
                    self._catch_up()
                # Read before the rows were: a commit in between is noticed by the next call.
                self._version = version
        return self.view

    def _is_current(self) -> bool:
        # Most often the commit was this handle's own, which it knows already.
        with self._database.read() as c:
            epoch, seq = c.execute("SELECT epoch, seq FROM state").fetchone()
        return bool(seq == self.view.seq and epoch == self.view.generation.epoch)

    def _catch_up(self) -> None:
        with self._database.snapshot() as c:
            epoch, seq, count = c.execute("SELECT epoch, seq, next_slot FROM state").fetchone()
            view = self.view
            if epoch != view.generation.epoch:
                view = self._empty(epoch)
            elif seq == view.seq:
                return
            self._read_rows(c, view, seq, count)

    def _read_rows(self, c: sqlite3.Connection, view: View, seq: int, count: int) -> None:
        if count > view.count:
            self._append_metadata(
                view.generation.columns,
                view.count,
                count,
                c.execute(
                    "SELECT slot, meta FROM rows WHERE slot >= ? ORDER BY slot", (view.count,)
                ),
            )
        killed = c.execute(
            "SELECT seq, slot FROM dead WHERE seq > ? ORDER BY seq", (view.dead_seq,)
        ).fetchall()
        dead_seq = killed[-1][0] if killed else view.dead_seq
        self.view = view.changed(seq, count, [slot for _, slot in killed], dead_seq)

    @staticmethod
    def _append_metadata(
        columns: Columns, start: int, count: int, rows: Iterable[tuple[int, str]]
    ) -> None:
        block: list[Mapping[str, Any]] = []
        slot = start
        for found, meta in rows:
            block.extend({} for _ in range(found - slot))  # killed before this handle saw them
            block.append(orjson.loads(meta))
            slot = found + 1
            if len(block) >= 20_000:
                columns.append(block)
                block = []
        block.extend({} for _ in range(count - slot))
        if block:
            columns.append(block)

    def committed(
        self,
        epoch: int,
        seq: int,
        start: int,
        metadatas: Sequence[Mapping[str, Any]],
        killed: Sequence[int],
        dead_seq: int,
    ) -> None:
        """Take this handle's own commit; reads the database if others committed before it."""
        with self._lock:
            view = self.view
            if epoch != view.generation.epoch or seq != view.seq + 1 or start != view.count:
                # Others committed before, or this handle has not read anything yet.
                self._catch_up()
                return
            if metadatas:
                view.generation.columns.append(metadatas)
            self.view = view.changed(seq, start + len(metadatas), killed, dead_seq)

    def reload(self) -> None:
        """Forget everything that was read; the next ``refresh`` reads it anew."""
        with self._lock:
            self.view = self._empty(-1)
            self._version = -1

    def restore(
        self,
        epoch: int,
        seq: int,
        alive: BoolArray,
        dead_seq: int,
        head: bytes,
        codes: Mapping[str, Any],
    ) -> View:
        """Start from a snapshot; the next ``refresh`` reads the rows since."""
        with self._lock:
            view = self._empty(epoch)
            view.generation.columns.load(head, codes)
            dead = len(alive) - int(np.count_nonzero(alive))
            self.view = View(view.generation, seq, len(alive), alive, dead, dead_seq)
            self._version = -1
            return self.view

    # -- fetching rows ---------------------------------------------------------------------------

    def fetch(self, view: View, slots: Sequence[int]) -> list[tuple[str, str, bytes]]:
        """``(id, text, metadata JSON)`` of each slot.

        Raises:
            StaleViewError: Rows of the view were deleted or renumbered since.
        """
        cache = view.generation.rows
        found = [cache.get(slot) for slot in slots]
        if None in found:
            missing = [slot for slot, row in zip(slots, found, strict=True) if row is None]
            more: dict[int, tuple[str, str, bytes]] = {}
            with self._database.read() as c:
                for start in range(0, len(missing), _IN_MOST):
                    part = missing[start : start + _IN_MOST]
                    marks = ",".join("?" * len(part))
                    for epoch, slot, *row in c.execute(
                        # Only question marks are put into the statement. The epoch comes with
                        # the rows, so that both are of one commit.
                        "SELECT (SELECT epoch FROM state), slot, id, text, meta "  # noqa: S608
                        f"FROM rows WHERE slot IN ({marks})",
                        part,
                    ):
                        if epoch != view.generation.epoch:
                            raise StaleViewError
                        more[slot] = (row[0], row[1], row[2])
            if len(cache) + len(more) > _CACHED_ROWS:
                cache.clear()
            for slot, row in more.items():
                if len(row[1]) <= _CACHED_CHARS:
                    cache[slot] = row
            found = [row or more.get(s) for s, row in zip(slots, found, strict=True)]
            if None in found:
                raise StaleViewError
        return found  # type: ignore[return-value]
