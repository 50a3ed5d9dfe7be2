"""``ChromaRetriever``: passages from chromadb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.rag.retriever.backend import CollectionBackend
from sage.lib.rag.retriever.base import Retriever, RetrieverConfig

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


@attrs.frozen(kw_only=True)
class ChromaConfig(RetrieverConfig):
    """Settings: those of every retriever, and where a database of chromadb's own is.

    Attributes:
        path: Directory of a chromadb database that another program made.
        host, port, ssl: Or a chromadb server. Without ``path`` and ``host``, ``collection_name`` is
            a collection of SAGE's memory made with ``backend="chroma"``.
        embed: For ``path`` and ``host``: the model the vectors were made with (``text -> vector``,
            an ``EmbeddingModel`` or the name of one); required there, because the database does not
            say in a way that can be trusted.
    """

    path: str | None = None
    host: str | None = None
    port: int = 8000
    ssl: bool = False


class ChromaRetriever(Retriever):
    """Finds passages in a chromadb collection: one of SAGE's memory, or any other.

    Collections of SAGE's memory search in every mode. A database that another program made is
    searched by vectors, with its own filters (``where``, the same operators for plain values);
    nothing in it is changed. Scores: the cosine, the inner product, or minus the squared distance,
    as the collection's space says.

    Example:
        >>> stream.map(ChromaRetriever, {
        ...     "path": "/data/chroma", "collection_name": "docs", "embed": "minilm"})
    """

    Config = ChromaConfig

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings: ChromaConfig = self.config
        if settings.collection_name is None:
            raise ConfigError("ChromaRetriever searches a collection: give collection_name")
        if settings.path is not None and settings.host is not None:
            raise ConfigError("ChromaRetriever takes path or host, not both")
        self._foreign = settings.path is not None or settings.host is not None
        if not self._foreign:
            return
        if settings.embed is None:
            raise ConfigError(
                "ChromaRetriever needs embed, the model that made the vectors of the database: a "
                "function, an EmbeddingModel or a name such as 'minilm'"
            )
        if self._mode != "dense":
            raise ConfigError(
                f"mode {self._mode!r} needs a collection of SAGE's memory; a database of another "
                "program is searched by vectors only (mode 'dense')"
            )

    def open(self, ctx: RuntimeContext) -> None:
        """Open the collection.

        Raises:
            MissingExtraError: chromadb is not installed.
            ConfigError: The collection does not exist, or is not chromadb's.
            MemoryStoreError: The server does not answer.
        """
        settings: ChromaConfig = self.config
        if self._foreign:
            from sage.lib.rag.retriever.chroma_backend import ChromaBackend  # noqa: PLC0415 - NumPy

            server = None
            if settings.host is not None:
                server = {"host": settings.host, "port": settings.port, "ssl": settings.ssl}
            assert settings.collection_name is not None
            self._backend = ChromaBackend(
                settings.collection_name, settings.path, server, settings.embed
            )
            return
        super().open(ctx)
        assert isinstance(self._backend, CollectionBackend)
        kind = self._backend.facts.get("backend")
        if kind != "chroma":
            self.close()
            raise ConfigError(
                f"the collection {settings.collection_name!r} has the back end {kind!r}; make one "
                "with create_collection(name, backend='chroma'), or use DenseRetriever"
            )
