"""Keeping a vector collection small, fast and, where asked, forgetful."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.memory_collection.base_collection import write_settings
from sage.middleware.services.memory.vdb import filters
from sage.middleware.services.memory.vdb.compaction import compact
from sage.middleware.services.memory.vdb.filters import Where
from sage.middleware.services.memory.vdb.retention import check_bounds
from sage.middleware.services.memory.vdb.rows import check_ids
from sage.middleware.services.memory.vdb.store import Change
from sage.middleware.services.memory.vdb.writes import Writes

_SCRUB = "scrub_pending"
_CHECK_ROWS = 16_384


class Upkeep(Writes):
    """Optimize, forget, retention, check and repair."""

    def optimize(self) -> dict[str, int]:
        """Drop the bytes of deleted rows everywhere and write snapshots.

        Writers wait while it runs, readers do not.

        Returns:
            ``rows`` kept, ``removed`` slots of deleted rows, ``bytes`` of files before minus after.
        """
        before = self._size_bytes()
        view = self._view()
        removed = view.dead
        if removed:
            self._store.change(lambda change: compact(self._store, change, self.dim))
        self._scrub()
        self.store()
        return {
            "rows": len(self),
            "removed": removed,
            "bytes": before - self._size_bytes(),
        }

    def store(self) -> None:
        """Write snapshots of what can be searched, so that the next open is fast.

        What was inserted is on disk already.
        """
        with self._store.database.write():
            view = self._view()
            if view.count and (view.seq != self._snapshots.stored_seq):
                self._snapshots.write(view, self._dense)

    def forget(self, where: Where | None = None, *, ids: str | Iterable[str] | None = None) -> int:
        """Delete rows so that nothing of them is left on disk; returns how many.

        Their text, metadata, vectors and ids are gone from the table, the log, free pages, the
        vector file and every snapshot when the call returns. A crash in between is made up for
        when the collection is opened next. Backups and exports are the caller's.

        Args:
            where: Rows that match this filter.
            ids: These rows instead; those that have no row are passed over.

        Raises:
            CollectionLockedError: Another process or an open ``scan`` still reads the old pages.
                The rows are deleted; calling ``forget`` again completes the removal.
        """
        if (where is None) == (ids is None):
            raise InvalidInputError("forget takes where or ids, exactly one of them")
        wanted = None
        if where is not None:
            filters.parse(where)
        else:
            wanted = check_ids([ids] if isinstance(ids, str) else list(ids or ()))

        def work(change: Change) -> int:
            if wanted is not None:
                slots = [r.slot for r in change.find(wanted).values()]
            else:
                assert where is not None
                slots = self._slots_where(change, where)
            change.kill(slots)
            self._indexes.before_commit(change, change.commit.start, (), slots)
            write_settings(self._store.database, {_SCRUB: True})
            compact(self._store, change, self.dim)
            return len(slots)

        forgotten: int = self._store.change(work)
        self._settings = {**self._settings, _SCRUB: True}
        self._scrub()
        self.store()
        return forgotten

    def _scrub(self) -> None:
        """Leave only what the last commit names on disk."""
        view = self._view()
        self._snapshots.clear()
        self._store.forget_files(view.generation.epoch)
        database = self._store.database
        database.vacuum()
        database.empty_log()
        if self._settings.get(_SCRUB):
            self._change_settings(**{_SCRUB: False})
            database.empty_log()

    def finish_forgetting(self) -> None:
        """Complete a ``forget`` that a crash interrupted; called when the collection is opened."""
        if self._settings.get(_SCRUB):
            self._scrub()

    # -- retention -------------------------------------------------------------------------------

    def set_retention(self, *, max_rows: int | None = None, max_age: float | None = None) -> None:
        """Bound the collection from now on; ``None`` lifts a bound.

        Every write then deletes what exceeds the bounds, oldest write first, in its own
        transaction; ``apply_retention`` does so without a write.

        Args:
            max_rows: Rows kept at most.
            max_age: Seconds a row is kept after it was last written.
        """
        check_bounds(max_rows, max_age)

        def work(change: Change) -> None:
            change.connection.execute(
                "UPDATE state SET max_rows = ?, max_age = ?", (max_rows, max_age)
            )

        self._store.change(work)
        self.apply_retention()

    @property
    def retention(self) -> dict[str, Any]:
        """The bounds: ``max_rows`` and ``max_age`` (seconds), ``None`` where there is none."""
        with self._store.database.read() as c:
            max_rows, max_age = c.execute("SELECT max_rows, max_age FROM state").fetchone()
        return {"max_rows": max_rows, "max_age": max_age}

    def apply_retention(self, *, forget: bool = False) -> int:
        """Delete what exceeds the bounds now; returns how many rows.

        Args:
            forget: Leave nothing of them on disk, as ``forget`` does.
        """

        def work(change: Change) -> int:
            slots = change.retain()
            self._indexes.before_commit(change, change.commit.start, (), slots)
            return len(slots)

        removed: int = self._store.change(work)
        if removed and forget:
            self.forget(ids=[])
        return removed

    # -- health ----------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """What is wrong with the files, in words; an empty list if nothing is."""
        found = self._store.database.check()
        if found:
            return found
        with self._store.database.snapshot() as c:
            epoch, count, dead_seq = c.execute(
                "SELECT epoch, next_slot, dead_seq FROM state"
            ).fetchone()
            rows = c.execute("SELECT count(*) FROM rows").fetchone()[0]
        if rows != count - dead_seq:
            found.append(f"the database has {rows} rows, its counters say {count - dead_seq}")
        dim = self.dim
        if dim is None or not count:
            return found
        try:
            file = self._store.vector_file(epoch, dim)
        except FileNotFoundError:
            return [*found, f"the vector file {str(self._store.vector_path(epoch))!r} is missing"]
        if file.count() < count:
            found.append(
                f"the vector file holds {file.count()} vectors, the database names {count}"
            )
        lost = len(self._lost(min(count, file.count())))
        if lost:
            found.append(f"{lost} rows have no readable vector; repair() embeds them again")
        return found

    def _lost(self, count: int) -> list[int]:
        """Slots of living rows whose vector was never written: holes read as zeros, or not finite.

        A text that a model embeds as zeros is among them, and harmless to embed again.
        """
        view = self._store.refresh()
        dim = self.dim
        assert dim is not None
        rows = self._store.vector_file(view.generation.epoch, dim).rows(count)
        lost: list[int] = []
        for start in range(0, count, _CHECK_ROWS):
            block = rows[start : start + _CHECK_ROWS]
            squares = np.einsum("ij,ij->i", block, block)
            bad = np.flatnonzero(~(np.isfinite(squares) & (squares > 0))) + start
            lost.extend(bad[view.alive[bad]].tolist())
        lost.extend(np.flatnonzero(view.alive[count:]) + count)
        return [int(slot) for slot in lost]

    def repair(self) -> int:
        """Embed again the rows whose vectors were lost in a power failure; returns how many.

        Raises:
            InvalidInputError: Vectors are lost and the collection has no embedding model.
        """
        dim = self.dim
        view = self._store.refresh()
        if dim is None or not view.count:
            return 0
        file = self._store.vector_file(view.generation.epoch, dim, create=True)
        lost = self._lost(min(view.count, file.count()))
        if not lost:
            return 0
        rows = self._store.state.fetch(view, lost)
        self.update_many([r[0] for r in rows], [r[1] for r in rows], None, vectors=None)
        return len(lost)
