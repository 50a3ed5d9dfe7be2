"""``CollectionSink``: writes documents into a vector collection, each once by its id."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_document
from sage.lib.contracts import SinkFunction
from sage.lib.errors import ItemError
from sage.lib.io.sink.natural_batches import NaturalBatches
from sage.lib.io.source.changes import FileChange
from sage.lib.types import Document

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext


class CollectionSink(SinkFunction[Any]):
    """Embeds documents and writes them by their ids; writing one again changes nothing.

    An item is a ``Document`` (or what ``as_document`` takes), or a list of them that belongs
    together, such as the passages of a file. With ``replace_by`` such a list replaces what the
    collection had of its source: everything with the same value under that metadata key. A
    ``FileChange`` that says ``removed`` deletes what has its id there.

    The new passages are committed before the old ones are deleted, so a search always finds one of
    both; a run that was killed between the two leaves both, until the file is written again.
    Items are written in batches that form by themselves while the batch before is being embedded;
    the step option ``concurrency`` bounds how many items wait.

    In a job with checkpoints, what was written after the checkpoint that the job goes on from is
    taken back first, also what it replaced or deleted.

    A passage keeps its place: ``start``, ``end`` and ``parent_id`` are among its metadata, and
    retrievers give them back.

    Example:
        >>> stream.sink(CollectionSink, {"collection_name": "docs"}, concurrency=64)
    """

    effect = True

    @attrs.frozen(kw_only=True)
    class Config:
        """Settings.

        Attributes:
            collection_name: The collection; made if it is not there.
            data_dir: Directory of the memory manager; default: SAGE's data directory.
            embedding: Embedding model with its ``method``; of a collection that is there already
                it must be the same; default: that of the collection, else the default model.
            replace_by: Metadata key that names the source of a document.
            description: Of a collection that is made.
            batch_size: Most documents of a transaction, unless one item has more.
        """

        collection_name: str
        data_dir: str | None = None
        embedding: dict[str, Any] = attrs.field(factory=dict)
        replace_by: str | None = None
        description: str = ""
        batch_size: int = attrs.field(default=256, validator=attrs.validators.ge(1))

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        self._manager: Any = None
        self._collection: Any = None
        self._journal: Any = None
        self._batches: NaturalBatches | None = None

    def open(self, ctx: RuntimeContext) -> None:
        """Open the collection, or make it.

        Raises:
            ConfigError: It is no vector collection.
            EmbeddingMismatchError: It was made with another embedding model.
        """
        from sage.middleware.services.memory.journal import Journal  # noqa: PLC0415 - NumPy
        from sage.middleware.services.memory.memory_manager import (  # noqa: PLC0415 - NumPy
            MemoryManager,
        )
        from sage.middleware.utils.embedding import apply_embedding_model  # noqa: PLC0415

        settings = self.config
        given = dict(settings.embedding)
        self._manager = MemoryManager(settings.data_dir)
        try:
            there = self._manager.has_collection(settings.collection_name)
            model = None
            if given or not there:
                model = apply_embedding_model(given.pop("method", "default"), **given)
            if there:
                self._collection = self._manager.connect_collection(
                    settings.collection_name, embedding_model=model
                )
            else:
                self._collection = self._manager.create_collection(
                    settings.collection_name,
                    description=settings.description,
                    embedding_model=model,
                )
            if not hasattr(self._collection, "upsert"):
                raise ConfigError(
                    f"CollectionSink writes to VDB collections; {settings.collection_name!r} in "
                    f"{self._manager.data_dir!r} is of another kind"
                )
        except BaseException:
            self._manager.close()
            raise
        self._journal = Journal(self._manager)
        self._batches = NaturalBatches(self._send, size=settings.batch_size)

    async def execute(self, item: Any) -> None:
        """Write one item; returns when it is committed.

        Raises:
            ItemError: The item has no text, or has not the one source that ``replace_by`` asks for.
            ModelError: The embedding model could not be reached or refused.
        """
        assert self._batches is not None, "open() comes before execute()"
        if isinstance(item, FileChange):
            if item.change != "removed" or self.config.replace_by is None:
                raise ItemError(
                    "CollectionSink: of a FileChange only its removal can be written, with "
                    "replace_by; put a parser and a splitter before",
                    item=item.id,
                )
            await self._batches.deliver((item.id, ()))
            return
        documents = tuple(
            as_document(each) for each in (item if isinstance(item, list | tuple) else (item,))
        )
        await self._batches.deliver((self._source(documents), documents))

    def roll_back(self, run: str, checkpoint: int) -> None:
        """Take back what a run has written since a checkpoint; before the step opens."""
        from sage.middleware.services.memory.journal import Journal  # noqa: PLC0415 - NumPy
        from sage.middleware.services.memory.memory_manager import (  # noqa: PLC0415 - NumPy
            MemoryManager,
        )
        from sage.middleware.services.memory.rollback import roll_back  # noqa: PLC0415 - NumPy

        with MemoryManager(self.config.data_dir) as manager:
            roll_back(manager, Journal(manager), run, checkpoint)

    def close(self) -> None:
        """Close the collection."""
        if self._manager is not None:
            self._manager.close()
            self._manager = self._collection = None

    def _source(self, documents: Sequence[Document]) -> str | None:
        key = self.config.replace_by
        if key is None or not documents:
            return None
        found = {document.metadata.get(key) for document in documents}
        value = found.pop()
        if found or not isinstance(value, str):
            raise ItemError(
                f"CollectionSink: with replace_by {key!r}, the documents of an item must share one "
                f"text under that metadata key, got {value!r} and {sorted(map(str, found))}",
                item=documents[0].id,
            )
        return value

    async def _send(
        self, items: Sequence[tuple[str | None, Sequence[Document]]]
    ) -> Sequence[BaseException | None]:
        await asyncio.to_thread(self._write, items)
        return [None] * len(items)

    def _write(self, items: Sequence[tuple[str | None, Sequence[Document]]]) -> None:
        # The last one wins where an id comes twice in a batch.
        new = {document.id: document for _, documents in items for document in documents}
        if new:
            self._note({document.id: document.text for document in new.values()})
            self._collection.upsert(
                [document.text for document in new.values()],
                [_metadata(document) for document in new.values()],
                list(new),
            )
            self.ctx.count("written", len(new))
        for source, documents in items:
            if source is None:
                continue
            kept = {document.id for document in documents}
            rows = self._collection.scan({self.config.replace_by: source})
            old = [row["id"] for row in rows if row["id"] not in kept]
            if old:
                self._note(dict.fromkeys(old))
                self.ctx.count("deleted", self._collection.delete(old, missing_ok=True))

    def _note(self, after: dict[str, str | None]) -> None:
        self._journal.rows(self._collection, after, self.ctx)


def _metadata(document: Document) -> dict[str, Any]:
    place = {name: getattr(document, name) for name in ("parent_id", "start", "end")}
    return {
        **document.metadata,
        **{name: value for name, value in place.items() if value is not None},
    }
