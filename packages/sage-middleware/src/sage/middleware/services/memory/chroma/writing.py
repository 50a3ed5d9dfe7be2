"""Changes to the rows of a chromadb collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sage.middleware.services.memory.chroma.indexing import ChromaIndexing
from sage.middleware.services.memory.chroma.translate import (
    from_chroma,
    to_chroma,
)
from sage.middleware.services.memory.errors import (
    DuplicateIdError,
    InvalidInputError,
    MemoryStoreError,
)
from sage.middleware.services.memory.vdb.filters import Where, parse
from sage.middleware.services.memory.vdb.metrics import (
    FloatArray,
    check_vectors,
)
from sage.middleware.services.memory.vdb.rows import (
    Batch,
    Metadata,
    check_changes,
    check_ids,
    new_batch,
    shown,
    to_json,
)
from sage.middleware.services.memory.vdb.single_row import SingleRow
from sage.middleware.services.memory.vdb.store import missing_rows

_PAGE = 1000


class ChromaWriting(SingleRow, ChromaIndexing):
    """Insert, upsert, update, delete."""

    def insert_many(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Metadata | None] | None = None,
        ids: Iterable[str] | None = None,
        *,
        vectors: Any = None,
    ) -> list[str]:
        """Add rows; as ``VDBMemoryCollection.insert_many``."""
        batch = self._batch(texts, metadatas, ids, vectors)
        with self._lock:
            rows = self._live()
            # chromadb passes over ids it has without a word.
            if ids is not None and batch.ids:
                there = self._known(batch.ids)
                if there:
                    raise DuplicateIdError(
                        f"the collection has rows with these ids already: {shown(there)}; "
                        "use update or upsert to change them",
                        ids=tuple(there),
                    )
            self._in_parts(rows.add, batch, undo=True)
        return batch.ids

    def _upsert_many(self, texts: Any, metadatas: Any, ids: Any, vectors: Any) -> list[str]:
        batch = self._batch(texts, metadatas, ids, vectors)
        with self._lock:
            rows = self._live()
            self._in_parts(rows.upsert, batch, before=self._stored(batch.ids))
        return batch.ids

    def update_many(
        self,
        ids: Iterable[str],
        texts: Sequence[str] | None = None,
        metadatas: Sequence[Metadata | None] | None = None,
        *,
        vectors: Any = None,
        merge: bool = False,
    ) -> None:
        """Change rows; as ``VDBMemoryCollection.update_many``."""
        wanted = check_ids(ids)
        if not wanted:
            return
        new_texts, checked = check_changes(len(wanted), texts, metadatas)
        ready = None
        if vectors is not None:
            ready = check_vectors(vectors, self.dim, len(wanted))
        elif new_texts is not None:
            ready = self._vectors(new_texts, None, len(wanted))
        with self._lock:
            before = self._stored(wanted)
            if len(before) < len(wanted):
                raise missing_rows([i for i in wanted if i not in before])
            old = [from_chroma(before[i][1]) for i in wanted]
            if checked is None:
                plain: list[Metadata] = list(old)
            elif merge:
                plain = [{**o, **m} for o, m in zip(old, checked[0], strict=True)]
            else:
                plain = checked[0]
            json = [to_json(dict(m))[0] for m in plain]
            batch = Batch(
                ids=wanted,
                texts=[before[i][0] for i in wanted] if new_texts is None else new_texts,
                metadatas=plain,
                json=json,
                vectors=ready,
                times=[time.time()] * len(wanted),
            )
            # chromadb wants to embed documents that come without vectors.
            self._in_parts(self._live().update, batch, before=before, documents=ready is not None)

    def delete(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        where: Where | None = None,
        missing_ok: bool = False,
    ) -> int:
        """Delete rows; as ``VDBMemoryCollection.delete``."""
        if (ids is None) == (where is None):
            raise InvalidInputError("delete takes ids or where, exactly one of them")
        with self._lock:
            if where is not None:
                wanted = there = self._matching([parse(where)]) or []
            else:
                wanted = check_ids([ids] if isinstance(ids, str) else list(ids or ()))
                there = self._known(wanted)
            if len(there) < len(wanted) and not missing_ok:
                known = set(there)
                raise missing_rows([i for i in wanted if i not in known])
            for start in range(0, len(there), _PAGE):
                self._live().delete(ids=there[start : start + _PAGE])
            if self._words.loaded:
                self._words.drop(there)
        return len(there)

    def _batch(self, texts: Any, metadatas: Any, ids: Any, vectors: Any) -> Batch:
        return new_batch(
            texts, metadatas, ids, self._ids, lambda new: self._vectors(new, vectors, len(new))
        )

    def _vectors(self, texts: Sequence[str], vectors: Any, count: int) -> FloatArray:
        if vectors is None:
            self._need_model()
            vectors = self._embedder.documents(texts)
        return check_vectors(vectors, self.dim, count)

    def _known(self, ids: Sequence[str]) -> list[str]:
        found: set[str] = set()
        for start in range(0, len(ids), _PAGE):
            found.update(self._live().get(ids=list(ids[start : start + _PAGE]), include=[])["ids"])
        return [i for i in ids if i in found]

    def _stored(self, ids: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
        out: dict[str, tuple[str, dict[str, Any]]] = {}
        for start in range(0, len(ids), _PAGE):
            page = self._live().get(
                ids=list(ids[start : start + _PAGE]), include=["documents", "metadatas"]
            )
            for one, text, metadata in zip(
                page["ids"], page["documents"], page["metadatas"], strict=True
            ):
                out[one] = (text, dict(metadata or {}))
        return out

    def _in_parts(
        self,
        write: Callable[..., Any],
        batch: Batch,
        *,
        before: Mapping[str, tuple[str, dict[str, Any]]] | None = None,
        undo: bool = False,
        documents: bool = True,
    ) -> None:
        if not len(batch):
            return
        stored = [
            {
                # chromadb merges metadata: fields that are gone have to be set to None.
                **dict.fromkeys((before or {}).get(i, ("", {}))[1]),
                **to_chroma(json, metadata, at),
                **self._memberships(metadata),
            }
            for i, json, metadata, at in zip(
                batch.ids, batch.json, batch.metadatas, batch.times, strict=True
            )
        ]
        size = self._client.get_max_batch_size()
        written: list[str] = []
        try:
            for start in range(0, len(batch), size):
                part = slice(start, start + size)
                arguments: dict[str, Any] = {
                    "ids": batch.ids[part],
                    "metadatas": stored[part],
                }
                if documents:
                    arguments["documents"] = batch.texts[part]
                if batch.vectors is not None:
                    arguments["embeddings"] = batch.vectors[part]
                write(**arguments)
                written += batch.ids[part]
        except Exception as exc:
            if undo and written:
                self._live().delete(ids=written)
            raise MemoryStoreError(f"chromadb refused a batch: {exc}") from exc
        if self.dim is None and batch.vectors is not None:
            self._change(dim=int(batch.vectors.shape[1]))
        if self._words.loaded:
            self._words.put(batch.ids, batch.texts)
        self._mark_incomplete()
        self._after_write()

    def _after_write(self) -> None:
        """Called after each committed batch."""
