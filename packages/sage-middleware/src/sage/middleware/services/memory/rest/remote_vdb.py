"""``RemoteCollection``: a ``VDB`` collection of a memory server, used like a local one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import orjson

from sage.common.paths import replacing
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.rest.transport import Transport
from sage.middleware.services.memory.vdb.filters import Where
from sage.middleware.services.memory.vdb.single_row import SingleRow

Hit = dict[str, Any]
_IMPORT_BYTES = 4 * 1024 * 1024


class RemoteBase:
    """What every kind of remote collection has.

    Args:
        transport: The server.
        name: The collection's name.
        facts: What the server said about it.
    """

    backend_type: str

    def __init__(self, transport: Transport, name: str, facts: Mapping[str, Any]) -> None:
        self.name = name
        self.backend_type = str(facts["backend_type"])
        self._transport = transport
        self._facts = dict(facts)

    @property
    def description(self) -> str:
        """What the creator said about it."""
        return str(self._facts.get("description", ""))

    def info(self) -> dict[str, Any]:
        """Facts about the collection, asked anew."""
        self._facts = self._ask("GET")
        return dict(self._facts)

    def store(self) -> None:
        """Write its caches, so that the server's next start is fast."""
        self._ask("POST", "store")

    def optimize(self) -> dict[str, int]:
        """Drop the bytes of deleted rows and write snapshots."""
        done: dict[str, int] = self._ask("POST", "optimize")
        return done

    def check(self) -> list[str]:
        """What is wrong with the files, in words."""
        found: list[str] = self._ask("GET", "check")["problems"]
        return found

    def close(self) -> None:
        """Nothing to release: the server keeps the collection open."""

    @property
    def closed(self) -> bool:
        """Never: there is nothing that could be closed."""
        return False

    def list_indexes(self) -> list[dict[str, Any]]:
        """Every index with its filter and rows."""
        found: list[dict[str, Any]] = self._ask("GET", "indexes")["indexes"]
        return found

    def drop_index(self, name: str = "text") -> None:
        """Remove an index; the rows stay."""
        self._ask("DELETE", "indexes", name)

    def export_jsonl(
        self,
        file: str | os.PathLike[str],
        *,
        where: Where | None = None,
        with_vectors: bool = True,
    ) -> int:
        """Write the collection as JSON lines; returns how many. The file appears when complete."""
        target = Path(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        query = {
            "where": None if where is None else orjson.dumps(where).decode(),
            "with_vectors": str(with_vectors).lower(),
        }
        with replacing(target) as stream:
            for line in self._transport.stream(
                "GET", ("collections", self.name, "export"), query=query
            ):
                stream.write(line + b"\n")
                count += 1
        return count

    def import_jsonl(
        self,
        file: str | os.PathLike[str],
        *,
        on_conflict: str = "error",
        use_vectors: bool = True,
        batch_size: int = 1000,
    ) -> int:
        """Insert JSON lines; returns how many were written. Batches are sent one by one.

        Raises:
            InvalidInputError: A line is no row; batches before it were written.
        """
        query = {"on_conflict": on_conflict, "use_vectors": str(use_vectors).lower()}
        written = 0
        for batch in _batches(Path(file), batch_size):
            answer = self._transport.request(
                "POST", ("collections", self.name, "import"), raw=batch, query=query
            )
            written += int(answer["count"])
        return written

    def __len__(self) -> int:
        return int(self._ask("POST", "count", body={})["count"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self._transport.base_url!r}>"

    def _ask(self, method: str, *path: str, body: Any = None) -> Any:
        return self._transport.request(method, ("collections", self.name, *path), body)


def _batches(file: Path, lines: int) -> Iterator[bytes]:
    batch: list[bytes] = []
    size = 0
    with file.open("rb") as stream:
        for line in stream:
            batch.append(line if line.endswith(b"\n") else line + b"\n")
            size += len(line)
            if len(batch) >= lines or size >= _IMPORT_BYTES:
                yield b"".join(batch)
                batch, size = [], 0
    if batch:
        yield b"".join(batch)


class RemoteCollection(SingleRow, RemoteBase):
    """A ``VDB`` collection of a server; methods, results and errors are those of the local one.

    Python callables as filters cannot be sent: use ``where``. Vectors are arrays here and numbers
    on the wire, exact to float32.
    """

    # -- facts -----------------------------------------------------------------------------------

    @property
    def dim(self) -> int | None:
        """Elements of a vector; ``None`` as long as the collection holds texts only."""
        if self._facts["dim"] is None:
            self.info()
        dim: int | None = self._facts["dim"]
        return dim

    @property
    def metric(self) -> str:
        """``cosine``, ``dot`` or ``l2``."""
        return str(self._facts["metric"])

    @property
    def embedding_fingerprint(self) -> str | None:
        """Which embedding model made the vectors."""
        found: str | None = self._facts["embedding"]
        return found

    @property
    def durability(self) -> str:
        """Durability level of the server's writes."""
        return str(self._facts["durability"])

    @property
    def metadata_fields(self) -> tuple[str, ...]:
        """The fields declared by ``add_metadata_field``."""
        return tuple(self.info()["metadata_fields"])

    @property
    def retention(self) -> dict[str, Any]:
        """The bounds ``max_rows`` and ``max_age`` (seconds)."""
        found: dict[str, Any] = self.info()["retention"]
        return found

    def __contains__(self, row: object) -> bool:
        return isinstance(row, str) and self.get(row) is not None

    # -- writing ---------------------------------------------------------------------------------

    def insert_many(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        ids: Iterable[str] | None = None,
        *,
        vectors: Any = None,
    ) -> list[str]:
        """Add rows: all of them, or none."""
        return self._write(texts, metadatas, ids, vectors, upsert=False)

    def _upsert_many(self, texts: Any, metadatas: Any, ids: Any, vectors: Any) -> list[str]:
        return self._write(texts, metadatas, ids, vectors, upsert=True)

    def update_many(
        self,
        ids: Iterable[str],
        texts: Sequence[str] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        vectors: Any = None,
        merge: bool = False,
    ) -> None:
        """Change rows: all of them, or none."""
        body = {
            "ids": list(ids),
            "texts": None if texts is None else list(texts),
            "metadatas": _metadatas(metadatas),
            "vectors": _vectors(vectors),
            "merge": merge,
        }
        self._ask("PATCH", "rows", body=body)

    def delete(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        where: Where | None = None,
        missing_ok: bool = False,
    ) -> int:
        """Delete rows by id or by filter; returns how many."""
        body = {"ids": _ids(ids), "where": where, "missing_ok": missing_ok}
        return int(self._ask("POST", "rows", "delete", body=body)["count"])

    def forget(self, where: Where | None = None, *, ids: str | Iterable[str] | None = None) -> int:
        """Delete rows so that nothing of them is left on the server's disk; returns how many."""
        return int(self._ask("POST", "forget", body={"ids": _ids(ids), "where": where})["count"])

    def _write(
        self, texts: Any, metadatas: Any, ids: Any, vectors: Any, *, upsert: bool
    ) -> list[str]:
        if isinstance(texts, str) or isinstance(ids, str):
            raise InvalidInputError("texts and ids are lists of strings")
        body = {
            "texts": list(texts),
            "metadatas": _metadatas(metadatas),
            "ids": None if ids is None else list(ids),
            "vectors": _vectors(vectors),
            "upsert": upsert,
        }
        written: list[str] = self._ask("POST", "rows", body=body)["ids"]
        return written

    # -- reading ---------------------------------------------------------------------------------

    @overload
    def get(self, ids: str, *, with_vectors: bool = ...) -> Hit | None: ...

    @overload
    def get(self, ids: list[str] | tuple[str, ...], *, with_vectors: bool = ...) -> list[Hit]: ...

    def get(
        self, ids: str | list[str] | tuple[str, ...], *, with_vectors: bool = False
    ) -> Hit | list[Hit] | None:
        """Rows by id, as dicts ``id, text, metadata, updated``; ``None`` for one that is not."""
        wanted = [ids] if isinstance(ids, str) else list(ids)
        body = {"ids": wanted, "with_vectors": with_vectors}
        rows = [_row(row) for row in self._ask("POST", "rows", "get", body=body)["rows"]]
        if isinstance(ids, str):
            return rows[0] if rows else None
        return rows

    def count(self, where: Where | None = None, index_name: str | None = None) -> int:
        """How many rows match a filter, an index, or both."""
        body = {"where": where, "index_name": index_name}
        return int(self._ask("POST", "count", body=body)["count"])

    def scan(
        self, where: Where | None = None, *, limit: int | None = None, with_vectors: bool = False
    ) -> Iterator[Hit]:
        """Rows one by one, oldest write first, all as of one moment."""
        body = {"where": where, "limit": limit, "with_vectors": with_vectors}
        for line in self._transport.stream("POST", ("collections", self.name, "scan"), body):
            yield _row(orjson.loads(line))

    def retrieve(
        self,
        query: str | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vector: Any = None,
        metadata_filter_func: Any = None,
        **options: Any,
    ) -> list[Hit]:
        """The best rows for a query; options as for the local collection."""
        _no_callable(metadata_filter_func)
        return self._query(
            None if query is None else [query],
            None if query_vector is None else [query_vector],
            topk,
            index_name,
            options,
        )[0]

    def retrieve_many(
        self,
        queries: Sequence[str] | None = None,
        topk: int = 10,
        index_name: str | None = None,
        *,
        query_vectors: Any = None,
        metadata_filter_func: Any = None,
        **options: Any,
    ) -> list[list[Hit]]:
        """``retrieve`` for several queries, all answered from one state."""
        _no_callable(metadata_filter_func)
        if isinstance(queries, str):
            raise InvalidInputError("queries is one string; expected a list of strings")
        return self._query(
            None if queries is None else list(queries), query_vectors, topk, index_name, options
        )

    def explain(self, topk: int = 10, index_name: str | None = None, **options: Any) -> Any:
        """How a dense query with these arguments is answered."""
        return self._ask(
            "POST", "explain", body={"topk": topk, "index_name": index_name, **options}
        )

    def _query(
        self,
        queries: list[str] | None,
        vectors: Any,
        topk: int,
        index_name: str | None,
        options: Mapping[str, Any],
    ) -> list[list[Hit]]:
        if queries is None and vectors is None:
            raise InvalidInputError("retrieve takes a query text or query_vector")
        body = {
            "queries": queries,
            "query_vectors": _vectors(vectors),
            "topk": int(topk),
            "index_name": index_name,
            **options,
        }
        found = self._ask("POST", "query", body=body)["results"]
        return [[_row(hit) for hit in hits] for hits in found]

    # -- indexes and upkeep ----------------------------------------------------------------------

    def create_index(
        self,
        name: str,
        metadata_filter_func: Any = None,
        *,
        where: Where | None = None,
        kind: str = "vector",
        description: str = "",
        **options: Any,
    ) -> None:
        """Make an index over the rows that match ``where``.

        Raises:
            InvalidInputError: A callable was given: only filters can be sent.
        """
        _no_callable(metadata_filter_func)
        body = {
            "name": name,
            "where": where,
            "kind": kind,
            "description": description,
            "options": options,
        }
        self._ask("POST", "indexes", body=body)

    def attach_filter(self, name: str, metadata_filter_func: Any) -> None:
        """Not over HTTP: a callable cannot be sent.

        Raises:
            InvalidInputError: Always.
        """
        _no_callable(metadata_filter_func)

    def rebuild_index(self, name: str | None = None) -> None:
        """Make the caches of an index, or of all, anew."""
        self._ask("POST", "indexes", "rebuild", body={"name": name})

    def optimize_index(self, name: str | None = None) -> None:
        """Bring an index, or all, into its fastest form."""
        self._ask("POST", "indexes", "optimize", body={"name": name})

    def set_retention(self, *, max_rows: int | None = None, max_age: float | None = None) -> None:
        """Bound the collection; ``None`` lifts a bound."""
        self._ask("PUT", "retention", body={"max_rows": max_rows, "max_age": max_age})

    def apply_retention(self, *, forget: bool = False) -> int:
        """Delete what exceeds the bounds now; returns how many rows."""
        return int(self._ask("POST", "retention", body={"forget": forget})["count"])

    def repair(self) -> int:
        """Embed again the rows whose vectors were lost in a power failure; returns how many."""
        return int(self._ask("POST", "repair")["count"])

    def add_metadata_field(self, field: str) -> None:
        """Declare a field that filters will use."""
        self._ask("PUT", "fields", field)

    def describe(self, description: str) -> None:
        """Change the description."""
        self._facts = self._ask("PATCH", body={"description": description})


def _row(row: Hit) -> Hit:
    if row.get("vector") is not None:
        row["vector"] = np.asarray(row["vector"], np.float32)
    return row


def _ids(ids: str | Iterable[str] | None) -> list[str] | None:
    if ids is None:
        return None
    return [ids] if isinstance(ids, str) else list(ids)


def _metadatas(metadatas: Any) -> list[Any] | None:
    if metadatas is None:
        return None
    if isinstance(metadatas, Mapping) or not isinstance(metadatas, Sequence):
        raise InvalidInputError("metadatas is not a list; expected one mapping per text")
    return [dict(one) if isinstance(one, Mapping) else one for one in metadatas]


def _vectors(vectors: Any) -> Any:
    if vectors is None:
        return None
    try:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise InvalidInputError(f"vectors are not numbers of one length: {exc}") from exc
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise InvalidInputError(f"vectors must be finite and (n, dim), got shape {rows.shape}")
    return rows


def _no_callable(function: Any) -> None:
    if function is not None:
        raise InvalidInputError(
            "a Python callable cannot be sent to a memory server; write the filter as where={...}"
        )
