"""What the built-in retrievers share: their settings and how a question is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_document, as_query
from sage.lib.contracts import QueryLike, RetrievalFunction
from sage.lib.errors import ItemError
from sage.lib.rag.retriever.backend import (
    MODES,
    Backend,
    above,
    documents_of,
    open_collection,
)
from sage.lib.types import Document, Query, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext
    from sage.lib.rag.retriever.fusing import Fusing


@attrs.frozen(kw_only=True)
class RetrieverConfig:
    """Settings of the retrievers.

    Attributes:
        collection_name: Collection of the memory service or of ``data_dir``.
        top_k: Most passages.
        similarity_threshold: Least score of a passage: the cosine in ``[-1, 1]`` for dense search,
            the BM25 score (unbounded) for bm25, the fused score in ``[0, 1]`` for hybrid.
        data_dir: Directory of the memory manager; default: the registered service
            ``memory_service``, else SAGE's data directory.
        mode: ``dense``, ``bm25`` or ``hybrid``; default: that of the class.
        where: Metadata filter, such as ``{"year": {"$gt": 2020}}``; applied before the search, so
            that ``top_k`` passages come whenever that many match.
        where_key: Key of the question's metadata that may hold a further filter for this question
            alone; both must hold, so a question can only narrow ``where``. ``None``: not read.
        index_name: Index of the collection.
        documents: Instead of a collection: a list of documents (texts, mappings or ``Document``),
            a txt, jsonl or csv file, or a directory of text files.
        ids: Ids of ``documents`` that are plain texts.
        vectors: ``(n, dim)`` vectors of ``documents``; default: made by ``embed``.
        embed: ``text -> vector``, an ``EmbeddingModel`` or the name of one, for ``documents``;
            default: the default embedding model.
    """

    collection_name: str | None = None
    top_k: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    similarity_threshold: float | None = None
    data_dir: str | None = None
    mode: str | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.in_(MODES)),
    )
    where: dict[str, Any] | None = None
    where_key: str | None = "where"
    index_name: str | None = None
    documents: Any = None
    ids: Any = None
    vectors: Any = None
    embed: Any = None


class Retriever(RetrievalFunction):
    """Base of the built-in retrievers; each sets ``default_mode``."""

    Config = RetrieverConfig
    default_mode: ClassVar[str] = "dense"

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings: RetrieverConfig = self.config
        name = type(self).__name__
        if (settings.collection_name is None) == (settings.documents is None):
            raise ConfigError(f"{name} needs collection_name or documents, and exactly one of them")
        self._mode = settings.mode or self.default_mode
        self._backend: Backend | None = None
        self._documents: tuple[Document, ...] = ()

    def open(self, ctx: RuntimeContext) -> None:
        """Open the collection, or index the documents.

        Raises:
            ConfigError: The collection does not exist (says how to make it), or the documents
                cannot be read.
        """
        settings: RetrieverConfig = self.config
        if settings.collection_name is not None:
            self._backend = open_collection(
                ctx,
                settings.collection_name,
                settings.data_dir,
                settings.index_name,
                self._fusing(),
            )
            return
        from sage.lib.rag.retriever.direct import DirectBackend  # noqa: PLC0415 - NumPy
        from sage.lib.rag.retriever.embedding import Embedding  # noqa: PLC0415 - NumPy

        self._documents = given_documents(settings.documents, settings.ids)
        self._backend = DirectBackend(
            self._documents,
            modes=(self._mode,),
            vectors=settings.vectors,
            embed=None if self._mode == "bm25" else Embedding(settings.embed),
            fusing=self._fusing(),
        )

    def execute(self, item: QueryLike) -> Retrieved:
        """Find the passages of one question.

        Raises:
            ItemError: The item holds no question, or its own filter is no mapping.
        """
        query = as_query(item)
        return Retrieved(query=query, passages=self._search(query.text, self._where(query)))

    def close(self) -> None:
        """Close what was opened."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def _fusing(self) -> Fusing | None:
        return None

    def _search(
        self, text: str, where: Mapping[str, Any] | None, top_k: int | None = None
    ) -> tuple[Document, ...]:
        assert self._backend is not None, "open() comes first"
        settings: RetrieverConfig = self.config
        found = self._backend.search(text, top_k or settings.top_k, where, self._mode)
        return above(found, settings.similarity_threshold)

    def _where(self, query: Query) -> Mapping[str, Any] | None:
        settings: RetrieverConfig = self.config
        return combined_filter(settings.where, query, settings.where_key)


def combined_filter(
    where: Mapping[str, Any] | None, query: Query, key: str | None
) -> Mapping[str, Any] | None:
    """The filter of the settings and that of the question: both must hold.

    Raises:
        ItemError: The question's is no mapping.
    """
    own = None if key is None else query.metadata.get(key)
    if own is None:
        return where
    if not isinstance(own, Mapping):
        raise ItemError(
            f"the metadata key {key!r} of a question holds its filter and must be a mapping such "
            f"as {{'year': 2020}}, got {own!r}; set where_key to read another key, or None",
            item=query.id,
        )
    if not own:
        return where
    return own if where is None else {"$and": [where, own]}


def given_documents(documents: Any, ids: Any) -> tuple[Document, ...]:
    """The documents of a configuration, with ``ids`` where these are given.

    Raises:
        ConfigError: They cannot be read, or their numbers differ.
    """
    if ids is None:
        return documents_of(documents)
    names, texts = list(ids), list(documents)
    if len(names) != len(texts):
        raise ConfigError(
            f"ids and documents must be of one length, got {len(names)} and {len(texts)}"
        )
    return tuple(
        attrs.evolve(as_document(text), id=str(identity))
        for identity, text in zip(names, texts, strict=True)
    )
