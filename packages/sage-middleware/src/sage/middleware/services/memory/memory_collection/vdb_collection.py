"""``VDB``: texts with metadata and vectors, searched by meaning, by words or both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from sage.middleware.services.memory.errors import CollectionDamagedError, InvalidInputError
from sage.middleware.services.memory.memory_collection.base_collection import (
    refuse_options,
    write_settings,
)
from sage.middleware.services.memory.storage.database import Durability
from sage.middleware.services.memory.storage.layout import check_name
from sage.middleware.services.memory.vdb.core import first_settings
from sage.middleware.services.memory.vdb.dense import IVF_ROWS
from sage.middleware.services.memory.vdb.embedder import Embedder
from sage.middleware.services.memory.vdb.engine_registry import engine_class
from sage.middleware.services.memory.vdb.filters import Where
from sage.middleware.services.memory.vdb.index_specs import KINDS, IndexSpec, MetadataFilter
from sage.middleware.services.memory.vdb.jsonl import JsonLines
from sage.middleware.services.memory.vdb.metrics import check_metric
from sage.middleware.services.memory.vdb.opening import Opening
from sage.middleware.services.memory.vdb.store import RowStore
from sage.middleware.services.memory.vdb.text_search import text_search

__all__ = ["VDBMemoryCollection"]


class VDBMemoryCollection(Opening, JsonLines):
    """A collection of texts with metadata and vectors.

    SQLite is the truth; vectors are in a file beside it, and every index is a cache. Any number of
    threads and processes may use a collection at the same time: readers see the last commit,
    writers take turns. Every call is one transaction.

    An index is a named filter over the rows, current at every moment. ``where`` filters are
    stored. A Python callable cannot be: which rows it accepted is, and any handle may search such
    an index until a handle without the callable writes rows; from then on searching it raises
    ``IndexDetachedError`` until ``attach_filter`` gives the callable again.

    A collection without model and dimension holds texts only and is searched by words.
    """

    backend_type: ClassVar[str] = "VDB"

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str,
        description: str = "",
        embedding_model: Any = None,
        dim: int | None = None,
        metric: str = "cosine",
        engine: str | None = None,
        ivf_rows: int = IVF_ROWS,
        durability: Durability = "process",
        busy_timeout: float = 10.0,
        **options: Any,
    ) -> Self:
        """Make a new collection in the empty directory ``path``; ``MemoryManager`` calls this.

        Args:
            path: The collection's directory.
            name: Its name.
            description: Free text for listings.
            embedding_model: An ``EmbeddingModel``, a name for ``apply_embedding_model``, or
                ``None``.
            dim: Elements of a vector; the model's, or the first vectors', if ``None``.
            metric: ``cosine``, ``dot`` or ``l2``; see ``vdb.metrics``.
            engine: Scan engine, ``turbovec``, ``numpy`` or ``ivf``; chosen by size if ``None``.
            ivf_rows: Rows from which ``ivf`` is chosen.
            durability: ``process``, ``power`` or ``none``; see ``storage.database``. Stored as
                the collection's default.
            busy_timeout: Seconds a write waits for writers of other processes.
            options: Nothing else; another option is an ``InvalidInputError``.
        """
        refuse_options(cls.backend_type, options)
        embedder = Embedder(embedding_model)
        if engine is not None:
            engine_class(engine)
        settings = first_settings(
            description=description,
            metric=check_metric(metric),
            dim=dim,
            embedder=embedder,
            engine=engine,
            durability=durability,
            ivf_rows=ivf_rows,
        )
        store = RowStore(path, create=True, durability=durability, busy_timeout=busy_timeout)
        write_settings(store.database, settings)
        return cls(path, name, store, embedder)

    @classmethod
    def connect(
        cls,
        path: Path,
        *,
        name: str,
        embedding_model: Any = None,
        durability: Durability | None = None,
        busy_timeout: float = 10.0,
        repair: bool = False,
        **options: Any,
    ) -> Self:
        """Open the collection in ``path``; ``MemoryManager`` calls this.

        Args:
            path: The collection's directory.
            name: Its name.
            embedding_model: The model the collection was built with. If ``None``, the stored
                description of that model is used when a text has to be embedded.
            durability: Level of this handle's writes; the collection's default if ``None``.
            busy_timeout: Seconds a write waits for writers of other processes.
            repair: Embed rows again whose vectors a power failure took.
            options: Nothing else; another option is an ``InvalidInputError``.

        Raises:
            EmbeddingMismatchError: Another model than the collection's.
            CollectionDamagedError: Vectors are lost and ``repair`` is false, or the database
                cannot be read.
        """
        refuse_options(cls.backend_type, options)
        store = RowStore(path, create=False, durability=durability, busy_timeout=busy_timeout)
        try:
            collection = cls(path, name, store, Embedder(embedding_model))
            if not collection._settings:
                raise CollectionDamagedError(
                    f"{str(path)!r} was left half made by a crash; delete the collection",
                    path=str(path),
                )
            collection._opened(repair)
        except BaseException:
            store.close()
            raise
        return collection

    # -- indexes ---------------------------------------------------------------------------------

    def create_index(
        self,
        name: str,
        metadata_filter_func: MetadataFilter | None = None,
        *,
        where: Where | None = None,
        kind: str = "vector",
        description: str = "",
        **options: Any,
    ) -> None:
        """Make an index over the rows there are and those to come.

        Args:
            name: How ``retrieve(index_name=…)`` calls it.
            metadata_filter_func: Only rows whose metadata this callable accepts; see the class for
                what happens after a reopen.
            where: Only rows that match this filter, which is stored.
            kind: ``vector``, or ``bm25`` for search by words.
            description: Free text for listings.
            options: ``bm25``: ``engine`` (``sage``, ``tantivy``, ``rank-bm25``), ``language``,
                ``k1``, ``b``, ``stemming``, ``stop_words``.

        Raises:
            IndexExistsError: There is an index of that name.
            FilterError: ``where`` is malformed.
        """
        check_name(name)
        if metadata_filter_func is not None and where is not None:
            raise InvalidInputError("an index takes metadata_filter_func or where, not both")
        if metadata_filter_func is not None and not callable(metadata_filter_func):
            raise InvalidInputError(
                f"metadata_filter_func is {metadata_filter_func!r}; expected a function of the "
                "metadata, or use where for a declarative filter"
            )
        if kind not in KINDS:
            raise InvalidInputError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
        if options and kind != "bm25":
            raise InvalidInputError(f"an index of kind 'vector' takes no options, got {options!r}")
        if kind == "bm25":
            text_search(self._store.database, self._view(), options)
        self._indexes.create(
            IndexSpec(
                name=name,
                kind=kind,
                description=description,
                where=None if where is None else dict(where),
                callable_filter=metadata_filter_func is not None,
                options=options,
            ),
            metadata_filter_func,
        )

    def attach_filter(self, name: str, metadata_filter_func: MetadataFilter) -> None:
        """Give an index made with a Python callable its callable again; all rows are shown to it.

        Raises:
            IndexNotFoundError: There is no such index.
            InvalidInputError: The index has a declarative filter.
        """
        self._indexes.attach(name, metadata_filter_func)

    def drop_index(self, name: str) -> None:
        """Remove an index; the rows stay.

        Raises:
            IndexNotFoundError: There is no such index.
        """
        self._indexes.drop(name)

    def rebuild_index(self, name: str | None = None) -> None:
        """Make what is cached for an index, or for all, anew from the rows."""
        if name is not None:
            self._indexes.get(name)
        with self._store.database.write():
            self._snapshots.clear()
            self._store.state.reload()
        self.store()

    def optimize_index(self, name: str | None = None) -> None:
        """Bring an index, or all, up to the last row in its fastest form and store it."""
        view = self._view()
        specs = self._indexes.all().values() if name is None else [self._indexes.get(name)]
        for spec in specs:
            if spec.kind == "bm25":
                search = text_search(self._store.database, view, spec.options)
                search.follow(view)
                search.optimize()
        if self._dense.uses_engine(view):
            engine = self._dense.engine(view)
            engine.follow(view, 0)
            engine.wait()
        self._snapshots.stored_seq = -1
        self.store()

    def describe(self, description: str) -> None:
        """Change the description."""
        self._change_settings(description=str(description))

    def settings(self) -> Mapping[str, Any]:
        """What the collection was made with; JSON values."""
        return dict(self._settings)
