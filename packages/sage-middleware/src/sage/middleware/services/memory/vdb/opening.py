"""Opening and closing a vector collection: snapshots, remains of a crash, the model's identity."""

from __future__ import annotations

import contextlib
from typing import Any

from sage.middleware.services.memory.errors import (
    CollectionClosedError,
    CollectionDamagedError,
    CollectionLockedError,
)
from sage.middleware.services.memory.vdb.reading import Reading
from sage.middleware.services.memory.vdb.state import View
from sage.middleware.services.memory.vdb.text_search import loaded_text_searches
from sage.middleware.services.memory.vdb.upkeep import Upkeep

_STORE_ROWS = 50_000
_STORE_ROWS_CLOSING = 1000
_STORE_SHARE_CLOSING = 0.02


class Opening(Reading, Upkeep):
    """What happens between the calls of a user."""

    def _opened(self, repair: bool) -> None:
        """Make a connected handle ready.

        Raises:
            EmbeddingMismatchError: The model given is not the collection's.
            CollectionDamagedError: Vectors are lost and ``repair`` was not asked for.
        """
        if self._given_model and self.embedding_fingerprint is not None:
            self._check_model()
        if repair:
            self.repair()
        self.finish_forgetting()
        self._cut_tail()
        self._load_snapshot()

    def _cut_tail(self) -> None:
        dim = self.dim
        if dim is None:
            return
        with self._store.database.read() as c:
            epoch, count = c.execute("SELECT epoch, next_slot FROM state").fetchone()
        if not count:
            return
        size = -1
        with contextlib.suppress(FileNotFoundError):
            size = self._store.vector_file(epoch, dim).size_bytes()
        found = size // (4 * dim)
        if found < count:
            raise CollectionDamagedError(
                f"{str(self._store.vector_path(epoch))!r} "
                + ("is missing" if found < 0 else f"holds {found} vectors")
                + f", the database names {count}: a power failure at durability "
                f"{self.durability!r}, or a deleted file; connect_collection({self.name!r}, "
                "repair=True) embeds the lost rows again",
                path=str(self.path),
                found=max(0, found),
                expected=count,
            )
        if size > count * 4 * dim:
            # Not while another process writes: it may be putting bytes there right now.
            with contextlib.suppress(CollectionLockedError):
                self._store.cut_tail(dim)

    def _load_snapshot(self) -> None:
        with self._store.database.read() as c:
            epoch, seq = c.execute("SELECT epoch, seq FROM state").fetchone()

        def attach(view: View) -> None:
            if self.dim is not None:
                self._store.attach_vectors(view, self.dim)

        self._snapshots.restore(self._store.state, self._dense, epoch, seq, self.dim, attach)

    def _after_write(self) -> None:
        """Keep the indexes in memory near the rows, so that no query pays for many of them."""
        view = self._store.state.view
        for search in loaded_text_searches(view):
            search.follow(view)
        if self._dense.uses_engine(view):
            self._dense.after_write(self._view())
        if view.count - self._snapshots.stored_count >= max(
            _STORE_ROWS, self._snapshots.stored_count // 2
        ):
            self.store()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._store.database.closed

    def close(self) -> None:
        """Write snapshots if much has changed since the last, and release everything."""
        database = self._store.database
        if database.closed:
            return
        # A cache that cannot be written now is made at the next open.
        with contextlib.suppress(CollectionLockedError, CollectionClosedError):
            database.check_current()
            view = self._view()
            if "engine" in view.generation.parts:
                self._dense.engine(view).wait()
            changed = abs(view.seq - self._snapshots.stored_seq) and max(
                view.count - self._snapshots.stored_count, 0
            )
            if changed > max(_STORE_ROWS_CLOSING, _STORE_SHARE_CLOSING * view.count):
                self.store()
            if self.dim is not None and view.count:
                self._store.cut_tail(self.dim)
        self._store.close()

    def info(self) -> dict[str, Any]:
        """Facts for listings; JSON values only."""
        view = self._view()
        return {
            "name": self.name,
            "backend_type": self.backend_type,
            "description": self.description,
            "rows": view.live,
            "deleted_slots": view.dead,
            "dim": self.dim,
            "metric": self.metric,
            "embedding": self.embedding_fingerprint,
            "engine": self._dense.choice.name(view.count),
            "durability": self.durability,
            "metadata_fields": list(self.metadata_fields),
            "indexes": self.list_indexes(),
            "retention": self.retention,
            "created": self._settings["created"],
            "bytes": self._size_bytes(),
        }

    def list_indexes(self) -> list[dict[str, Any]]:
        """Every index: name, kind, filter, number of rows, and whether a callable is attached."""
        listed = []
        view = self._view()
        for spec in self._indexes.all().values():
            usable = spec.complete or not spec.callable_filter
            listed.append(
                {
                    "name": spec.name,
                    "kind": spec.kind,
                    "description": spec.description,
                    "where": None if spec.where is None else dict(spec.where),
                    "callable": spec.callable_filter,
                    "attached": self._indexes.attached(spec.name),
                    "complete": spec.complete,
                    "options": dict(spec.options),
                    "rows": self._allowed(view, spec, None).matching if usable else None,
                }
            )
        return listed
