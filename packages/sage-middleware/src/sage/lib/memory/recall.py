"""``MemoryRecall``: what is remembered joins the passages of a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from sage.lib.adapt import as_document, as_retrieved
from sage.lib.contracts import QueryLike, RetrievalFunction
from sage.lib.memory.keys import SERVICE, name_in, service_of
from sage.lib.types import Document, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext, ServiceProxy


class MemoryRecall(RetrievalFunction):
    """Adds the facts of long-term memory that answer the question to its passages.

    A memory is a passage whose metadata have ``memory: True`` and where it comes from. The session
    cannot write back what it was shown here.

    Example:
        >>> stream.map(MemoryRecall, {"top_k": 3, "scope_field": "user"})
    """

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            top_k: Most memories.
            threshold: Least score of a memory.
            mode: ``dense``, ``bm25`` or ``hybrid``; default: that of the service.
            where: Metadata filter.
            position: Whether memories come ``before`` or ``after`` the passages there are.
            session_field: Metadata field that names the session; default: the item's key.
            session: One session for all items.
            scope_field: Metadata field that says whose memory is searched; an item without it
                recalls nothing.
            scope: One scope for all items.
            service: Name of the service.
        """

        top_k: int = attrs.field(default=5, validator=attrs.validators.ge(1))
        threshold: float | None = None
        mode: Literal["dense", "bm25", "hybrid"] | None = None
        where: dict[str, Any] | None = None
        position: Literal["before", "after"] = "before"
        session_field: str | None = "session"
        session: str | None = None
        scope_field: str | None = None
        scope: str | None = None
        service: str = SERVICE

    _memory: ServiceProxy

    def open(self, ctx: RuntimeContext) -> None:
        """Find the service.

        Raises:
            ConfigError: There is none.
        """
        self._memory = service_of(ctx, self.config.service)

    def execute(self, item: QueryLike) -> Retrieved:
        """Recall for one question.

        Raises:
            ItemError: The item holds no question.
        """
        settings = self.config
        retrieved = as_retrieved(item)
        scope = name_in(item, self.ctx, settings.scope_field, settings.scope)
        if scope is None and settings.scope_field is not None:
            return retrieved  # nobody's memory must not become everybody's
        hits = self._memory.recall(
            retrieved.query.text,
            settings.top_k,
            session=name_in(item, self.ctx, settings.session_field, settings.session),
            scope=scope,
            where=settings.where,
            threshold=settings.threshold,
            mode=settings.mode,
        )
        there = {passage.id for passage in retrieved.passages}
        memories = tuple(_passage(hit) for hit in hits if hit["id"] not in there)
        self.ctx.count("memories", len(memories))
        if settings.position == "before":
            return attrs.evolve(retrieved, passages=(*memories, *retrieved.passages))
        return attrs.evolve(retrieved, passages=(*retrieved.passages, *memories))


def _passage(hit: dict[str, Any]) -> Document:
    document = as_document(hit)
    shown = {k.removeprefix("_"): v for k, v in document.metadata.items() if v is not None}
    shown.pop("hash", None)
    return attrs.evolve(document, metadata={**shown, "memory": True})
