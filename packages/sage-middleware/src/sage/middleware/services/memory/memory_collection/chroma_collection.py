"""``VDB`` on chromadb: the contract of ``VDBMemoryCollection``, chromadb's storage and index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from sage.middleware.services.memory.chroma import clients
from sage.middleware.services.memory.chroma.searching import ChromaSearching
from sage.middleware.services.memory.chroma.sidecar import Sidecar
from sage.middleware.services.memory.chroma.upkeep import ChromaUpkeep
from sage.middleware.services.memory.memory_collection.base_collection import (
    refuse_options,
)
from sage.middleware.services.memory.storage.layout import remove_collection
from sage.middleware.services.memory.vdb.core import first_settings
from sage.middleware.services.memory.vdb.embedder import Embedder
from sage.middleware.services.memory.vdb.jsonl import JsonLines
from sage.middleware.services.memory.vdb.metrics import (
    check_metric,
)
from sage.middleware.services.memory.vdb.rows import (
    IdSource,
)

__all__ = ["ChromaMemoryCollection"]

_EF_SEARCH = 400


class ChromaMemoryCollection(JsonLines, ChromaUpkeep, ChromaSearching):
    """A vector collection whose rows and index are chromadb's.

    Differences to the built-in collection, all of them chromadb's: nearest neighbours are
    approximate; a batch larger than chromadb's limit (about 5,000 rows) is several transactions,
    undone by us if one fails, but not if the process dies between them; with files
    (no ``server``), one process at a time; ``forget`` copies the rows that stay, and is refused on
    a server; durability levels are not offered: chromadb syncs every call. Search by words keeps a
    BM25 index in this process's memory.
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
        server: Mapping[str, Any] | None = None,
        ef_search: int = _EF_SEARCH,
        **options: Any,
    ) -> Self:
        """Make a new collection.

        Args:
            path: The collection's directory; chromadb's files go there unless ``server`` is given.
            name: Its name.
            description: Free text for listings.
            embedding_model: As for ``VDBMemoryCollection``.
            dim: As for ``VDBMemoryCollection``.
            metric: ``cosine``, ``dot`` or ``l2``.
            server: ``{"host": …, "port": 8000, "ssl": False}`` of a chromadb server.
            ef_search: Width of the HNSW search: recall against speed; chromadb takes it only here.
            options: Nothing else; another option is an ``InvalidInputError``.
        """
        refuse_options("chroma", options)
        embedder = Embedder(embedding_model)
        settings = first_settings(
            description=description,
            metric=check_metric(metric),
            dim=dim,
            embedder=embedder,
            engine=None,
            durability="power",
        )
        client = clients.open_client(path, server)
        # chromadb wants 3 to 512 characters and starts names with a letter or digit.
        remote = f"sage-{name}-{IdSource().take(1)[0][-8:]}" if server is not None else "rows"
        rows = clients.create(client, remote, metric, ef_search)
        data = {**settings, "server": server, "remote": remote, "indexes": {}}
        data["ef_search"] = ef_search
        Sidecar(path).write(data)
        return cls(path, name, client, rows, embedder)

    @classmethod
    def connect(cls, path: Path, *, name: str, embedding_model: Any = None, **options: Any) -> Self:
        """Open the collection.

        Raises:
            EmbeddingMismatchError: Another model than the collection's.
            MemoryStoreError: The server does not answer.
        """
        refuse_options("chroma", options)
        data = Sidecar(path).read()
        client = clients.open_client(path, data["server"], data.get("folder", clients.FOLDER))
        rows = client.get_collection(data["remote"], embedding_function=None)
        collection = cls(path, name, client, rows, Embedder(embedding_model))
        try:
            if collection._given_model:
                collection._check_model()
            collection.finish_forgetting()
        except BaseException:
            collection.close()
            raise
        return collection

    @classmethod
    def destroy(cls, path: Path) -> None:
        """Delete the collection, on the server too."""
        data = Sidecar(path).read()
        if data["server"] is not None:
            client = clients.open_client(path, data["server"])
            client.delete_collection(data["remote"])
            clients.close_client(client)
        remove_collection(path)

    def info(self) -> dict[str, Any]:
        """Facts for listings; JSON values only."""
        return {
            "name": self.name,
            "backend_type": self.backend_type,
            "backend": "chroma",
            "description": self.description,
            "rows": len(self),
            "dim": self.dim,
            "metric": self.metric,
            "embedding": self.embedding_fingerprint,
            "server": self._data["server"],
            "ef_search": self._data["ef_search"],
            "retention": self.retention,
            "bytes": None if self._data["server"] is not None else self._size_bytes(),
            "metadata_fields": list(self.metadata_fields),
            "indexes": self.list_indexes(),
            "created": self._data["created"],
        }
