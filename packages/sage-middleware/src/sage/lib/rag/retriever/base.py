"""What the built-in retrievers share: their settings and how a question is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_document, as_query
from sage.lib.contracts import QueryLike, RetrievalFunction
from sage.lib.rag.retriever.backend import (
    MODES,
    Backend,
    above,
    documents_of,
    open_collection,
)
from sage.lib.types import Document, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


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
        where: Metadata filter, such as ``{"year": {"$gt": 2020}}``.
        index_name: Index of the collection.
        documents: Instead of a collection: a list of documents (texts, mappings or ``Document``),
            a txt, jsonl or csv file, or a directory of text files.
        ids: Ids of ``documents`` that are plain texts.
        vectors: ``(n, dim)`` vectors of ``documents``; default: made by ``embed``.
        embed: ``text -> vector`` or the name of an embedding model, for ``documents``; default:
            the default embedding model.
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

    def open(self, ctx: RuntimeContext) -> None:
        """Open the collection, or index the documents.

        Raises:
            ConfigError: The collection does not exist (says how to make it), or the documents
                cannot be read.
        """
        settings: RetrieverConfig = self.config
        if settings.collection_name is not None:
            self._backend = open_collection(
                ctx, settings.collection_name, settings.data_dir, settings.index_name
            )
            return
        from sage.lib.rag.retriever.direct import DirectBackend  # noqa: PLC0415 - NumPy

        self._backend = DirectBackend(
            self._documents(),
            modes=(self._mode,),
            vectors=settings.vectors,
            embed=None if self._mode == "bm25" else _embedder(settings.embed),
        )

    def execute(self, item: QueryLike) -> Retrieved:
        """Find the passages of one question.

        Raises:
            ItemError: The item holds no question.
        """
        assert self._backend is not None, "open() comes first"
        settings: RetrieverConfig = self.config
        query = as_query(item)
        found = self._backend.search(query.text, settings.top_k, settings.where, self._mode)
        return Retrieved(query=query, passages=above(found, settings.similarity_threshold))

    def close(self) -> None:
        """Close what was opened."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def _documents(self) -> tuple[Document, ...]:
        settings: RetrieverConfig = self.config
        if settings.ids is None:
            return documents_of(settings.documents)
        ids, texts = list(settings.ids), list(settings.documents)
        if len(ids) != len(texts):
            raise ConfigError(
                f"ids and documents must be of one length, got {len(ids)} and {len(texts)}"
            )
        return tuple(
            attrs.evolve(as_document(text), id=str(identity))
            for identity, text in zip(ids, texts, strict=True)
        )


def _embedder(given: Any) -> Any:
    if callable(given):
        return given
    if given is not None and not isinstance(given, str):
        raise ConfigError(
            f"embed must be a callable or the name of an embedding model, got {given!r}"
        )
    from sage.middleware.utils.embedding.embedding_api import (  # noqa: PLC0415 - NumPy
        apply_embedding_model,
    )

    return apply_embedding_model(given or "default").embed
