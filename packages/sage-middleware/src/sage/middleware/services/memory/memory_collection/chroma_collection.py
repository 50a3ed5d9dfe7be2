"""``VDB`` on chromadb: the contract of ``VDBMemoryCollection``, chromadb's storage and index."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from sage.middleware.services.memory.chroma import clients
from sage.middleware.services.memory.chroma.sidecar import Sidecar
from sage.middleware.services.memory.chroma.translate import (
    MEMBER_PREFIX,
    TIME_FIELD,
    conjunction,
    from_chroma,
    split,
    to_chroma,
)
from sage.middleware.services.memory.chroma.words import Words
from sage.middleware.services.memory.errors import (
    CollectionClosedError,
    DuplicateIdError,
    IndexDetachedError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
    MemoryStoreError,
)
from sage.middleware.services.memory.memory_collection.base_collection import (
    BaseMemoryCollection,
    refuse_options,
)
from sage.middleware.services.memory.storage.layout import check_name, remove_collection
from sage.middleware.services.memory.vdb.core import first_settings
from sage.middleware.services.memory.vdb.diversity import check_balance, diversify
from sage.middleware.services.memory.vdb.embedder import Embedder
from sage.middleware.services.memory.vdb.filters import Node, Where, matches, parse
from sage.middleware.services.memory.vdb.hybrid import FETCH, check_fusion, fuse
from sage.middleware.services.memory.vdb.index_specs import KINDS, MetadataFilter
from sage.middleware.services.memory.vdb.jsonl import JsonLines
from sage.middleware.services.memory.vdb.metrics import (
    FloatArray,
    check_metric,
    check_vector,
    check_vectors,
    scores,
    to_query,
)
from sage.middleware.services.memory.vdb.retrieval import MODES, Hit
from sage.middleware.services.memory.vdb.rows import (
    Batch,
    Metadata,
    check_ids,
    check_metadatas,
    check_texts,
    new_ids,
    shown,
    to_json,
)
from sage.middleware.services.memory.vdb.store import missing_rows

__all__ = ["ChromaMemoryCollection"]

_PAGE = 1000
_DIVERSE = 50
_EF_SEARCH = 400


class ChromaMemoryCollection(JsonLines, BaseMemoryCollection):
    """A vector collection whose rows and index are chromadb's.

    Differences to the built-in collection, all of them chromadb's: nearest neighbours are
    approximate; a batch larger than chromadb's limit (about 5,000 rows) is several transactions,
    undone by us if one fails, but not if the process dies between them; with files
    (no ``server``), one process at a time; ``forget`` and durability levels are not offered.
    Search by words keeps a BM25 index in this process's memory.
    """

    backend_type: ClassVar[str] = "VDB"

    def __init__(self, path: Path, name: str, client: Any, rows: Any, embedder: Embedder) -> None:
        self.path = path
        self.name = name
        self._client = client
        self._rows = rows
        self._sidecar = Sidecar(path)
        self._data = self._sidecar.read()
        self._given_model = bool(embedder)
        model = self._data.get("model")
        self._embedder = embedder or Embedder(model)
        self._callables: dict[str, MetadataFilter] = {}
        self._words = Words()
        self._lock = threading.RLock()
        self._closed = False

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str,
        description: str = "",
        embedding_model: Any = None,
        dim: int | None = None,
        metric: str = "cosine",
        server: Mapping[str, Any] | None = None,
        ef_search: int = _EF_SEARCH,
        **options: Any,
    ) -> Self:
        """Make a new collection.

        Args:
            path: The collection's directory; chromadb's files go there unless ``server`` is given.
            name: Its name.
            description: Free text for listings.
            embedding_model: As for ``VDBMemoryCollection``.
            dim: As for ``VDBMemoryCollection``.
            metric: ``cosine``, ``dot`` or ``l2``.
            server: ``{"host": …, "port": 8000, "ssl": False}`` of a chromadb server.
            ef_search: Width of the HNSW search: recall against speed; chromadb takes it only here.
            options: Nothing else; another option is an ``InvalidInputError``.
        """
        refuse_options("chroma", options)
        embedder = Embedder(embedding_model)
        settings = first_settings(
            description=description,
            metric=check_metric(metric),
            dim=dim,
            embedder=embedder,
            engine=None,
            durability="power",
        )
        client = clients.open_client(path, server)
        # chromadb wants 3 to 512 characters and starts names with a letter or digit.
        remote = f"sage-{name}-{new_ids(1)[0][-8:]}" if server is not None else "rows"
        rows = clients.create(client, remote, metric, ef_search)
        data = {**settings, "server": server, "remote": remote, "indexes": {}}
        data["ef_search"] = ef_search
        Sidecar(path).write(data)
        return cls(path, name, client, rows, embedder)

    @classmethod
    def connect(cls, path: Path, *, name: str, embedding_model: Any = None, **options: Any) -> Self:
        """Open the collection.

        Raises:
            EmbeddingMismatchError: Another model than the collection's.
            MemoryStoreError: The server does not answer.
        """
        refuse_options("chroma", options)
        data = Sidecar(path).read()
        client = clients.open_client(path, data["server"])
        rows = client.get_collection(data["remote"], embedding_function=None)
        collection = cls(path, name, client, rows, Embedder(embedding_model))
        try:
            if collection._given_model:
                collection._check_model()
        except BaseException:
            collection.close()
            raise
        return collection

    @classmethod
    def destroy(cls, path: Path) -> None:
        """Delete the collection, on the server too."""
        data = Sidecar(path).read()
        if data["server"] is not None:
            client = clients.open_client(path, data["server"])
            client.delete_collection(data["remote"])
            clients.close_client(client)
        remove_collection(path)

    # -- facts -----------------------------------------------------------------------------------

    @property
    def description(self) -> str:
        """What the creator said about the collection."""
        return str(self._data["description"])

    @property
    def metric(self) -> Any:
        """How vectors are compared: ``cosine``, ``dot`` or ``l2``."""
        return self._data["metric"]

    @property
    def dim(self) -> int | None:
        """Elements of a vector; ``None`` before the first."""
        dim: int | None = self._data["dim"]
        return dim

    @property
    def embedding_fingerprint(self) -> str | None:
        """Which embedding model made the vectors; ``None`` if they came ready."""
        fingerprint: str | None = self._data["fingerprint"]
        return fingerprint

    @property
    def metadata_fields(self) -> tuple[str, ...]:
        """The fields declared by ``add_metadata_field``."""
        return tuple(self._data["fields"])

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def __len__(self) -> int:
        return int(self._live().count())

    def __contains__(self, row_id: object) -> bool:
        return isinstance(row_id, str) and bool(self._live().get(ids=[row_id], include=[])["ids"])

    def info(self) -> dict[str, Any]:
        """Facts for listings; JSON values only."""
        return {
            "name": self.name,
            "backend_type": self.backend_type,
            "backend": "chroma",
            "description": self.description,
            "rows": len(self),
            "dim": self.dim,
            "metric": self.metric,
            "embedding": self.embedding_fingerprint,
            "server": self._data["server"],
            "ef_search": self._data["ef_search"],
            "metadata_fields": list(self.metadata_fields),
            "indexes": self.list_indexes(),
            "created": self._data["created"],
        }

    def add_metadata_field(self, field: str) -> None:
        """Declare a field that filters will use."""
        if not isinstance(field, str) or not field or field.startswith("$"):
            raise InvalidInputError(f"a metadata field is named by a string, got {field!r}")
        if field not in self._data["fields"]:
            self._change(fields=[*self._data["fields"], field])

    def store(self) -> None:
        """Nothing to do: chromadb writes at every call."""

    def close(self) -> None:
        """Release chromadb's files or connections."""
        if not self._closed:
            self._closed = True
            clients.close_client(self._client)

    def _live(self) -> Any:
        if self._closed:
            raise CollectionClosedError(f"collection {self.name!r} is closed", name=self.name)
        return self._rows

    def _change(self, **data: Any) -> None:
        with self._lock:
            self._data = {**self._sidecar.read(), **data}
            self._sidecar.write(self._data)

    def _check_model(self) -> None:
        if self.embedding_fingerprint is not None:
            self._embedder.check(self.embedding_fingerprint)

    # -- writing ---------------------------------------------------------------------------------

    def insert(
        self,
        text: str,
        metadata: Metadata | None = None,
        id: str | None = None,  # noqa: A002 - the word users write
        *,
        vector: Any = None,
    ) -> str:
        """Add one row; as ``VDBMemoryCollection.insert``."""
        return self.insert_many(
            [text],
            None if metadata is None else [metadata],
            None if id is None else [id],
            vectors=None if vector is None else [vector],
        )[0]

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

    def upsert(
        self,
        texts: str | Iterable[str],
        metadatas: Metadata | Sequence[Metadata | None] | None = None,
        ids: str | Iterable[str] | None = None,
        *,
        vectors: Any = None,
    ) -> list[str]:
        """Insert or replace rows; as ``VDBMemoryCollection.upsert``."""
        if isinstance(texts, str):
            texts = [texts]
            ids = [ids] if isinstance(ids, str) else ids
            vectors = None if vectors is None else np.asarray(vectors, np.float32)[None]
        if isinstance(metadatas, Mapping):
            metadatas = [metadatas]
        batch = self._batch(texts, metadatas, ids, vectors)
        with self._lock:
            rows = self._live()
            self._in_parts(rows.upsert, batch, before=self._stored(batch.ids))
        return batch.ids

    def update(
        self,
        id: str,  # noqa: A002 - the word users write
        text: str | None = None,
        metadata: Metadata | None = None,
        *,
        vector: Any = None,
        merge: bool = False,
    ) -> None:
        """Change one row; as ``VDBMemoryCollection.update``."""
        self.update_many(
            [id],
            None if text is None else [text],
            None if metadata is None else [metadata],
            vectors=None if vector is None else [vector],
            merge=merge,
        )

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
        new_texts = None if texts is None else check_texts(texts)
        if new_texts is not None and len(new_texts) != len(wanted):
            raise InvalidInputError(f"got {len(new_texts)} texts for {len(wanted)} ids")
        checked = None if metadatas is None else check_metadatas(metadatas, len(wanted))
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
        checked = check_texts(texts)
        plain, json = check_metadatas(metadatas, len(checked))
        names = new_ids(len(checked)) if ids is None else check_ids(ids)
        if len(names) != len(checked):
            raise InvalidInputError(f"got {len(names)} ids for {len(checked)} texts")
        ready = self._vectors(checked, vectors, len(checked)) if checked else None
        return Batch(
            ids=names,
            texts=checked,
            metadatas=plain,
            json=json,
            vectors=ready,
            times=[time.time()] * len(checked),
        )

    def _vectors(self, texts: Sequence[str], vectors: Any, count: int) -> FloatArray:
        if vectors is None:
            self._need_model()
            vectors = self._embedder.documents(texts)
        return check_vectors(vectors, self.dim, count)

    def _need_model(self) -> None:
        if not self._embedder:
            raise InvalidInputError(
                f"collection {self.name!r} has no embedding model: give vectors, or connect with "
                "embedding_model"
            )
        self._check_model()

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

    # -- indexes ---------------------------------------------------------------------------------

    def create_index(
        self,
        name: str,
        metadata_filter_func: MetadataFilter | None = None,
        *,
        where: Where | None = None,
        kind: str = "vector",
        description: str = "",
    ) -> None:
        """Make a named filter; as ``VDBMemoryCollection.create_index``."""
        check_name(name)
        if metadata_filter_func is not None and where is not None:
            raise InvalidInputError("an index takes metadata_filter_func or where, not both")
        if kind not in KINDS:
            raise InvalidInputError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
        if where is not None:
            parse(where)
        with self._lock:
            if name in self._sidecar.read()["indexes"]:
                raise IndexExistsError(f"there is an index {name!r} already", index=name)
            if metadata_filter_func is not None:
                self._decide_all(name, metadata_filter_func)
            spec = {
                "name": name,
                "kind": kind,
                "description": description,
                "where": None if where is None else dict(where),
                "callable": metadata_filter_func is not None,
                "complete": True,
            }
            self._put_index(spec)

    def attach_filter(self, name: str, metadata_filter_func: MetadataFilter) -> None:
        """Give a callable index its callable again; all rows are shown to it."""
        with self._lock:
            spec = self._index(name)
            if not spec["callable"]:
                raise InvalidInputError(f"index {name!r} has a declarative filter")
            self._decide_all(name, metadata_filter_func)
            self._put_index({**spec, "complete": True})

    def drop_index(self, name: str) -> None:
        """Remove an index; the rows stay."""
        with self._lock:
            self._index(name)
            indexes = dict(self._data["indexes"])
            del indexes[name]
            self._callables.pop(name, None)
            self._change(indexes=indexes)

    def list_indexes(self) -> list[dict[str, Any]]:
        """Every index: name, kind, filter, number of rows, and whether a callable is attached."""
        return [
            {
                **spec,
                "attached": name in self._callables,
                "rows": self.count(index_name=name) if spec["complete"] else None,
            }
            for name, spec in sorted(self._data["indexes"].items())
        ]

    def rebuild_index(self, name: str | None = None) -> None:
        """Make the index of words anew; chromadb keeps its vector index itself."""
        if name is not None:
            self._index(name)
        self._words = Words()

    def optimize_index(self, name: str | None = None) -> None:
        """Nothing to do: chromadb keeps its index itself."""
        if name is not None:
            self._index(name)

    def _index(self, name: str) -> dict[str, Any]:
        self._data = self._sidecar.read()
        spec: dict[str, Any] | None = self._data["indexes"].get(name)
        if spec is None:
            known = tuple(sorted(self._data["indexes"]))
            raise IndexNotFoundError(
                f"there is no index {name!r}; there are {', '.join(known) or 'none'}",
                index=name,
                known=known,
            )
        return spec

    def _put_index(self, spec: dict[str, Any]) -> None:
        self._change(indexes={**self._sidecar.read()["indexes"], spec["name"]: spec})

    def _decide_all(self, name: str, decide: MetadataFilter) -> None:
        key = MEMBER_PREFIX + name
        for ids, metadatas in self._pages(["metadatas"]):
            marks = [{key: bool(decide(from_chroma(m)))} for m in metadatas]
            self._live().update(ids=ids, metadatas=marks)
        self._callables[name] = decide

    def _memberships(self, metadata: Metadata) -> dict[str, bool]:
        return {
            MEMBER_PREFIX + name: bool(decide(dict(metadata)))
            for name, decide in self._callables.items()
        }

    def _mark_incomplete(self) -> None:
        for name, spec in self._data["indexes"].items():
            if spec["callable"] and spec["complete"] and name not in self._callables:
                self._put_index({**spec, "complete": False})

    # -- reading ---------------------------------------------------------------------------------

    def get(self, ids: str | list[str] | tuple[str, ...], *, with_vectors: bool = False) -> Any:
        """Rows by id; as ``VDBMemoryCollection.get``."""
        wanted = [ids] if isinstance(ids, str) else list(ids)
        found: dict[str, Hit] = {}
        for start in range(0, len(wanted), _PAGE):
            for row in self._read(with_vectors, ids=wanted[start : start + _PAGE]):
                found[row["id"]] = row
        rows = [found[i] for i in wanted if i in found]
        if isinstance(ids, str):
            return rows[0] if rows else None
        return rows

    def _read(self, with_vectors: bool, **selection: Any) -> list[Hit]:
        if not selection.get("ids", True):
            return []
        include = ["documents", "metadatas", *(["embeddings"] if with_vectors else [])]
        page = self._live().get(include=include, **selection)
        rows: list[Hit] = []
        for i, (one, text, stored) in enumerate(
            zip(page["ids"], page["documents"], page["metadatas"], strict=True)
        ):
            row: Hit = {"id": one, "text": text, "metadata": from_chroma(stored)}
            row["updated"] = (stored or {}).get(TIME_FIELD)
            if with_vectors:
                row["vector"] = np.asarray(page["embeddings"][i], np.float32)
            rows.append(row)
        return rows

    def _pages(self, include: list[str]) -> Iterator[tuple[list[str], Any]]:
        ids = self._live().get(include=[])["ids"]
        for start in range(0, len(ids), _PAGE):
            page = self._live().get(ids=ids[start : start + _PAGE], include=include)
            yield page["ids"], page[include[0]]

    def count(self, where: Where | None = None, index_name: str | None = None) -> int:
        """How many rows match a filter, an index, or both."""
        nodes = self._nodes(where, index_name)
        if not nodes:
            return len(self)
        matching = self._matching(nodes)
        return len(self) if matching is None else len(matching)

    def scan(
        self, where: Where | None = None, *, limit: int | None = None, with_vectors: bool = False
    ) -> Iterator[Hit]:
        """Rows one by one; those written while the scan runs may be missing."""
        ids = self._matching([parse(where)] if where is not None else [])
        if ids is None:
            ids = self._live().get(include=[])["ids"]
        ids = ids[:limit]
        for start in range(0, len(ids), _PAGE):
            yield from self._read(with_vectors, ids=ids[start : start + _PAGE])

    def _nodes(self, where: Where | None, index_name: str | None) -> list[Node]:
        nodes = []
        if index_name is not None:
            spec = self._index(index_name)
            if spec["callable"]:
                if not spec["complete"]:
                    raise IndexDetachedError(
                        f"index {index_name!r} was made with a Python callable and rows were "
                        f"written without it; call attach_filter({index_name!r}, func)",
                        index=index_name,
                    )
                nodes.append(parse({MEMBER_PREFIX + index_name: True}))
            elif spec["where"] is not None:
                nodes.append(parse(spec["where"]))
        if where is not None:
            nodes.append(parse(where))
        return nodes

    def _selection(self, nodes: Sequence[Node]) -> tuple[Any, list[Node]]:
        clauses, rest = [], []
        for node in nodes:
            clause, left = split_member(node)
            if clause is not None:
                clauses.append(clause)
            if left is not None:
                rest.append(left)
        return conjunction(clauses), rest

    def _matching(self, nodes: Sequence[Node]) -> list[str] | None:
        """Ids of the rows that pass, ``None`` for all."""
        clause, rest = self._selection(nodes)
        if clause is None and not rest:
            return None
        include = ["metadatas"] if rest else []
        page = self._live().get(where=clause, include=include)
        if not rest:
            return list(page["ids"])
        return [
            i
            for i, stored in zip(page["ids"], page["metadatas"], strict=True)
            if all(matches(node, from_chroma(stored)) for node in rest)
        ]

    # -- searching -------------------------------------------------------------------------------

    def retrieve(
        self,
        query: str | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vector: Any = None,
        where: Where | None = None,
        metadata_filter_func: MetadataFilter | None = None,
        mode: str | None = None,
        threshold: float | None = None,
        mmr: float | None = None,
        fetch: int | None = None,
        fusion: str = "auto",
        weight: float | None = None,
        with_vectors: bool = False,
    ) -> list[Hit]:
        """The best rows for a query; as ``VDBMemoryCollection.retrieve``."""
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise InvalidInputError(f"topk is {topk!r}; expected a positive integer")
        nodes = self._nodes(where, index_name)
        if mode is None:
            words = index_name is not None and self._index(index_name)["kind"] == "bm25"
            mode = "bm25" if words and query_vector is None else "dense"
        if mode not in MODES:
            raise InvalidInputError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
        check_fusion(fusion, weight)
        if mmr is not None:
            check_balance(mmr)
        vector = None if mode == "bm25" else self._query_vector(query, query_vector)
        if mode != "dense" and query is None:
            raise InvalidInputError(f"mode={mode!r} takes a query text")
        wide = mode == "hybrid" or mmr is not None
        count = topk
        if wide:
            count = max(fetch or 0, 4 * topk, FETCH if mode == "hybrid" else _DIVERSE)
        allowed = None
        if metadata_filter_func is not None:
            accept = metadata_filter_func
            matching = self._matching(nodes)
            allowed = [
                r["id"]
                for r in (self.scan() if matching is None else self.get(matching))
                if accept(r["metadata"])
            ]
        ids, points = self._ranking(mode, query, vector, nodes, allowed, count, fusion, weight)
        if mmr is not None and ids:
            rows = {r["id"]: r["vector"] for r in self.get(ids, with_vectors=True)}
            ids, points = _present(ids, points, rows)
            picks = diversify(
                np.array(points, np.float32), np.array([rows[i] for i in ids]), topk, mmr
            )
            ids, points = [ids[p] for p in picks], [points[p] for p in picks]
        ids, points = ids[:topk], points[:topk]
        found = {r["id"]: r for r in self.get(ids, with_vectors=with_vectors)}
        hits: list[Hit] = []
        for one, point in zip(ids, points, strict=True):
            if one in found and (threshold is None or point >= threshold):
                hit = found[one]
                del hit["updated"]
                hits.append({**hit, "score": point})
        return hits

    def retrieve_many(
        self,
        queries: Sequence[str] | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vectors: Any = None,
        **options: Any,
    ) -> list[list[Hit]]:
        """``retrieve`` for several queries, embedded together."""
        if queries is None and query_vectors is None:
            raise InvalidInputError("retrieve_many takes queries or query_vectors")
        texts: list[str | None] = list(queries) if queries is not None else []
        if query_vectors is None and options.get("mode") != "bm25" and texts:
            self._need_model()
            query_vectors = self._embedder.queries([t for t in texts if t is not None])
        vectors = [None] * len(texts) if query_vectors is None else list(query_vectors)
        texts = texts or [None] * len(vectors)
        return [
            self.retrieve(text, topk, index_name, query_vector=vector, **options)
            for text, vector in zip(texts, vectors, strict=True)
        ]

    def _query_vector(self, query: str | None, vector: Any) -> FloatArray:
        if vector is None:
            if query is None:
                raise InvalidInputError("retrieve takes a query text or query_vector")
            self._need_model()
            vector = self._embedder.query(query)
        return check_vector(vector, self.dim)

    def _ranking(
        self,
        mode: str,
        query: str | None,
        vector: FloatArray | None,
        nodes: Sequence[Node],
        allowed: list[str] | None,
        count: int,
        fusion: str,
        weight: float | None,
    ) -> tuple[list[str], list[float]]:
        dense: tuple[list[str], list[float]] = ([], [])
        if vector is not None and len(self):
            dense = self._nearest(vector, nodes, allowed, count)
        if mode == "dense":
            return dense
        assert query is not None
        with self._lock:
            if not self._words.loaded or len(self._words) != len(self):
                self._words.load(self._live())
        words = self._words.search(
            query, count, self._matching(nodes) if allowed is None else allowed
        )
        if mode == "bm25":
            return words
        names = sorted({*dense[0], *words[0]})
        place = {one: i for i, one in enumerate(names)}
        slots, points = fuse(
            _numbered(dense, place),
            _numbered(words, place),
            count,
            fusion,
            weight,
            population=len(self),
        )
        return [names[s] for s in slots.tolist()], points.tolist()

    def _nearest(
        self, vector: FloatArray, nodes: Sequence[Node], allowed: list[str] | None, count: int
    ) -> tuple[list[str], list[float]]:
        clause, rest = self._selection(nodes)
        ids = allowed
        if ids is None and rest:
            ids = self._matching(nodes)
        if ids is not None:
            if not ids:
                return [], []
            clause = None
        page = self._live().query(
            query_embeddings=[vector], n_results=count, where=clause, ids=ids, include=["distances"]
        )
        found, distances = page["ids"][0], page["distances"][0]
        possible = len(ids) if ids is not None else len(self)
        if len(found) < min(count, possible):
            # The graph gave up early: score what matches exactly, if more does match.
            matching = ids if ids is not None else self._matching(nodes)
            if matching is None or len(matching) > len(found):
                return self._exact(vector, matching, count)
        return list(found), [self._score(d) for d in distances]

    def _exact(
        self, vector: FloatArray, ids: list[str] | None, count: int
    ) -> tuple[list[str], list[float]]:
        page = self._live().get(ids=ids, include=["embeddings"])
        rows = np.asarray(page["embeddings"], np.float32)
        if self.metric == "cosine":
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        points = scores(self.metric, rows, to_query(self.metric, vector))
        order = np.argsort(-points, kind="stable")[:count]
        return [page["ids"][i] for i in order], points[order].tolist()

    def _score(self, distance: float) -> float:
        if self.metric == "l2":
            return float(1 / (1 + max(0.0, distance) ** 0.5))
        return float(1 - distance)


def split_member(node: Node) -> tuple[Any, Node | None]:
    """``split``, with the marks of callable indexes as fields of chromadb."""
    field = getattr(node, "field", "")
    if isinstance(field, str) and field.startswith(MEMBER_PREFIX):
        return {field: True}, None
    return split(node)


def _numbered(ranking: tuple[list[str], list[float]], place: Mapping[str, int]) -> Any:
    ids, points = ranking
    return np.array([place[i] for i in ids], np.int64), np.array(points, np.float32)


def _present(
    ids: list[str], points: list[float], rows: Mapping[str, Any]
) -> tuple[list[str], list[float]]:
    kept = [(i, p) for i, p in zip(ids, points, strict=True) if i in rows]
    return [i for i, _ in kept], [p for _, p in kept]
