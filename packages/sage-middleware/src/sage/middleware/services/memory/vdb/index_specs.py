"""Named indexes of a collection: each a filter over the same rows, and how to search them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import orjson

from sage.middleware.services.memory.errors import (
    IndexDetachedError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
)
from sage.middleware.services.memory.vdb import filters
from sage.middleware.services.memory.vdb.columns import Mask
from sage.middleware.services.memory.vdb.rows import Metadata
from sage.middleware.services.memory.vdb.state import View
from sage.middleware.services.memory.vdb.store import Change, RowStore

KINDS = ("vector", "bm25")
MetadataFilter = Callable[[Metadata], Any]


@attrs.frozen(kw_only=True)
class IndexSpec:
    """What is persisted of an index.

    Attributes:
        name: Its name.
        kind: ``vector`` or ``bm25``.
        description: Free text.
        where: Declarative filter, or ``None``.
        callable_filter: Made with a Python callable, which cannot be persisted. Which rows it
            accepted is; see ``complete``.
        complete: Every row was shown to the callable. A writer without the callable ends that.
        options: Settings of the engine, e.g. ``language`` of ``bm25``.
    """

    name: str
    kind: str = "vector"
    description: str = ""
    where: Mapping[str, Any] | None = None
    callable_filter: bool = False
    complete: bool = True
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def to_json(self) -> str:
        """As it is persisted."""
        return orjson.dumps(attrs.asdict(self, recurse=False)).decode()

    @classmethod
    def from_json(cls, text: str) -> IndexSpec:
        """As it was persisted."""
        return cls(**orjson.loads(text))


class Indexes:
    """The indexes of one handle.

    A callable index accepts rows as they are written by handles that have its callable. Others
    may search it as long as it is complete; when they write, it becomes incomplete and searching
    it without the callable is an error until ``attach``.
    """

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._seq = -1
        self._specs: dict[str, IndexSpec] = {}
        self._callables: dict[str, MetadataFilter] = {}

    def all(self) -> dict[str, IndexSpec]:
        """Every index by name, as of the last commit."""
        view = self._store.refresh()
        if view.seq != self._seq:
            with self._lock:
                with self._store.database.read() as c:
                    rows = c.execute("SELECT spec FROM indexes ORDER BY name").fetchall()
                specs = {s.name: s for s in (IndexSpec.from_json(r[0]) for r in rows)}
                self._specs, self._seq = specs, view.seq
        return self._specs

    def get(self, name: str) -> IndexSpec:
        """One index.

        Raises:
            IndexNotFoundError: There is none of that name.
        """
        spec = self.all().get(name)
        if spec is None:
            known = tuple(self._specs)
            raise IndexNotFoundError(
                f"there is no index {name!r}; "
                + (f"there are {', '.join(map(repr, known))}" if known else "there are none yet")
                + "; create_index makes one",
                index=name,
                known=known,
            )
        return spec

    def create(self, spec: IndexSpec, callable_filter: MetadataFilter | None) -> None:
        """Add an index over the rows there are and those to come.

        Raises:
            IndexExistsError: The name is taken.
        """
        if spec.where is not None:
            filters.parse(spec.where)

        def work(change: Change) -> None:
            taken = change.connection.execute(
                "SELECT 1 FROM indexes WHERE name = ?", (spec.name,)
            ).fetchone()
            if taken:
                raise IndexExistsError(
                    f"there is an index {spec.name!r} already; drop_index({spec.name!r}) first, or "
                    "attach_filter to give a callable index its callable again",
                    index=spec.name,
                )
            change.connection.execute(
                "INSERT INTO indexes VALUES (?, ?, ?)",
                (spec.name, int(spec.callable_filter), spec.to_json()),
            )
            if callable_filter is not None:
                self._decide_all(change, spec.name, callable_filter)
                self._count_callables(change)

        with self._lock:
            self._store.change(work)
            if callable_filter is not None:
                self._callables[spec.name] = callable_filter

    def attach(self, name: str, callable_filter: MetadataFilter) -> None:
        """Give a callable index its callable again; every row is shown to it."""
        spec = self.get(name)
        if not spec.callable_filter:
            raise InvalidInputError(
                f"index {name!r} has a declarative filter ({dict(spec.where or {})!r}); only an "
                "index made with metadata_filter_func takes a callable"
            )

        def work(change: Change) -> None:
            change.connection.execute("DELETE FROM members WHERE name = ?", (name,))
            self._decide_all(change, name, callable_filter)
            self._put(change, attrs.evolve(spec, complete=True))

        with self._lock:
            self._store.change(work)
            self._callables[name] = callable_filter

    def drop(self, name: str) -> None:
        """Remove an index; the rows stay."""
        self.get(name)

        def work(change: Change) -> None:
            change.connection.execute("DELETE FROM indexes WHERE name = ?", (name,))
            change.connection.execute("DELETE FROM members WHERE name = ?", (name,))
            self._count_callables(change)

        with self._lock:
            self._store.change(work)
            self._callables.pop(name, None)

    def attached(self, name: str) -> bool:
        """Whether this handle has the callable of a callable index."""
        return name in self._callables

    @staticmethod
    def _count_callables(change: Change) -> None:
        change.connection.execute(
            "UPDATE state SET callables = (SELECT count(*) FROM indexes WHERE callable = 1)"
        )

    @staticmethod
    def _put(change: Change, spec: IndexSpec) -> None:
        change.connection.execute(
            "UPDATE indexes SET spec = ? WHERE name = ?", (spec.to_json(), spec.name)
        )

    @staticmethod
    def _decide_all(change: Change, name: str, callable_filter: MetadataFilter) -> None:
        c = change.connection
        rows = c.execute("SELECT slot, meta FROM rows").fetchall()
        accepted = [
            (name, slot)
            for slot, meta in rows
            if _accepts(name, callable_filter, orjson.loads(meta))
        ]
        c.executemany("INSERT INTO members VALUES (?, ?)", accepted)

    # -- following writes ------------------------------------------------------------------------

    def before_commit(
        self, change: Change, start: int, metadatas: Sequence[Metadata], killed: Sequence[int]
    ) -> None:
        """Decide about rows in the transaction that writes them."""
        if not change.callables:
            return
        c = change.connection
        for (text,) in c.execute("SELECT spec FROM indexes WHERE callable = 1").fetchall():
            spec = IndexSpec.from_json(text)
            c.executemany(
                "DELETE FROM members WHERE name = ? AND slot = ?",
                [(spec.name, slot) for slot in killed],
            )
            decide = self._callables.get(spec.name)
            if decide is not None:
                c.executemany(
                    "INSERT INTO members VALUES (?, ?)",
                    [
                        (spec.name, start + i)
                        for i, m in enumerate(metadatas)
                        if _accepts(spec.name, decide, dict(m))
                    ],
                )
            elif metadatas and spec.complete:
                self._put(change, attrs.evolve(spec, complete=False))

    # -- searching -------------------------------------------------------------------------------

    def members(self, spec: IndexSpec, view: View) -> Mask | None:
        """The rows of an index; ``None`` if it has all.

        Raises:
            IndexDetachedError: A callable index met rows that its callable has not seen.
        """
        if spec.callable_filter:
            if not spec.complete:
                raise IndexDetachedError(
                    f"index {spec.name!r} was made with a Python callable, which cannot be stored, "
                    "and rows were written without it; call attach_filter("
                    f"{spec.name!r}, func) with the callable, or use create_index(where=…)",
                    index=spec.name,
                )
            return self._callable_mask(spec, view)
        if spec.where is None:
            return None
        return view.generation.columns.mask(spec.where)

    def _callable_mask(self, spec: IndexSpec, view: View) -> Mask:
        parts = view.generation.parts
        key = f"members:{spec.name}"
        cached = parts.get(key)
        if cached is not None and cached[0] == view.seq:
            return cached[1]  # type: ignore[no-any-return]
        with self._store.database.snapshot() as c:
            slots = c.execute(
                "SELECT slot FROM members WHERE name = ? AND slot < ?", (spec.name, view.count)
            ).fetchall()
        bits = np.zeros(view.count, np.bool_)
        bits[[slot for (slot,) in slots]] = True
        mask = Mask()
        mask.extend(bits)
        parts[key] = (view.seq, mask)
        return mask


def _accepts(index: str, decide: MetadataFilter, metadata: dict[str, Any]) -> bool:
    """What a user's callable says.

    Raises:
        InvalidInputError: It raised; the transaction is undone.
    """
    try:
        return bool(decide(metadata))
    except Exception as exc:
        raise InvalidInputError(
            f"the filter of index {index!r} raised {type(exc).__name__}: {exc} for a row with the "
            f"metadata {metadata!r}; nothing was changed. Not every row has every field: use "
            "metadata.get(field)"
        ) from exc
