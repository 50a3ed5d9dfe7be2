"""Routes of collections and their indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sage.common.serving.routing import Router
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.rest.bodies import (
    ApplyBody,
    ChangeBody,
    CollectionBody,
    Count,
    IndexBody,
    NameBody,
    RetentionBody,
)
from sage.middleware.services.memory.rest.limits import Limits
from sage.middleware.services.memory.rest.replies import reply

if TYPE_CHECKING:
    from sage.middleware.services.memory.service import MemoryService


def add_collection_routes(router: Router, service: MemoryService, limits: Limits) -> None:
    """Add them to a FastAPI router."""

    @router.get("/collections")
    def list_collections() -> Any:
        """Name, kind and description of every collection."""
        return reply({"collections": service.list_collections()})

    @router.post("/collections", status_code=201)
    def create_collection(body: CollectionBody) -> Any:
        """Make a collection."""
        limits.check_model(body.embedding_model)
        limits.check_options(body.options)
        service.manager.create_collection(
            body.name,
            body.backend_type,
            body.description,
            body.embedding_model,
            body.dim,
            **body.options,
        )
        return reply(service.info(body.name), 201)

    @router.get("/collections/{name}")
    def show_collection(name: str) -> Any:
        """Facts about a collection."""
        return reply(service.info(name))

    @router.patch("/collections/{name}")
    def change_collection(name: str, body: ChangeBody) -> Any:
        """Rename a collection or describe it."""
        if body.description is not None:
            collection = service.collection(name)
            if not hasattr(collection, "describe"):
                raise InvalidInputError(
                    f"the description of a {collection.backend_type} collection cannot be changed"
                )
            collection.describe(body.description)
        if body.new_name is not None:
            service.rename_collection(name, body.new_name)
            name = body.new_name
        return reply(service.info(name))

    @router.delete("/collections/{name}")
    def delete_collection(name: str) -> Any:
        """Delete a collection with everything it has on disk."""
        service.delete_collection(name)
        return reply({"deleted": name})

    @router.post("/collections/{name}/store")
    def store_collection(name: str) -> Any:
        """Write the caches of a collection."""
        service.collection(name).store()
        return reply({"stored": name})

    @router.post("/collections/{name}/optimize")
    def optimize_collection(name: str) -> Any:
        """Drop the bytes of deleted rows and write snapshots."""
        return reply(_able(service, name, "optimize")())

    @router.get("/collections/{name}/check")
    def check_collection(name: str) -> Any:
        """What is wrong with the files of a collection."""
        return reply({"problems": _able(service, name, "check")()})

    @router.put("/collections/{name}/retention")
    def set_retention(name: str, body: RetentionBody) -> Any:
        """Bound a collection."""
        _able(service, name, "set_retention")(max_rows=body.max_rows, max_age=body.max_age)
        return reply(service.collection(name).retention)

    @router.post("/collections/{name}/retention", response_model=Count)
    def apply_retention(name: str, body: ApplyBody) -> Any:
        """Delete what exceeds the bounds now."""
        return reply({"count": _able(service, name, "apply_retention")(forget=body.forget)})

    @router.post("/collections/{name}/repair", response_model=Count)
    def repair(name: str) -> Any:
        """Embed again the rows whose vectors were lost in a power failure."""
        return reply({"count": _able(service, name, "repair")()})

    @router.put("/collections/{name}/fields/{field}")
    def declare_field(name: str, field: str) -> Any:
        """Declare a metadata field that filters will use."""
        _able(service, name, "add_metadata_field")(field)
        return reply({"fields": list(service.collection(name).metadata_fields)})

    @router.get("/collections/{name}/indexes")
    def list_indexes(name: str) -> Any:
        """Every index of a collection."""
        return reply({"indexes": service.collection(name).list_indexes()})

    @router.post("/collections/{name}/indexes", status_code=201)
    def create_index(name: str, body: IndexBody) -> Any:
        """Make an index."""
        collection = service.collection(name)
        if collection.backend_type == "VDB":
            collection.create_index(
                body.name,
                where=body.where,
                kind=body.kind,
                description=body.description,
                **body.options,
            )
        else:
            collection.create_index(body.name, **body.options)
        return reply({"indexes": collection.list_indexes()}, 201)

    @router.post("/collections/{name}/indexes/rebuild")
    def rebuild_index(name: str, body: NameBody) -> Any:
        """Make the caches of an index, or of all, anew."""
        _able(service, name, "rebuild_index")(body.name)
        return reply({"rebuilt": body.name})

    @router.post("/collections/{name}/indexes/optimize")
    def optimize_index(name: str, body: NameBody) -> Any:
        """Bring an index, or all, into its fastest form."""
        _able(service, name, "optimize_index")(body.name)
        return reply({"optimized": body.name})

    @router.delete("/collections/{name}/indexes/{index}")
    def drop_index(name: str, index: str) -> Any:
        """Remove an index; the rows stay."""
        service.collection(name).drop_index(index)
        return reply({"dropped": index})


def _able(service: MemoryService, name: str, method: str) -> Any:
    """A method of a collection.

    Raises:
        InvalidInputError: Collections of its kind have none of that name.
    """
    collection = service.collection(name)
    found = getattr(collection, method, None)
    if found is None:
        raise InvalidInputError(
            f"collection {name!r} is of the kind {collection.backend_type}, which has no {method}"
        )
    return found
