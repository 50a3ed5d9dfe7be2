"""``MemoryManager``: creates, finds and opens the collections below one directory."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sage.common.errors import PluginError
from sage.common.paths import data_dir as default_data_dir
from sage.common.paths import ensure_dir
from sage.middleware.services.memory.catalog import Catalog, CatalogEntry
from sage.middleware.services.memory.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    InvalidInputError,
    MemoryStoreError,
)
from sage.middleware.services.memory.federated import names_of, search_collections
from sage.middleware.services.memory.memory_collection.base_collection import BaseMemoryCollection
from sage.middleware.services.memory.storage.layout import (
    check_name,
    collection_dir,
    has_collection,
    remove_collection,
)

_COLLECTIONS = "sage.middleware.services.memory.memory_collection"
_BUILT_IN = {
    "vdb": f"{_COLLECTIONS}.vdb_collection:VDBMemoryCollection",
    "kv": f"{_COLLECTIONS}.kv_collection:KVMemoryCollection",
    "graph": f"{_COLLECTIONS}.graph_collection:GraphMemoryCollection",
    "chroma": f"{_COLLECTIONS}.chroma_collection:ChromaMemoryCollection",
}
_GROUP = "sage.memory_backends"


def backend_class(name: str) -> type[BaseMemoryCollection]:
    """The collection class of a back end, built in or installed.

    Raises:
        InvalidInputError: No back end has this name.
        PluginError: It is installed but cannot be loaded.
    """
    key = str(name).lower()
    target = _BUILT_IN.get(key)
    found = {e.name.lower(): e for e in entry_points(group=_GROUP)}
    if target is None and key not in found:
        known = sorted({*_BUILT_IN, *found})
        raise InvalidInputError(
            f"there is no memory back end {name!r}; known are {', '.join(known)}; others are "
            f"installed as plugins (entry-point group {_GROUP})"
        )
    try:
        if target is not None:
            module, attribute = target.split(":")
            loaded = getattr(importlib.import_module(module), attribute)
        else:
            loaded = found[key].load()
    except (ImportError, AttributeError) as exc:
        raise PluginError(f"the memory back end {name!r} cannot be loaded: {exc}") from exc
    if not (isinstance(loaded, type) and issubclass(loaded, BaseMemoryCollection)):
        raise PluginError(f"the memory back end {name!r} is not a BaseMemoryCollection: {loaded!r}")
    return loaded


class MemoryManager:
    """The collections below ``data_dir``.

    Each collection is a directory with everything that belongs to it; ``manager.json`` is a
    register of them for people and tools, written again from the directories if it is missing.
    Several managers, also of several processes, may work on one directory.

    Args:
        data_dir: Where the collections are; ``$SAGE_MEMORY_DIR`` if ``None``, else ``memory`` in
            SAGE's data directory. Made if missing.
    """

    def __init__(self, data_dir: str | os.PathLike[str] | None = None) -> None:
        chosen = data_dir or os.environ.get("SAGE_MEMORY_DIR") or default_data_dir() / "memory"
        self._root = ensure_dir(Path(chosen).expanduser().absolute())
        self._catalog = Catalog(self._root)
        self._open: dict[str, BaseMemoryCollection] = {}
        self._replaced: list[BaseMemoryCollection] = []
        self._lock = threading.RLock()

    @property
    def data_dir(self) -> str:
        """The directory of the collections, absolute."""
        return str(self._root)

    # -- making and opening ----------------------------------------------------------------------

    def create_collection(
        self,
        name: str,
        backend_type: str = "VDB",
        description: str = "",
        embedding_model: Any = None,
        dim: int | None = None,
        *,
        backend: str | None = None,
        **options: Any,
    ) -> Any:
        """Make a new collection and open it.

        Args:
            name: Letters, digits, ``_``, ``-`` and ``.``.
            backend_type: ``VDB``, ``KV``, ``Graph`` (any case), or a plugin's name.
            description: Free text for listings.
            embedding_model: ``VDB``: an ``EmbeddingModel``, a name for ``apply_embedding_model``,
                or ``None`` if vectors come ready or the collection is searched by words only.
            dim: ``VDB``: elements of a vector; the model's, or that of the first vectors, if
                ``None``.
            backend: Another implementation of the type, e.g. ``"chroma"`` for ``VDB``.
            options: What the back end takes, e.g. ``metric``, ``durability``, ``busy_timeout``.

        Returns:
            The collection: ``VDBMemoryCollection``, ``KVMemoryCollection``, …

        Raises:
            CollectionExistsError: There is a collection of that name; it was not touched.
            CollectionNameError: The name cannot be used.
            InvalidInputError: The back end is not known or does not take one of the options.
        """
        check_name(name)
        kind = backend or backend_type
        cls = backend_class(kind)
        if embedding_model is not None:
            options["embedding_model"] = embedding_model
        if dim is not None:
            options["dim"] = dim
        with self._lock, self._catalog.locked():
            path = collection_dir(self._root, name)
            if has_collection(path) or name in self._catalog.read():
                raise CollectionExistsError(
                    f"there is a collection {name!r} in {self.data_dir!r} already; open it with "
                    "connect_collection, or delete_collection it first",
                    name=name,
                )
            path.mkdir(mode=0o700, exist_ok=True)
            try:
                collection = cls.create(path, name=name, description=description, **options)
            except BaseException:
                remove_collection(path)
                raise
            self._catalog.put(
                CatalogEntry(
                    name=name,
                    backend_type=cls.backend_type,
                    backend=str(kind).lower(),
                    description=description,
                )
            )
            self._open[name] = collection
        return collection

    def connect_collection(self, name: str, embedding_model: Any = None, **options: Any) -> Any:
        """Open a collection.

        A collection that this manager has open already is returned as it is, with the model if one
        is given; with other options it is opened once more.

        Raises:
            CollectionNotFoundError: There is none of that name.
            EmbeddingMismatchError: The collection was built with another embedding model.
        """
        with self._lock:
            entry = self._entry(name)
            if embedding_model is not None:
                options["embedding_model"] = embedding_model
            opened = self._open.get(name)
            if opened is not None and not _is_closed(opened):
                if options.keys() == {"embedding_model"} and hasattr(opened, "use_model"):
                    opened.use_model(embedding_model)
                    return opened
                if not options:
                    return opened
            path = collection_dir(self._root, name)
            cls = backend_class(entry.backend)
            collection = cls.connect(path, name=name, **options)
            if opened is not None:
                self._replaced.append(opened)
            self._open[name] = collection
            return collection

    def get_collection(self, name: str) -> Any:
        """The collection of that name, opened if it is not."""
        return self.connect_collection(name)

    # -- listing ---------------------------------------------------------------------------------

    def list_collections(self) -> list[dict[str, Any]]:
        """Name, kind and description of every collection, by name."""
        return [
            {
                "name": e.name,
                "backend_type": e.backend_type,
                "backend": e.backend,
                "description": e.description,
            }
            for _, e in sorted(self._catalog.read().items())
        ]

    def has_collection(self, name: str) -> bool:
        """Whether there is a collection of that name."""
        return name in self._catalog.read()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has_collection(name)

    # -- searching -------------------------------------------------------------------------------

    def search(
        self,
        names: str | Sequence[str] | None,
        query: str | None = None,
        topk: int = 10,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Search several collections at once; see ``federated.search_collections``.

        Args:
            names: Collections; every ``VDB`` collection if ``None``.
            query: Text.
            topk: Rows wanted at most, over all collections.
            options: ``merge``, ``weights``, ``index_names``, and what ``retrieve`` takes.

        Returns:
            Dicts ``id, text, metadata, score, collection, collection_score``, best first.
        """
        if names is None:
            names = [n for n, e in self._catalog.read().items() if e.backend_type == "VDB"]
        chosen = {name: self.connect_collection(name) for name in names_of(names)}
        return search_collections(chosen, query, topk, **options)

    # -- changing --------------------------------------------------------------------------------

    def store_collection(self, name: str | None = None) -> None:
        """Write the caches of one open collection, or of all, so that the next open is fast.

        What was inserted is on disk already.
        """
        with self._lock:
            if name is not None:
                self._entry(name)
            chosen = [c for n, c in self._open.items() if name in (None, n) and not _is_closed(c)]
        for collection in chosen:
            collection.store()

    def rename_collection(self, name: str, new_name: str) -> None:
        """Give a collection another name; open handles must be opened again.

        Raises:
            CollectionNotFoundError: There is none of that name.
            CollectionExistsError: The new name is taken.
        """
        check_name(new_name)
        with self._lock, self._catalog.locked():
            entry = self._entry(name)
            target = collection_dir(self._root, new_name)
            if target.exists():
                raise CollectionExistsError(
                    f"there is a collection {new_name!r} already", name=new_name
                )
            self._release(name)
            collection_dir(self._root, name).rename(target)
            self._catalog.rename(entry, new_name)

    def delete_collection(self, name: str) -> None:
        """Delete a collection with everything it has on disk.

        Raises:
            CollectionNotFoundError: There is none of that name.
        """
        with self._lock, self._catalog.locked():
            entry = self._entry(name)
            self._release(name)
            backend_class(entry.backend).destroy(collection_dir(self._root, name))
            self._catalog.remove(name)

    def close(self) -> None:
        """Close every collection this manager opened."""
        with self._lock:
            for name in list(self._open):
                self._release(name)
            while self._replaced:
                self._replaced.pop().close()

    def _release(self, name: str) -> None:
        collection = self._open.pop(name, None)
        if collection is not None:
            try:
                collection.close()
            except MemoryStoreError:
                # Its files may have been deleted by another process: then nothing is left to close.
                if has_collection(collection_dir(self._root, name)):
                    raise

    def _entry(self, name: str) -> CatalogEntry:
        check_name(name)
        entries = self._catalog.read()
        entry = entries.get(name)
        if entry is None:
            known = tuple(sorted(entries))
            raise CollectionNotFoundError(
                f"there is no collection {name!r} in {self.data_dir!r}; "
                + (f"there are {', '.join(map(repr, known))}" if known else "it holds none yet"),
                name=name,
                known=known,
            )
        return entry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MemoryManager({self.data_dir!r})"


def _is_closed(collection: BaseMemoryCollection) -> bool:
    return bool(getattr(collection, "closed", False))
