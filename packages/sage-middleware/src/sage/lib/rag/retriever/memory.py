"""``MemoryRetriever``: passages from the job's memory service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_documents, as_query
from sage.lib.contracts import QueryLike, RetrievalFunction
from sage.lib.rag.retriever.backend import MODES, above
from sage.lib.rag.retriever.base import combined_filter
from sage.lib.rag.retriever.collection import SERVICE
from sage.lib.types import Query, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class MemoryRetriever(RetrievalFunction):
    """Asks the memory service: long-term memory, or several collections at once.

    ``recall`` finds facts of long-term memory that hold now, of one scope where one is given;
    ``search`` searches collections together (all of them when none are named), and each passage's
    metadata says its ``collection``. The service must be registered (``env.set_memory()``).

    Example:
        >>> stream.map(MemoryRetriever, {"tier": "recall", "scope": "user-7", "top_k": 5})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            tier: ``recall`` (long-term memory) or ``search`` (collections).
            collections: Collections for ``search``; default: all but long-term memory.
            scope: Scope for ``recall``; default: any.
            scope_key: Key of the question's metadata that may hold its scope, which then takes the
                place of ``scope``; ``None``: not read. Set it only where the source of the
                questions may choose the scope.
            session_key: Key of the question's metadata that names its session, so that the session
                does not store again what it was shown.
            top_k: Most passages.
            mode: ``dense``, ``bm25`` or ``hybrid``; default: the service's.
            where, where_key: As for the other retrievers.
            similarity_threshold: Least score.
            service: Name of the service.
        """

        tier: str = attrs.field(
            default="recall", validator=attrs.validators.in_(("recall", "search"))
        )
        collections: list[str] | None = None
        scope: str | None = None
        scope_key: str | None = None
        session_key: str | None = "session"
        top_k: int = attrs.field(default=5, validator=attrs.validators.ge(1))
        mode: str | None = attrs.field(
            default=None,
            validator=attrs.validators.optional(attrs.validators.in_(MODES)),
        )
        where: dict[str, Any] | None = None
        where_key: str | None = "where"
        similarity_threshold: float | None = None
        service: str = SERVICE

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings = self.config
        if settings.tier == "recall" and settings.collections is not None:
            raise ConfigError("collections are for tier 'search'; tier 'recall' has its own")
        if settings.tier == "search" and (settings.scope or settings.scope_key):
            raise ConfigError("scope and scope_key are for tier 'recall'")

    def open(self, ctx: RuntimeContext) -> None:
        """Find the service.

        Raises:
            ConfigError: It is not registered.
        """
        name = self.config.service
        if not ctx.has_service(name):
            raise ConfigError(
                f"MemoryRetriever needs the service {name!r}, which is not registered; call "
                "env.set_memory() before the pipeline is submitted"
            )
        self._memory = ctx.service(name)

    def execute(self, item: QueryLike) -> Retrieved:
        """Find the passages of one question.

        Raises:
            ItemError: The item holds no question, or its own filter is no mapping.
        """
        settings = self.config
        query = as_query(item)
        options: dict[str, Any] = {"topk": settings.top_k}
        if settings.mode is not None:
            options["mode"] = settings.mode
        where = combined_filter(settings.where, query, settings.where_key)
        if where is not None:
            options["where"] = where
        if settings.tier == "search":
            hits = self._memory.search(query.text, settings.collections, **options)
            hits = [_with_collection(hit) for hit in hits]
        else:
            hits = self._memory.recall(query.text, **self._of_whom(query), **options)
        found = above(as_documents(hits), settings.similarity_threshold)
        return Retrieved(query=query, passages=found)

    def _of_whom(self, query: Query) -> dict[str, Any]:
        settings = self.config
        scope = settings.scope
        if settings.scope_key is not None:
            scope = query.metadata.get(settings.scope_key, scope)
        session = None
        if settings.session_key is not None:
            session = query.metadata.get(settings.session_key)
        return {"scope": scope, "session": session}


def _with_collection(hit: dict[str, Any]) -> dict[str, Any]:
    metadata = {**(hit.get("metadata") or {}), "collection": hit["collection"]}
    return {**hit, "metadata": metadata}
