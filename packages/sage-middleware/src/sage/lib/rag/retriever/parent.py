"""``ParentDocumentRetriever``: searches passages, returns what they were cut from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from sage.common.errors import ConfigError
from sage.lib.adapt import as_document, as_query
from sage.lib.contracts import QueryLike
from sage.lib.rag.retriever.backend import documents_of
from sage.lib.rag.retriever.base import Retriever, RetrieverConfig
from sage.lib.rag.retriever.collection import CollectionHandle, open_handle
from sage.lib.types import Document, Retrieved

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

PARENT = "parent_id"
_SCORES = ("max", "sum", "mean")


@attrs.frozen(kw_only=True)
class ParentConfig(RetrieverConfig):
    """Settings: those of every retriever, for the passages that are searched, and these.

    Attributes:
        parents: Where the parents are: a list of documents, a txt, jsonl or csv file, or a
            directory, as for ``documents``.
        parent_collection: Or a collection, by name, in the same place as ``collection_name``.
        parent_key: Metadata key of a passage that holds its parent's id. With the default a
            passage's own ``parent_id`` goes before it.
        merge_threshold: Least share of a parent's passages that must be found for the parent to
            take their place, 0 to 1; below, the passages themselves are returned. 0: always.
        fetch: How many passages are searched; default: four times ``top_k``.
        score: A parent's score: ``max``, ``sum`` or ``mean`` of those of its passages found.
    """

    parents: Any = None
    parent_collection: str | None = None
    parent_key: str = PARENT
    merge_threshold: float = attrs.field(
        default=0.0,
        validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1)),
    )
    fetch: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    score: str = attrs.field(default="max", validator=attrs.validators.in_(_SCORES))


class ParentDocumentRetriever(Retriever):
    """Small passages are found more exactly, large ones are understood better: this gives both.

    Passages are searched; a parent takes the place of its passages when enough of them were found
    (``merge_threshold``), and its ``metadata["found"]`` has their ids. Passages without a parent,
    or with one that is not there, are returned as they are; the latter are counted in the step's
    metric ``orphans``.

    Example:
        >>> stream.map(ParentDocumentRetriever, {
        ...     "collection_name": "passages", "parent_collection": "documents",
        ...     "merge_threshold": 0.5})
    """

    Config = ParentConfig
    default_mode = "hybrid"

    def __init__(self, config: Any = None, **overrides: Any) -> None:
        super().__init__(config, **overrides)
        settings: ParentConfig = self.config
        if (settings.parents is None) == (settings.parent_collection is None):
            raise ConfigError(
                "ParentDocumentRetriever needs parents or parent_collection, and exactly one"
            )
        self._handles: list[CollectionHandle] = []

    def open(self, ctx: RuntimeContext) -> None:
        """Open the passages and the parents.

        Raises:
            ConfigError: A collection does not exist, or the documents cannot be read.
        """
        super().open(ctx)
        settings: ParentConfig = self.config
        self._ctx = ctx
        self._known: dict[str, Document] = {}
        self._stored: CollectionHandle | None = None
        self._passages: CollectionHandle | None = None
        if settings.parent_collection is not None:
            self._stored = open_handle(ctx, settings.parent_collection, settings.data_dir)
            self._handles.append(self._stored)
        else:
            self._known = {d.id: d for d in documents_of(settings.parents)}
        self._sizes: dict[str, int] = {}
        if settings.merge_threshold > 0:
            if settings.collection_name is not None:
                self._passages = open_handle(ctx, settings.collection_name, settings.data_dir)
                self._handles.append(self._passages)
            else:
                for document in self._documents:
                    parent = self._parent_of(document)
                    if parent is not None:
                        self._sizes[parent] = self._sizes.get(parent, 0) + 1

    def execute(self, item: QueryLike) -> Retrieved:
        """Find the parents for one question.

        Raises:
            ItemError: The item holds no question, or its own filter is no mapping.
        """
        settings: ParentConfig = self.config
        query = as_query(item)
        fetch = settings.fetch or 4 * settings.top_k
        found = self._search(query.text, self._where(query), fetch)
        children: dict[str, list[Document]] = {}
        for passage in found:
            parent = self._parent_of(passage)
            if parent is not None:
                children.setdefault(parent, []).append(passage)
        merged = {p for p, some in children.items() if self._enough(p, some)}
        parents = self._parents(sorted(merged))
        self._ctx.count("orphans", sum(len(children[p]) for p in merged - parents.keys()))
        results = [d for d in found if self._parent_of(d) not in parents]
        results += [self._merged(parent, children[name]) for name, parent in parents.items()]
        results.sort(key=lambda d: -(d.score or 0.0))
        return Retrieved(query=query, passages=tuple(results[: settings.top_k]))

    def close(self) -> None:
        """Close what was opened."""
        for handle in self._handles:
            handle.close()
        self._handles.clear()
        super().close()

    def _parent_of(self, passage: Document) -> str | None:
        key = self.config.parent_key
        if key == PARENT and passage.parent_id is not None:
            return passage.parent_id
        named = passage.metadata.get(key)
        return None if named is None else str(named)

    def _enough(self, parent: str, found: Sequence[Document]) -> bool:
        least = self.config.merge_threshold
        if least <= 0:
            return True
        if self._passages is not None:
            key = self.config.parent_key
            # A number stands in the metadata as a number.
            names = list({parent, *(d.metadata[key] for d in found if key in d.metadata)})
            where: Mapping[str, Any] = {key: {"$in": names}}
            total = int(self._passages.call("count", where))
        else:
            total = self._sizes.get(parent, 0)
        return total > 0 and len(found) / total >= least

    def _parents(self, names: Sequence[str]) -> dict[str, Document]:
        if self._stored is None:
            return {name: self._known[name] for name in names if name in self._known}
        rows = self._stored.call("get", list(names)) if names else []
        return {d.id: d for d in map(as_document, rows)}

    def _merged(self, parent: Document, children: Sequence[Document]) -> Document:
        scores = [d.score or 0.0 for d in children]
        score = max(scores) if self.config.score == "max" else sum(scores)
        if self.config.score == "mean":
            score /= len(scores)
        metadata = {**parent.metadata, "found": [d.id for d in children]}
        return attrs.evolve(parent, score=score, metadata=metadata)
