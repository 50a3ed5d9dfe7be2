"""``HyDERetriever``: searches with a passage that a model imagines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_query
from sage.lib.contracts import QueryLike
from sage.lib.rag.chat import ChatConfig, ChatModel, together
from sage.lib.rag.retriever.backend import above
from sage.lib.rag.retriever.base import Retriever, RetrieverConfig
from sage.lib.rag.retriever.fusing import join_lists
from sage.lib.types import Document, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

PROMPT = (
    "Write a short passage, as it might stand in {source}, that answers the question. Write it in "
    "the language of the question, without an introduction.\n\nQuestion: {question}"
)


@attrs.frozen(kw_only=True)
class HyDEConfig(RetrieverConfig, ChatConfig):
    """Settings: those of every retriever, those of the model (``model`` is required), and these.

    Attributes:
        passages: How many passages to imagine; more than one needs a ``temperature`` above 0.
        source: What the passages are like, for the prompt, such as "a scientific article".
        include_question: Search with the question too.
        combine: ``mean`` (one search, with the mean of all vectors), ``lists`` (a search each, the
            lists joined by reciprocal rank) or ``auto``: ``mean`` where there is an embedding
            model (``documents``, or ``embed`` given), else ``lists``.
        embed: Also for collections: the model the collection was built with; needed by ``mean``.
        depth: Passages per list, for ``lists``; default: four times ``top_k``, at least 20.
    """

    passages: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    source: str = "an encyclopedia"
    include_question: bool = True
    combine: str = attrs.field(
        default="auto", validator=attrs.validators.in_(("auto", "mean", "lists"))
    )
    depth: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )


class HyDERetriever(Retriever):
    """Has a model write what an answer might look like, and searches for passages like that.

    The imagined passage may be wrong: only its vector (or words) is used, and it never reaches the
    answer; it stays in ``query.metadata["hypothetical"]``. In mode ``hybrid`` the lexical side of
    ``mean`` searches for the question. A model that fails raises ``ModelError``.

    ``embed`` functions are called from several threads.

    Source: L. Gao et al., Precise Zero-Shot Dense Retrieval without Relevance Labels, ACL 2023.

    Example:
        >>> stream.map(HyDERetriever, {"collection_name": "docs", "model": "gpt-4o-mini"})
    """

    Config = HyDEConfig
    effect = True

    _embedding: Any = None
    _own: Any = None

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings: HyDEConfig = self.config
        if not settings.model:
            raise ConfigError("HyDERetriever needs model, the name of the model to ask")
        if settings.passages > 1 and settings.temperature == 0:
            raise ConfigError(
                f"passages is {settings.passages}, but with temperature 0 they would all be the "
                "same; set temperature, for example to 0.7"
            )
        known = settings.embed is not None or settings.documents is not None
        possible = known and self._mode != "bm25"
        if settings.combine == "mean" and not possible:
            raise ConfigError(
                "combine 'mean' needs vectors: mode 'dense' or 'hybrid', and for a collection "
                "embed, the model it was built with"
            )
        self._mean = settings.combine != "lists" and possible

    def open(self, ctx: RuntimeContext) -> None:
        """Open the collection and make the client of the model.

        Raises:
            ConfigError: As the other retrievers; or no key for a server that is not local.
        """
        self._chat = ChatModel(self.config, ctx)
        super().open(ctx)
        if self._mean:
            from sage.lib.rag.retriever.embedding import Embedding  # noqa: PLC0415 - NumPy

            # Documents given directly have loaded the model already.
            shared = getattr(self._backend, "embedding", None)
            self._own = None if shared is not None else Embedding(self.config.embed)
            self._embedding = shared or self._own

    async def execute(self, item: QueryLike) -> Retrieved:  # type: ignore[override]  # awaited
        """Find the passages of one question.

        Raises:
            ModelError: The model failed.
            ItemError: The item holds no question, or its own filter is no mapping.
        """
        settings: HyDEConfig = self.config
        query = as_query(item)
        where = self._where(query)
        prompt = PROMPT.format(source=settings.source, question=query.text)
        imagined = await together([self._chat.ask(prompt) for _ in range(settings.passages)])
        search = self._by_mean if self._mean else self._by_lists
        found = await asyncio.to_thread(search, query.text, imagined, where)
        metadata = {**query.metadata, "hypothetical": imagined}
        return Retrieved(query=attrs.evolve(query, metadata=metadata), passages=tuple(found))

    def close(self) -> None:
        """Close what was opened."""
        self._chat.close()
        if self._own is not None:
            self._own.close()
        self._own = self._embedding = None
        super().close()

    def _by_mean(
        self, question: str, imagined: list[str], where: Mapping[str, Any] | None
    ) -> tuple[Document, ...]:
        import numpy as np  # noqa: PLC0415 - not before a job runs

        assert self._backend is not None
        settings: HyDEConfig = self.config
        vectors = list(self._embedding.documents(imagined))
        if settings.include_question:
            vectors.append(self._embedding.query(question))
        # Long vectors would outweigh short ones: what is averaged are directions.
        unit = [v / max(float(np.linalg.norm(v)), 1e-12) for v in vectors]
        mean = np.mean(unit, axis=0, dtype=np.float32)
        found = self._backend.search(question, settings.top_k, where, self._mode, mean)
        return above(found, settings.similarity_threshold)

    def _by_lists(
        self, question: str, imagined: list[str], where: Mapping[str, Any] | None
    ) -> list[Document]:
        settings: HyDEConfig = self.config
        depth = settings.depth or max(20, 4 * settings.top_k)
        texts = [question, *imagined] if settings.include_question else imagined
        return join_lists([self._search(t, where, depth) for t in texts], settings.top_k)
