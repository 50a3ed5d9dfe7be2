"""Where passages are searched: a memory collection, its service, or documents given directly.

A backend answers ``search(query, topk, where, mode)`` with ``Document`` values, best first.
Predecessor: ``sage.middleware.services.memory``; successor: the retrievers beside this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_document, as_documents
from sage.lib.io.source.records import SUFFIXES, read_records
from sage.lib.rag.retriever.collection import open_handle
from sage.lib.rag.retriever.fusing import RRF_K, Fusing, join_documents
from sage.lib.types import Document

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

MODES = ("dense", "bm25", "hybrid")


class Backend(Protocol):
    """What a retriever searches."""

    def search(
        self,
        query: str,
        topk: int,
        where: Mapping[str, Any] | None,
        mode: str,
        vector: Any = None,
    ) -> list[Document]:
        """The best ``topk`` passages with scores; ``vector`` replaces that of ``query``."""

    def close(self) -> None:
        """Release what the backend opened itself."""


class CollectionBackend:
    """A collection, or a function with the signature of its ``retrieve``.

    Args:
        retrieve: ``retrieve(query, topk=, where=, index_name=, mode=)`` → dicts with ``id, text,
            metadata, score``.
        index_name: Index of the collection; default: its own.
        close: Called by ``close``.
        fusing: How hybrid search joins its two rankings; default: as the collection does.
        facts: What ``list_collections`` says of the collection.
    """

    def __init__(
        self,
        retrieve: Callable[..., Any],
        *,
        index_name: str | None = None,
        close: Callable[[], object] | None = None,
        fusing: Fusing | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.facts = facts or {}
        self._retrieve = retrieve
        self._index = index_name
        self._close = close
        self._fusing = fusing

    def search(
        self,
        query: str,
        topk: int,
        where: Mapping[str, Any] | None,
        mode: str,
        vector: Any = None,
    ) -> list[Document]:
        """Ask the collection."""
        options: dict[str, Any] = {}
        if where is not None:
            options["where"] = where
        if self._index is not None:
            options["index_name"] = self._index
        if vector is not None and mode != "bm25":
            options["query_vector"] = vector
        if mode == "hybrid" and self._fusing is not None:
            return self._hybrid(query, topk, options, self._fusing)
        return self._rows(query, topk=topk, mode=mode, **options)

    def _hybrid(
        self, query: str, topk: int, options: dict[str, Any], fusing: Fusing
    ) -> list[Document]:
        depth = max(fusing.depth, topk)
        if fusing.method == "rrf" and fusing.rrf_k != RRF_K:
            # Collections have no setting for k: their two rankings are joined here.
            dense = self._rows(query, topk=depth, mode="dense", **options)
            options.pop("query_vector", None)
            sparse = self._rows(query, topk=depth, mode="bm25", **options)
            return join_documents(dense, sparse, fusing, topk)
        return self._rows(
            query,
            topk=topk,
            mode="hybrid",
            fusion=fusing.method,
            weight=fusing.weight,
            fetch=depth,
            **options,
        )

    def _rows(self, query: str, **options: Any) -> list[Document]:
        return [placed(as_document(row)) for row in self._retrieve(query, **options)]

    def close(self) -> None:
        """Close the collection if it was opened here."""
        if self._close is not None:
            self._close()


def open_collection(
    ctx: RuntimeContext,
    name: str,
    data_dir: str | None,
    index_name: str | None,
    fusing: Fusing | None = None,
) -> CollectionBackend:
    """The collection ``name``: through the job's memory service when there is one, else directly.

    Raises:
        ConfigError: It does not exist; says how to make it.
    """
    handle = open_handle(ctx, name, data_dir)

    def retrieve(query: str, **options: Any) -> Any:
        return handle.call("retrieve", query, **options)

    return CollectionBackend(
        retrieve, index_name=index_name, close=handle.close, fusing=fusing, facts=handle.facts
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


def placed(passage: Document) -> Document:
    """The passage with the place in its document, where its metadata say it.

    A collection keeps texts and metadata: ``CollectionSink`` puts ``parent_id``, ``start`` and
    ``end`` among these.
    """
    known = passage.metadata
    parent, start, end = known.get("parent_id"), known.get("start"), known.get("end")
    if not isinstance(parent, str) or passage.parent_id is not None:
        return passage
    if not isinstance(start, int) or not isinstance(end, int):
        start = end = None
    return attrs.evolve(passage, parent_id=parent, start=start, end=end)


def above(documents: Sequence[Document], threshold: float | None) -> tuple[Document, ...]:
    """Those whose score is at least ``threshold``."""
    if threshold is None:
        return tuple(documents)
    return tuple(d for d in documents if d.score is not None and d.score >= threshold)
