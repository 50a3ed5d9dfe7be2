"""What the parts of a vector collection share: its store, settings, indexes and model."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import orjson

from sage.middleware.services.memory.errors import DimensionError, InvalidInputError
from sage.middleware.services.memory.memory_collection.base_collection import (
    BaseMemoryCollection,
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.vdb.dense import IVF_ROWS, DenseSearch, EngineChoice
from sage.middleware.services.memory.vdb.embedder import Embedder, WithModel
from sage.middleware.services.memory.vdb.index_specs import Indexes
from sage.middleware.services.memory.vdb.metrics import Metric
from sage.middleware.services.memory.vdb.rows import IdSource
from sage.middleware.services.memory.vdb.snapshots import Snapshots
from sage.middleware.services.memory.vdb.state import View
from sage.middleware.services.memory.vdb.store import Change, RowStore


class VdbCore(WithModel, BaseMemoryCollection):
    """A vector collection without its operations.

    Made by ``VDBMemoryCollection.create`` and ``connect``.
    """

    def __init__(self, path: Path, name: str, store: RowStore, embedder: Embedder) -> None:
        self.path = path
        self.name = name
        self._store = store
        self._settings = read_settings(store.database)
        self._embedder = embedder
        self._given_model = bool(embedder)
        self._indexes = Indexes(store)
        self._ids = IdSource()
        self._dense = DenseSearch(
            self._settings.get("metric", "cosine"),
            EngineChoice(self._settings.get("engine"), self._settings.get("ivf_rows", IVF_ROWS)),
        )
        self._snapshots = Snapshots(path)
        if not embedder and self._settings.get("model") is not None:
            self._embedder = Embedder(self._settings["model"])

    # -- facts -----------------------------------------------------------------------------------

    @property
    def description(self) -> str:
        """What the creator said about the collection."""
        return str(self._settings["description"])

    @property
    def metric(self) -> Metric:
        """How vectors are compared: ``cosine``, ``dot`` or ``l2``."""
        metric: Metric = self._settings["metric"]
        return metric

    @property
    def dim(self) -> int | None:
        """Elements of a vector; ``None`` as long as the collection holds texts only."""
        if self._settings["dim"] is None:
            self._settings = read_settings(self._store.database)
        dim: int | None = self._settings["dim"]
        return dim

    @property
    def durability(self) -> str:
        """Durability level of this handle's writes."""
        return self._store.database.durability

    @property
    def embedding_fingerprint(self) -> str | None:
        """Which embedding model made the vectors; ``None`` if they came ready."""
        fingerprint: str | None = self._settings["fingerprint"]
        return fingerprint

    @property
    def metadata_fields(self) -> tuple[str, ...]:
        """The fields declared by ``add_metadata_field``."""
        return tuple(self._settings["fields"])

    def __len__(self) -> int:
        return self._view().live

    def __contains__(self, row_id: object) -> bool:
        return isinstance(row_id, str) and bool(self._store.get([row_id])[1])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {str(self.path)!r}>"

    def add_metadata_field(self, field: str) -> None:
        """Declare a field that filters will use; its column is then kept from the start.

        Undeclared fields can be stored and filtered too. Declaring one again changes nothing.
        """
        if not isinstance(field, str) or not field or field.startswith("$"):
            raise InvalidInputError(
                f"a metadata field is named by a string without leading '$', got {field!r}"
            )
        with self._store.database.write():
            self._settings = read_settings(self._store.database)
            if field not in self._settings["fields"]:
                self._change_settings(fields=[*self._settings["fields"], field])
        self._view().generation.columns.declare(field)

    def _size_bytes(self) -> int:
        total = 0
        for file in self.path.rglob("*"):
            # A file may go while others work.
            with contextlib.suppress(FileNotFoundError):
                if file.is_file():
                    total += file.stat().st_size
        return total

    # -- for the parts ---------------------------------------------------------------------------

    def _change_settings(self, **settings: Any) -> None:
        write_settings(self._store.database, settings)
        self._settings = {**self._settings, **settings}

    def _view(self) -> View:
        view = self._store.refresh()
        if view.count and "vectors" not in view.generation.parts and self.dim is not None:
            self._store.attach_vectors(view, self._settings["dim"])
        return view

    def _settle_model(self, change: Change) -> None:
        """The first model that embeds texts is the model of a collection made without one.

        Raises:
            EmbeddingMismatchError: Another writer settled another one.
        """
        (row,) = change.connection.execute(
            "SELECT value FROM settings WHERE key = 'fingerprint'"
        ).fetchall()
        settled = orjson.loads(row[0])
        if settled is None:
            write_settings(
                self._store.database,
                {"fingerprint": self._embedder.fingerprint, "model": self._embedder.spec},
            )
        else:
            self._embedder.check(settled)

    def _settle_dim(self, change: Change, dim: int) -> None:
        """The first vectors decide the dimension of a collection made without one.

        Raises:
            DimensionError: Another writer settled another one, or rows without vectors are there.
        """
        row = change.connection.execute("SELECT value FROM settings WHERE key = 'dim'").fetchone()
        settled = None if row[0] == "null" else int(row[0])
        if settled is None:
            if change.connection.execute("SELECT 1 FROM rows LIMIT 1").fetchone():
                raise DimensionError(
                    f"collection {self.name!r} holds texts without vectors; vectors cannot be "
                    "added to some rows only: create a collection with dim or embedding_model",
                    found=dim,
                    expected=None,
                )
            write_settings(self._store.database, {"dim": dim})
        elif settled != dim:
            raise DimensionError(
                f"a vector has {dim} elements, the collection's vectors have {settled}",
                found=dim,
                expected=settled,
            )


def first_settings(
    *,
    description: str,
    metric: Metric,
    dim: int | None,
    embedder: Embedder,
    engine: str | None,
    durability: str,
    ivf_rows: int = IVF_ROWS,
) -> dict[str, Any]:
    """The settings of a new collection.

    Raises:
        DimensionError: ``dim`` contradicts the embedding model.
        InvalidInputError: ``dim`` is not a positive integer.
    """
    if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 1):
        raise InvalidInputError(f"dim is {dim!r}; expected a positive integer or None")
    fingerprint = spec = None
    if embedder:
        found = embedder.dim
        if dim is not None and dim != found:
            raise DimensionError(
                f"dim is {dim}, but the embedding model {embedder.fingerprint!r} makes vectors of "
                f"{found} elements; leave dim out",
                found=dim,
                expected=found,
            )
        dim, fingerprint, spec = found, embedder.fingerprint, embedder.spec
    return {
        "description": description,
        "metric": metric,
        "dim": dim,
        "engine": engine,
        "ivf_rows": ivf_rows,
        "durability": durability,
        "fingerprint": fingerprint,
        "model": spec,
        "fields": [],
        "created": time.time(),
    }
