"""A chromadb database that another program made, searched by vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage.common.errors import ConfigError, MissingExtraError
from sage.lib.rag.retriever.embedding import Embedding
from sage.lib.types import Document
from sage.middleware.services.memory.chroma.clients import close_client, open_client
from sage.middleware.services.memory.errors import FilterError


class ChromaBackend:
    """Searches one collection; changes nothing.

    Args:
        name: The collection.
        path: Directory of the database, or ``None`` with ``server``.
        server: ``{"host", "port", "ssl"}``.
        embed: The model that made its vectors.

    Raises:
        MissingExtraError: chromadb is not installed.
        ConfigError: There is no such database or collection.
    """

    def __init__(
        self, name: str, path: str | None, server: Mapping[str, Any] | None, embed: Any
    ) -> None:
        self._embedding = Embedding(embed)
        self._client = _files(path) if path is not None else open_client(Path(), server)
        known = sorted(getattr(c, "name", str(c)) for c in self._client.list_collections())
        if name not in known:
            close_client(self._client)
            raise ConfigError(
                f"there is no collection {name!r} in the chromadb database at "
                f"{path or dict(server or {})!r}; it has {', '.join(map(repr, known)) or 'none'}"
            )
        self._rows = self._client.get_collection(name, embedding_function=None)
        self._space = _space(self._rows)

    def search(
        self,
        query: str,
        topk: int,
        where: Mapping[str, Any] | None,
        mode: str,
        vector: Any = None,
    ) -> list[Document]:
        """The nearest rows.

        Raises:
            FilterError: chromadb refuses the filter.
        """
        asked = self._embedding.query(query) if vector is None else vector
        try:
            found = self._rows.query(
                query_embeddings=[[float(x) for x in asked]],
                n_results=topk,
                where=None if where is None else _all_of(where),
                include=["documents", "metadatas", "distances"],
            )
        except ValueError as error:
            if where is None:
                raise
            raise FilterError(f"chromadb refuses the filter {dict(where)!r}: {error}") from error
        return [
            Document(id=row, text=text or "", metadata=metadata or {}, score=self._score(distance))
            for row, text, metadata, distance in zip(
                found["ids"][0],
                found["documents"][0],
                found["metadatas"][0],
                found["distances"][0],
                strict=True,
            )
        ]

    def close(self) -> None:
        """Close the database and the model."""
        close_client(self._client)
        self._embedding.close()

    def _score(self, distance: float) -> float:
        return -float(distance) if self._space == "l2" else 1.0 - float(distance)


def _files(path: str) -> Any:
    folder = Path(path).expanduser()
    if not (folder / "chroma.sqlite3").is_file():
        raise ConfigError(
            f"there is no chromadb database in {str(folder)!r}: expected a directory with the file "
            "chroma.sqlite3"
        )
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError as error:
        raise MissingExtraError("chromadb", "chroma", "ChromaRetriever") from error
    return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


def _space(rows: Any) -> str:
    # The property ``configuration`` warns about embedding functions that play no part here.
    configured = (rows.configuration_json or {}).get("hnsw") or {}
    return str(configured.get("space") or (rows.metadata or {}).get("hnsw:space") or "l2")


def _all_of(where: Mapping[str, Any]) -> dict[str, Any]:
    """One condition per mapping, which is what chromadb takes.

    It takes one key per mapping, and one operator per key; ours may have several.
    """
    parts: list[dict[str, Any]] = []
    for key, value in where.items():
        if key in ("$and", "$or"):
            inner = [_all_of(part) for part in value]
            parts.append(inner[0] if len(inner) == 1 else {key: inner})
        elif isinstance(value, Mapping):
            parts.extend({key: {operator: operand}} for operator, operand in value.items())
        else:
            parts.append({key: value})
    return parts[0] if len(parts) == 1 else {"$and": parts}
