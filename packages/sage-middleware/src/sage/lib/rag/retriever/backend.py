"""Where passages are searched: a memory collection, its service, or documents given directly.

A backend answers ``search(query, topk, where, mode)`` with ``Document`` values, best first.
Predecessor: ``sage.middleware.services.memory``; successor: the retrievers beside this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sage.common.errors import ConfigError
from sage.lib.adapt import as_document, as_documents
from sage.lib.io.source.records import SUFFIXES, read_records
from sage.lib.types import Document

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

SERVICE = "memory_service"
MODES = ("dense", "bm25", "hybrid")


class Backend(Protocol):
    """What a retriever searches."""

    def search(
        self, query: str, topk: int, where: Mapping[str, Any] | None, mode: str
    ) -> list[Document]:
        """The best ``topk`` passages with scores."""

    def close(self) -> None:
        """Release what the backend opened itself."""


class CollectionBackend:
    """A collection, or a function with the signature of its ``retrieve``.

    Args:
        retrieve: ``retrieve(query, topk=, where=, index_name=, mode=)`` → dicts with ``id, text,
            metadata, score``.
        index_name: Index of the collection; default: its own.
        close: Called by ``close``.
    """

    def __init__(
        self,
        retrieve: Callable[..., Any],
        *,
        index_name: str | None = None,
        close: Callable[[], object] | None = None,
    ) -> None:
        self._retrieve = retrieve
        self._index = index_name
        self._close = close

    def search(
        self, query: str, topk: int, where: Mapping[str, Any] | None, mode: str
    ) -> list[Document]:
        """Ask the collection."""
        options: dict[str, Any] = {"topk": topk, "mode": mode}
        if where is not None:
            options["where"] = where
        if self._index is not None:
            options["index_name"] = self._index
        return [as_document(row) for row in self._retrieve(query, **options)]

    def close(self) -> None:
        """Close the collection if it was opened here."""
        if self._close is not None:
            self._close()


def open_collection(
    ctx: RuntimeContext, name: str, data_dir: str | None, index_name: str | None
) -> CollectionBackend:
    """The collection ``name``: through the job's memory service when there is one, else directly.

    Raises:
        ConfigError: It does not exist; says how to make it.
    """
    from sage.middleware.services.memory.errors import (  # noqa: PLC0415 - NumPy and SQLite
        CollectionNotFoundError,
    )
    from sage.middleware.services.memory.memory_manager import (  # noqa: PLC0415
        MemoryManager,
    )

    if ctx.has_service(SERVICE) and data_dir is None:
        service = ctx.service(SERVICE)
        known = service.list_collections()
        if name not in _names(known):
            raise ConfigError(_missing(name, f"the service {SERVICE!r}", _names(known)))

        def retrieve(query: str, **options: Any) -> Any:
            return service.retrieve(name, query, **options)

        return CollectionBackend(retrieve, index_name=index_name)
    manager = MemoryManager(data_dir)
    try:
        collection = manager.connect_collection(name)
    except CollectionNotFoundError as error:
        known = manager.list_collections()
        _close_manager(manager)
        raise ConfigError(_missing(name, repr(str(manager.data_dir)), _names(known))) from error
    return CollectionBackend(
        collection.retrieve, index_name=index_name, close=lambda: _close_manager(manager)
    )


def documents_of(given: Any) -> tuple[Document, ...]:
    """Documents from a list, a file (txt, jsonl, csv) or a directory of text files.

    A directory gives one document per ``.txt`` or ``.md`` file, named by its path in it.

    Raises:
        ConfigError: The path does not exist or holds nothing to read.
        InputFileError: A line of a file is broken.
    """
    if not isinstance(given, str | Path):
        return as_documents(given)
    path = Path(given).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".txt", ".md"))
        documents = [
            Document(
                id=str(file.relative_to(path)),
                text=file.read_text(encoding="utf-8", errors="replace"),
                metadata={"source": str(file.relative_to(path))},
            )
            for file in found
        ]
    elif path.is_file():
        fmt = SUFFIXES.get(path.suffix.lower(), "txt")
        documents = [as_document(value) for _, value in read_records(path, fmt, "utf-8")]
    else:
        raise ConfigError(
            f"no documents at {str(path)!r}: expected a txt, jsonl or csv file, or a directory; "
            f"relative paths start at {str(Path.cwd())!r}"
        )
    if not documents:
        raise ConfigError(f"{str(path)!r} holds no documents")
    return tuple(documents)


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any] | None) -> bool:
    """Whether metadata fulfil a filter; for documents given directly.

    Raises:
        ConfigError: The filter uses more than equality.
    """
    if where is None:
        return True
    for key, wanted in where.items():
        if key.startswith("$") or isinstance(wanted, Mapping):
            raise ConfigError(
                f"the filter {dict(where)!r} needs a collection: documents given directly can be "
                "filtered by equality only"
            )
        if metadata.get(key) != wanted:
            return False
    return True


def above(documents: Sequence[Document], threshold: float | None) -> tuple[Document, ...]:
    """Those whose score is at least ``threshold``."""
    if threshold is None:
        return tuple(documents)
    return tuple(d for d in documents if d.score is not None and d.score >= threshold)


def _names(listed: Any) -> list[str]:
    return sorted(entry["name"] if isinstance(entry, Mapping) else str(entry) for entry in listed)


def _missing(name: str, place: str, known: list[str]) -> str:
    there = f"it has {', '.join(map(repr, known))}" if known else "it has none yet"
    return (
        f"there is no collection {name!r} in {place} ({there}); make it with "
        f"MemoryManager(data_dir).create_collection({name!r}, backend_type='VDB', "
        "embedding_model=apply_embedding_model('default')) and insert_many(texts, metadatas), "
        "or give documents directly with the config key documents"
    )


def _close_manager(manager: Any) -> None:
    close = getattr(manager, "close", None)
    if close is not None and not inspect.iscoroutinefunction(close):
        close()
