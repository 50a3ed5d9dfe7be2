"""Routes of the rows of collections: write, read, query, call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from sage.common.serving.routing import Router
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.rest.bodies import (
    CallBody,
    ChosenBody,
    Count,
    FilterBody,
    Hits,
    Ids,
    IdsBody,
    QueryBody,
    Rows,
    RowsBody,
    SearchBody,
    UpdateBody,
)
from sage.middleware.services.memory.rest.calls import call
from sage.middleware.services.memory.rest.limits import Limits
from sage.middleware.services.memory.rest.replies import lines, reply

if TYPE_CHECKING:
    from sage.middleware.services.memory.service import MemoryService

_SEARCH = {"merge", "weights", "index_names", "where", "mode", "threshold", "mmr", "fetch"} | {
    "fusion",
    "weight",
    "strategy",
    "query_vector",
}


def add_row_routes(router: Router, service: MemoryService, limits: Limits) -> None:
    """Add them to a FastAPI router."""

    @router.post("/collections/{name}/rows", status_code=201, response_model=Ids)
    def insert(name: str, body: RowsBody) -> Any:
        """Add rows, all or none."""
        collection = _vdb(service, name)
        write = collection.upsert if body.upsert else collection.insert_many
        ids = write(body.texts, body.metadatas, body.ids, vectors=body.vectors)
        return reply({"ids": ids}, 201)

    @router.patch("/collections/{name}/rows", response_model=Count)
    def update(name: str, body: UpdateBody) -> Any:
        """Change rows, all or none."""
        _vdb(service, name).update_many(
            body.ids, body.texts, body.metadatas, vectors=body.vectors, merge=body.merge
        )
        return reply({"count": len(body.ids)})

    @router.post("/collections/{name}/rows/get", response_model=Rows)
    def get(name: str, body: IdsBody) -> Any:
        """Rows by id; those that have no row are left out."""
        return reply({"rows": _vdb(service, name).get(body.ids, with_vectors=body.with_vectors)})

    @router.post("/collections/{name}/rows/delete", response_model=Count)
    def delete(name: str, body: ChosenBody) -> Any:
        """Delete rows by id or by filter."""
        count = _vdb(service, name).delete(body.ids, where=body.where, missing_ok=body.missing_ok)
        return reply({"count": count})

    @router.post("/collections/{name}/forget", response_model=Count)
    def forget(name: str, body: ChosenBody) -> Any:
        """Delete rows so that nothing of them is left on disk."""
        _vdb(service, name)
        if (body.where is None) == (body.ids is None):
            raise InvalidInputError("forget takes where or ids, exactly one of them")
        chosen = {"ids": body.ids} if body.ids is not None else {"where": body.where}
        return reply({"count": service.forget(name, **chosen)})

    @router.post("/collections/{name}/query", response_model=Hits)
    def query(name: str, body: QueryBody) -> Any:
        """The best rows for each query."""
        given = body.queries if body.queries is not None else body.query_vectors
        limits.check_query(body.topk, len(given or ()))
        return reply({"results": _answers(_vdb(service, name), body)})

    @router.post("/collections/{name}/explain")
    def explain(name: str, body: QueryBody) -> Any:
        """How a dense query with these arguments is answered."""
        plan = _vdb(service, name).explain(
            body.topk, body.index_name, where=body.where, strategy=body.strategy
        )
        return reply(plan)

    @router.post("/collections/{name}/count", response_model=Count)
    def count(name: str, body: FilterBody) -> Any:
        """How many rows match a filter, an index, or both."""
        collection = service.collection(name)
        if body.where is None and body.index_name is None:
            return reply({"count": len(collection)})
        return reply({"count": _vdb(service, name).count(body.where, body.index_name)})

    @router.post("/collections/{name}/scan")
    def scan(name: str, body: FilterBody) -> Any:
        """Rows one by one, oldest write first, as JSON lines."""
        rows = _vdb(service, name).scan(
            body.where, limit=body.limit, with_vectors=body.with_vectors
        )
        return lines(_begun(rows))

    @router.post("/collections/{name}/call")
    def call_method(name: str, body: CallBody) -> Any:
        """A method of a KV or Graph collection."""
        result = call(service.collection(name), body.method, body.args, body.kwargs)
        return reply({"result": result})

    @router.post("/search")
    def search(body: SearchBody) -> Any:
        """One query to several collections."""
        limits.check_query(body.topk, 1)
        unknown = sorted(set(body.options) - _SEARCH)
        if unknown:
            raise InvalidInputError(f"search has no option {unknown[0]!r}")
        hits = service.manager.search(body.names, body.query, body.topk, **body.options)
        return reply({"hits": hits})


def _vdb(service: MemoryService, name: str) -> Any:
    collection = service.collection(name)
    if collection.backend_type != "VDB":
        raise InvalidInputError(
            f"collection {name!r} is of the kind {collection.backend_type}: it has no rows of "
            f"text; use POST /collections/{name}/call"
        )
    return collection


def _answers(collection: Any, body: QueryBody) -> Any:
    options: Mapping[str, Any] = {
        "where": body.where,
        "mode": body.mode,
        "threshold": body.threshold,
        "mmr": body.mmr,
        "fetch": body.fetch,
        "fusion": body.fusion,
        "weight": body.weight,
        "strategy": body.strategy,
        "with_vectors": body.with_vectors,
    }
    if body.queries is not None and body.query_vectors is not None:
        if len(body.queries) != len(body.query_vectors):
            raise InvalidInputError(
                f"got {len(body.queries)} queries and {len(body.query_vectors)} query_vectors"
            )
        return [
            collection.retrieve(text, body.topk, body.index_name, query_vector=vector, **options)
            for text, vector in zip(body.queries, body.query_vectors, strict=True)
        ]
    return collection.retrieve_many(
        body.queries, body.topk, body.index_name, query_vectors=body.query_vectors, **options
    )


def _begun(rows: Iterator[Any]) -> Iterator[Any]:
    """The same rows; what is wrong with the request is raised here, before the answer starts."""
    first = list(islice(rows, 1))

    def whole() -> Iterator[Any]:
        yield from first
        yield from rows

    return whole()
