"""``MultiQueryRetriever``: asks in several ways and joins what is found."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from sage.lib.adapt import as_query
from sage.lib.contracts import QueryLike
from sage.lib.rag.chat import ChatConfig, ChatModel
from sage.lib.rag.retriever.base import Retriever, RetrieverConfig
from sage.lib.rag.retriever.fusing import RRF_K, join_lists
from sage.lib.rag.retriever.queries import lexical_queries, read_queries
from sage.lib.types import Document, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

PROMPT = (
    "Write {count} different search queries that would find passages answering the question: other "
    "words, another angle, a part of it. Keep names, numbers and the language. One query per line, "
    "nothing else.\n\nQuestion: {question}"
)


@attrs.frozen(kw_only=True)
class MultiQueryConfig(RetrieverConfig, ChatConfig):
    """Settings: those of every retriever, those of a model (see ``ChatConfig``), and these.

    Attributes:
        model: Model that rewrites the question; without one, rules do: content words alone, names
            alone, single clauses.
        variants: Most rewritten questions.
        original_weight: What the list of the question itself counts against that of a rewritten
            one; 0 leaves it out.
        depth: Passages per list; default: four times ``top_k``, at least 20.
        rrf_k: How little the first places stand out when lists are joined.
        language: Of the questions, for the rules (ISO 639-1).
    """

    variants: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    original_weight: float = attrs.field(default=2.0, validator=attrs.validators.ge(0))
    depth: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    rrf_k: float = attrs.field(default=RRF_K, validator=attrs.validators.gt(0))
    language: str = "en"


class MultiQueryRetriever(Retriever):
    """Rewrites the question, searches for each version, and joins the lists by reciprocal rank.

    The rewritten questions stay in ``query.metadata["rewrites"]``. A reply without any usable
    question is counted in the metric ``malformed``; the question itself is then searched alone. A
    model that fails raises ``ModelError``. Scores are 0 to 1: 1 for the first of every list.

    The rules help with questions that ask several things at once. Where each question asks one
    thing, plain hybrid search is better: on Cranfield nDCG@10 .436 against .418 with rules.

    ``embed`` functions are called from several threads.

    Source: A. Rackauckas, RAG-Fusion, arXiv 2402.03367, 2024.

    Example:
        >>> stream.map(MultiQueryRetriever, {"collection_name": "docs", "model": "gpt-4o-mini"})
    """

    Config = MultiQueryConfig
    default_mode = "hybrid"
    effect = True

    _chat: ChatModel | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Open the collection, and make the client of the model.

        Raises:
            ConfigError: As the other retrievers; or no key for a server that is not local.
        """
        settings: MultiQueryConfig = self.config
        self._ctx = ctx
        if settings.model is not None:
            self._chat = ChatModel(settings, ctx)
        else:
            from sage.middleware.search.text import Analyzer  # noqa: PLC0415 - PyStemmer

            self._words = Analyzer(settings.language, stemming=False)
        super().open(ctx)

    async def execute(self, item: QueryLike) -> Retrieved:  # type: ignore[override]  # awaited
        """Find the passages of one question.

        Raises:
            ModelError: The model failed.
            ItemError: The item holds no question, or its own filter is no mapping.
        """
        query = as_query(item)
        where = self._where(query)
        rewrites = await self._rewrites(query.text)
        found = await asyncio.to_thread(self._joined, query.text, rewrites, where)
        metadata = {**query.metadata, "rewrites": rewrites}
        return Retrieved(query=attrs.evolve(query, metadata=metadata), passages=tuple(found))

    def close(self) -> None:
        """Close what was opened."""
        if self._chat is not None:
            self._chat.close()
        super().close()

    async def _rewrites(self, question: str) -> list[str]:
        settings: MultiQueryConfig = self.config
        if self._chat is None:
            content = " ".join(self._words.terms(question, query=True))
            return lexical_queries(question, content, settings.variants)
        reply = await self._chat.ask(PROMPT.format(count=settings.variants, question=question))
        found = read_queries(reply, question, settings.variants)
        if not found:
            self._ctx.count("malformed")
        return found

    def _joined(
        self, question: str, rewrites: list[str], where: Mapping[str, Any] | None
    ) -> list[Document]:
        settings: MultiQueryConfig = self.config
        depth = settings.depth or max(20, 4 * settings.top_k)
        asked = [(text, 1.0) for text in rewrites]
        if settings.original_weight > 0 or not rewrites:
            asked.insert(0, (question, settings.original_weight or 1.0))
        lists = [self._search(text, where, depth) for text, _ in asked]
        weights = [weight for _, weight in asked]
        return join_lists(lists, settings.top_k, k=settings.rrf_k, weights=weights)
