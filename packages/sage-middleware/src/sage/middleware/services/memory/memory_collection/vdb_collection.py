"""``VDB``: texts with metadata and vectors, searched by meaning, by words or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from sage.middleware.services.memory.memory_collection.base_collection import (
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.storage.database import Durability
from sage.middleware.services.memory.vdb.core import first_settings
from sage.middleware.services.memory.vdb.embedder import Embedder
from sage.middleware.services.memory.vdb.engines import engine_class
from sage.middleware.services.memory.vdb.index_specs import IndexSpec, MetadataFilter
from sage.middleware.services.memory.vdb.filters import Where
from sage.middleware.services.memory.vdb.metrics import check_metric
from sage.middleware.services.memory.vdb.retrieval import Retrieval
from sage.middleware.services.memory.vdb.store import RowStore
from sage.middleware.services.memory.vdb.writes import Writes

__all__ = ["VDBMemoryCollection"]


class VDBMemoryCollection(Writes, Retrieval):
    """A collection of texts with metadata and vectors."""

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
        durability: Durability = "process",
        busy_timeout: float = 10.0,
        **options: Any,
    ) -> Self:
        """Make a new collection in the empty directory ``path``."""
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
            options=options,
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
        **options: Any,
    ) -> Self:
        """Open the collection in ``path``."""
        store = RowStore(
            path, create=False, durability=durability or "process", busy_timeout=busy_timeout
        )
        return cls(path, name, store, Embedder(embedding_model))

    def create_index(
        self,
        name: str,
        metadata_filter_func: MetadataFilter | None = None,
        *,
        where: Where | None = None,
        kind: str = "vector",
        description: str = "",
    ) -> None:
        """Make an index."""
        self._indexes.create(
            IndexSpec(
                name=name,
                kind=kind,
                description=description,
                where=where,
                callable_filter=metadata_filter_func is not None,
            ),
            metadata_filter_func,
        )

    def info(self) -> dict[str, Any]:
        """Facts."""
        return {"name": self.name, "backend_type": self.backend_type, "rows": len(self)}

    def store(self) -> None:
        """Write snapshots."""

    def close(self) -> None:
        """Close."""
        self._store.close()
