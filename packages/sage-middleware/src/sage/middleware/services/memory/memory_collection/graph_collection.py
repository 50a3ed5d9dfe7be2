"""``Graph``: nodes and typed edges with properties, walks, and subgraphs found by text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from sage.middleware.search.fusion.fuse import DEPTH, fuse
from sage.middleware.services.memory.errors import IndexNotFoundError, InvalidInputError
from sage.middleware.services.memory.graph import jsonl
from sage.middleware.services.memory.graph.adjacency_cache import AdjacencyCache
from sage.middleware.services.memory.graph.changes import GraphChanges
from sage.middleware.services.memory.graph.keys import NodeKey
from sage.middleware.services.memory.graph.reads import GraphReads
from sage.middleware.services.memory.graph.schema import MIGRATIONS
from sage.middleware.services.memory.graph.subgraphs import Subgraph, seed_shares
from sage.middleware.services.memory.graph.vectors import NodeVectors
from sage.middleware.services.memory.graph.walks import GraphWalks
from sage.middleware.services.memory.kv.codec import decode
from sage.middleware.services.memory.kv.text_index import TextIndex, TextOptions, text_of
from sage.middleware.services.memory.memory_collection.base_collection import (
    read_settings,
    write_settings,
)
from sage.middleware.services.memory.memory_collection.forgetting import (
    Forgetting,
    open_database,
    refuse_given,
)
from sage.middleware.services.memory.memory_collection.text_indexed import TEXT, TextIndexed
from sage.middleware.services.memory.storage.database import Database, Durability
from sage.middleware.services.memory.storage.layout import DATABASE_FILE
from sage.middleware.services.memory.vdb.embedder import Embedder

_ENTRIES = ("auto", "text", "vector", "hybrid")
_TAKES = "description, embedding_model, dim, durability, busy_timeout, text_fields, language"


class GraphMemoryCollection(GraphReads, GraphChanges, GraphWalks, TextIndexed, Forgetting):
    """Nodes, known by a str or an int, and directed edges with a type and a weight.

    Between two nodes there is at most one edge of each type. Every change is durable when the call
    returns, as ``durability`` says, and a batch is done whole or not at all. Walks run on an
    adjacency in memory that follows the tables, whoever wrote to them.

    All methods may be called from any thread.
    """

    backend_type: ClassVar[str] = "Graph"
    _indexed_table: ClassVar[str] = "nodes"

    def __init__(self, path: Path, name: str, database: Database, embedder: Embedder) -> None:
        self.path = path
        self.name = name
        self._database = database
        self._settings = read_settings(database)
        self._cache = AdjacencyCache(database, path / "adjacency.bin")
        self._vectors = NodeVectors(database, embedder) if embedder else None
        self._text = self._text_index()

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str,
        description: str = "",
        embedding_model: Any = None,
        dim: int | None = None,
        durability: Durability = "process",
        busy_timeout: float = 10.0,
        text_fields: Sequence[str] | None = None,
        language: str = "auto",
        **options: Any,
    ) -> Self:
        """Makes an empty collection.

        Args:
            path: An existing, empty directory.
            name: Its name.
            description: What it is for.
            embedding_model: Makes a vector of the text of every node, for entry points by meaning:
                an ``EmbeddingModel`` or the name of one. ``None`` for no vectors.
            dim: Elements of a vector, to have it checked.
            durability: ``process``, ``power`` or ``none``; see ``storage.database``.
            busy_timeout: Seconds a write waits for other processes.
            text_fields: What of a node's properties is its text, ``("",)`` for all of them, and
                makes the text index at once; see ``create_index``.
            language: Language of the text index.
            options: None.

        Raises:
            InvalidInputError: An option that this kind of collection does not have, or the
                embedding model makes vectors of another length than ``dim``.
        """
        refuse_given(cls.backend_type, options, _TAKES)
        embedder = Embedder(embedding_model)
        if dim is not None and embedder and embedder.dim != dim:
            raise InvalidInputError(f"the embedding model has dimension {embedder.dim}, not {dim}")
        database = Database(
            path / DATABASE_FILE,
            MIGRATIONS,
            durability=durability,
            busy_timeout=busy_timeout,
            create=True,
            marked=True,
        )
        write_settings(
            database,
            {
                "description": description,
                "durability": durability,
                "text_fields": list(text_fields) if text_fields else [""],
                "embedder": {"fingerprint": embedder.fingerprint, "spec": embedder.spec}
                if embedder
                else None,
            },
        )
        made = cls(path, name, database, embedder)
        if text_fields:
            made.create_index(fields=text_fields, language=language)
        return made

    @classmethod
    def connect(
        cls,
        path: Path,
        *,
        name: str,
        embedding_model: Any = None,
        durability: Durability | None = None,
        busy_timeout: float = 10.0,
        **options: Any,
    ) -> Self:
        """Opens a collection.

        Args:
            path: Its directory.
            name: Its name.
            embedding_model: The one it was made with; found by itself when it has a name.
            durability: Only to use another than it was made with.
            busy_timeout: Seconds a write waits for other processes.
            options: None.

        Raises:
            EmbeddingMismatchError: Another embedding model than the collection was made with.
        """
        refuse_given(cls.backend_type, options, _TAKES)
        database = open_database(
            path, MIGRATIONS, durability=durability, busy_timeout=busy_timeout, marked=True
        )
        kept = read_settings(database).get("embedder")
        embedder = Embedder(embedding_model)
        try:
            if embedder and kept is not None:
                embedder.check(kept["fingerprint"])
            elif embedder:
                raise InvalidInputError(
                    f"collection {name!r} was made without an embedding model and has no vectors"
                )
        except BaseException:
            database.close()
            raise
        if not embedder and kept is not None and kept["spec"]:
            embedder = Embedder(kept["spec"])
        opened = cls(path, name, database, embedder)
        opened._finish_forgetting()
        return opened

    # ------------------------------------------------------------------ words

    def create_index(
        self,
        name: str = TEXT,
        *,
        fields: Sequence[str] = ("",),
        language: str = "auto",
        k1: float = 1.2,
        b: float = 0.75,
    ) -> None:
        """Makes the full-text index over nodes; from then on every write keeps it current.

        Args:
            name: ``"text"``: there is one.
            fields: Properties to search, ``""`` for all. A str id of a node always counts as text.
            language: See ``BM25Index``.
            k1: See ``BM25Index``.
            b: See ``BM25Index``.

        Raises:
            IndexExistsError: There is one.
            InvalidInputError: Another name, or no fields.
        """
        self._make_index(name, fields, language, k1, b)

    def list_indexes(self) -> list[dict[str, Any]]:
        """The indexes that text can enter by."""
        out = super().list_indexes()
        if self._vectors is not None:
            out.append({"name": "vector", "kind": "vector", "fields": self._fields()})
        return out

    # ------------------------------------------------------------------ found by text

    def search(self, query: str, topk: int = 10, entry: str = "auto") -> list[dict[str, Any]]:
        """Nodes whose text fits a query.

        Args:
            query: Words or a question.
            topk: At most so many.
            entry: ``"text"`` (BM25), ``"vector"``, ``"hybrid"`` (both, fused with a weight per
                query), or ``"auto"`` for all there is.

        Returns:
            ``{"id", "label", "properties", "score"}``, best first; what the scores mean depends on
            ``entry``.

        Raises:
            IndexNotFoundError: What is asked for was not set up.
        """
        return self._described(self._entries(query, topk, entry))

    def subgraph(
        self,
        query: str,
        *,
        topk: int = 5,
        max_nodes: int = 30,
        entry: str = "auto",
        damping: float = 0.5,
        eps: float = 1e-4,
        weighted: bool = True,
    ) -> Subgraph:
        """What a question is about: nodes found by text, and what matters around them.

        From the entry nodes, in proportion to their scores, a walk follows edges both ways
        (personalised PageRank); the nodes it meets most are taken.

        Args:
            query: Words or a question.
            topk: How many entry nodes.
            max_nodes: How many nodes at most, entries included.
            entry: See ``search``.
            damping: How far the walk goes: the probability of another step.
            eps: See ``pagerank``.
            weighted: Follow edges in proportion to their weights.
        """
        entries = self._entries(query, topk, entry)
        if not entries:
            return Subgraph()
        scores = self._spread(seed_shares(entries), damping, eps, weighted)
        best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:max_nodes]
        chosen = dict(best)
        return Subgraph(
            nodes=tuple(self._described(chosen)),
            edges=tuple(self._edges_among(chosen)),
            entries={node["id"]: node["score"] for node in self._described(entries)},
        )

    def retrieve(
        self, query: str, topk: int = 10, index_name: str = "auto", **options: Any
    ) -> list[dict[str, Any]]:
        """Nodes of ``subgraph`` as other collections give rows: ``id, text, metadata, score``.

        Args:
            query: Words or a question.
            topk: At most so many.
            index_name: ``entry`` of ``search``.
            options: Of ``subgraph``: ``damping``, ``eps``, ``weighted``.
        """
        found = self.subgraph(
            query, topk=min(topk, 10), max_nodes=topk, entry=index_name, **options
        )
        return [
            {
                "id": node["id"],
                "text": self._node_text(node["id"], node["properties"]),
                "metadata": {"label": node["label"], **node["properties"]},
                "score": node["score"],
            }
            for node in found.nodes
        ]

    # ------------------------------------------------------------------ upkeep

    def info(self) -> dict[str, Any]:
        """Facts for listings."""
        return {
            "name": self.name,
            "backend_type": self.backend_type,
            "description": self.description,
            "count": len(self),
            "edges": self.edge_count(),
            "durability": self._database.durability,
            "indexes": self.list_indexes(),
            "bytes": self._size_bytes(),
        }

    def forget(self, ids: Iterable[NodeKey]) -> int:
        """Removes nodes and their edges so that no file holds anything of them.

        Returns:
            How many nodes there were.

        Raises:
            CollectionLockedError: Another process still reads the old pages. The nodes are
                deleted; calling ``forget`` again completes the removal.
        """
        gone = list(ids)

        def remove() -> int:
            count = self.remove_nodes(gone)
            with self._database.write() as connection:
                connection.execute(
                    "DELETE FROM edge_types WHERE id NOT IN (SELECT DISTINCT type FROM edges)"
                )
            return count

        return self._forget(remove)

    def export_jsonl(self, path: str | Path) -> int:
        """Writes all nodes and edges as lines of JSON; returns how many lines."""
        return jsonl.write_lines(Path(path), self.nodes(), self.edges())

    def import_jsonl(self, path: str | Path) -> int:
        """Sets the nodes and edges of an exported file, all or none; returns how many lines.

        Raises:
            InvalidInputError: A line is neither.
        """
        nodes, edges = jsonl.read_lines(Path(path))
        self._write_both(nodes, edges)
        return len(nodes) + len(edges)

    def store(self) -> None:
        """Writes the snapshots of adjacency and text, and empties the log of the database."""
        self._cache.save()
        if self._text is not None:
            self._text.save()
        self._database.checkpoint()

    # ------------------------------------------------------------------ inside

    def _purge_caches(self) -> None:
        text = self._text or self._text_index()
        if text is not None:
            text.purge()
        self._cache.save()

    def _check_tables(self, connection: sqlite3.Connection) -> list[str]:
        (loose,) = connection.execute(
            "SELECT count(*) FROM edges WHERE source NOT IN (SELECT id FROM nodes) "
            "OR target NOT IN (SELECT id FROM nodes)"
        ).fetchone()
        return [f"{loose} edges begin or end at a node that is not there"] if loose else []

    def _fields(self) -> list[str]:
        return list(self._settings.get("text_fields", [""]))

    def _node_text(self, key: NodeKey, properties: Mapping[str, Any]) -> str:
        words = text_of(properties, self._fields())
        return f"{key}\n{words}" if isinstance(key, str) else words

    def _index_of(self, options: TextOptions) -> TextIndex:
        def text(key: NodeKey, data: bytes) -> str:
            words = text_of(decode(data), options.fields)
            return f"{key}\n{words}" if isinstance(key, str) else words

        return TextIndex(
            self._database,
            self.path / TEXT,
            options,
            source=("nodes", "id, key, properties"),
            text=text,
        )

    def _entries(self, query: str, topk: int, entry: str) -> dict[int, float]:
        """Numbers and scores of nodes, best first."""
        if topk < 1:
            raise InvalidInputError(f"topk must be at least 1, got {topk!r}")
        if entry not in _ENTRIES:
            raise InvalidInputError(f"entry must be one of {', '.join(_ENTRIES)}, got {entry!r}")
        if self._text is None:
            self._text = self._text_index()
        if entry == "auto":
            both = self._text is not None and self._vectors is not None
            entry = "hybrid" if both else "vector" if self._vectors is not None else "text"
        if entry in ("vector", "hybrid") and self._vectors is None:
            raise IndexNotFoundError(
                f"collection {self.name!r} has no vectors; create it with an embedding_model",
                index="vector",
                known=[index["name"] for index in self.list_indexes()],
            )
        if entry == "text":
            return dict(self._need_text(TEXT).search(query, topk))
        assert self._vectors is not None
        if entry == "vector":
            numbers, scores, _ = self._vectors.search(query, topk)
        else:
            ids, similarities, population = self._vectors.search(query, max(DEPTH, topk))
            slots, words, total = self._need_text(TEXT).ranking(query, max(DEPTH, topk))
            numbers, scores = fuse(
                (ids, similarities),
                (slots, words),
                topk=topk,
                population=population,
                query_weight=total,
            )
        return dict(zip(numbers.tolist(), scores.tolist(), strict=True))

    def _described(self, scores: Mapping[int, float]) -> list[dict[str, Any]]:
        """Nodes by number with their scores, in the order given; those removed since left out."""
        out = []
        with self._database.read() as connection:
            for number, score in scores.items():
                row = connection.execute(
                    "SELECT key, label, properties FROM nodes WHERE id = ?", (number,)
                ).fetchone()
                if row is not None:
                    out.append(
                        {
                            "id": row[0],
                            "label": row[1],
                            "properties": decode(row[2]),
                            "score": score,
                        }
                    )
        return out

    def _edges_among(self, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
        chosen = set(numbers)
        with self._cache.lock:
            adjacency = self._cache.current()
            pairs = [
                (source, target)
                for source in sorted(chosen)
                if source < len(adjacency.keys)
                for target in sorted(set(adjacency.out.others[source]) & chosen)
            ]
        for source, target in pairs:
            yield from self._edges_where("e.source = ? AND e.target = ?", (source, target))
