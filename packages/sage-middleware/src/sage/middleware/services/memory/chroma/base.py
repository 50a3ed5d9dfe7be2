"""What the parts of a chromadb collection share."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sage.middleware.services.memory.chroma import clients
from sage.middleware.services.memory.chroma.sidecar import Sidecar
from sage.middleware.services.memory.chroma.words import Words
from sage.middleware.services.memory.errors import (
    CollectionClosedError,
    IndexNotFoundError,
    InvalidInputError,
)
from sage.middleware.services.memory.memory_collection.base_collection import (
    BaseMemoryCollection,
)
from sage.middleware.services.memory.vdb.embedder import Embedder, WithModel
from sage.middleware.services.memory.vdb.index_specs import MetadataFilter
from sage.middleware.services.memory.vdb.rows import IdSource


class ChromaBase(WithModel, BaseMemoryCollection):
    """A collection on chromadb without its operations."""

    def __init__(self, path: Path, name: str, client: Any, rows: Any, embedder: Embedder) -> None:
        self.path = path
        self.name = name
        self._client = client
        self._rows = rows
        self._sidecar = Sidecar(path)
        self._data = self._sidecar.read()
        self._given_model = bool(embedder)
        model = self._data.get("model")
        self._embedder = embedder or Embedder(model)
        self._callables: dict[str, MetadataFilter] = {}
        self._words = Words()
        self._ids = IdSource()
        self._lock = threading.RLock()
        self._closed = False

    @property
    def description(self) -> str:
        """What the creator said about the collection."""
        return str(self._data["description"])

    @property
    def metric(self) -> Any:
        """How vectors are compared: ``cosine``, ``dot`` or ``l2``."""
        return self._data["metric"]

    @property
    def dim(self) -> int | None:
        """Elements of a vector; ``None`` before the first."""
        dim: int | None = self._data["dim"]
        return dim

    @property
    def embedding_fingerprint(self) -> str | None:
        """Which embedding model made the vectors; ``None`` if they came ready."""
        fingerprint: str | None = self._data["fingerprint"]
        return fingerprint

    @property
    def metadata_fields(self) -> tuple[str, ...]:
        """The fields declared by ``add_metadata_field``."""
        return tuple(self._data["fields"])

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def __len__(self) -> int:
        return int(self._live().count())

    def __contains__(self, row_id: object) -> bool:
        return isinstance(row_id, str) and bool(self._live().get(ids=[row_id], include=[])["ids"])

    def add_metadata_field(self, field: str) -> None:
        """Declare a field that filters will use."""
        if not isinstance(field, str) or not field or field.startswith("$"):
            raise InvalidInputError(f"a metadata field is named by a string, got {field!r}")
        if field not in self._data["fields"]:
            self._change(fields=[*self._data["fields"], field])

    def store(self) -> None:
        """Nothing to do: chromadb writes at every call."""

    def close(self) -> None:
        """Release chromadb's files or connections."""
        if not self._closed:
            self._closed = True
            clients.close_client(self._client)

    def _live(self) -> Any:
        if self._closed:
            raise CollectionClosedError(f"collection {self.name!r} is closed", name=self.name)
        return self._rows

    def _change(self, **data: Any) -> None:
        with self._lock:
            self._data = {**self._sidecar.read(), **data}
            self._sidecar.write(self._data)

    def _need_model(self) -> None:
        if not self._embedder:
            raise InvalidInputError(
                f"collection {self.name!r} has no embedding model: give vectors, or connect with "
                "embedding_model"
            )
        self._check_model()

    def _index(self, name: str) -> dict[str, Any]:
        self._data = self._sidecar.read()
        spec: dict[str, Any] | None = self._data["indexes"].get(name)
        if spec is None:
            known = tuple(sorted(self._data["indexes"]))
            raise IndexNotFoundError(
                f"there is no index {name!r}; there are {', '.join(known) or 'none'}",
                index=name,
                known=known,
            )
        return spec

    def _put_index(self, spec: dict[str, Any]) -> None:
        self._change(indexes={**self._sidecar.read()["indexes"], spec["name"]: spec})
