"""``create_app``: the memory server as an ASGI application.

Without postponed annotations: FastAPI reads those of the routes, whose types are imported inside
functions.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import orjson

from sage.common.errors import ConfigError, MissingExtraError, SageError
from sage.common.serving.guard import LOOPBACK_HOSTS, MAX_BODY, Guard
from sage.common.serving.routing import Router
from sage.common.serving.tokens import FixedToken
from sage.middleware.services.memory.errors import InvalidInputError
from sage.middleware.services.memory.memory_manager import MemoryManager
from sage.middleware.services.memory.rest.bodies import Count, Failure, Health
from sage.middleware.services.memory.rest.limits import Limits
from sage.middleware.services.memory.rest.replies import failure, reply
from sage.middleware.services.memory.rest.routes_collections import add_collection_routes
from sage.middleware.services.memory.rest.routes_rows import add_row_routes
from sage.middleware.services.memory.rest.routes_tiers import add_tier_routes
from sage.middleware.services.memory.service import MemoryService

PREFIX = "/v1"
_CHUNK = 256 * 1024


def create_app(
    manager: MemoryManager | MemoryService,
    token: str | None = None,
    *,
    authenticate: Callable[[str], bool] | None = None,
    hosts: Collection[str] | None = LOOPBACK_HOSTS,
    max_body: int = MAX_BODY,
    limits: Limits | None = None,
) -> Any:
    """A FastAPI application that serves memory.

    It owns nothing: close the manager after it. It can be mounted into another application
    (``other.mount("/memory", create_app(manager, authenticate=…, hosts=None))``); its own checks
    hold there too.

    Args:
        manager: The collections, or the memory service for sessions and long-term memory with its
            settings.
        token: The one token clients send.
        authenticate: Says whether a token is valid, instead of ``token``.
        hosts: Names clients may call the server by; ``None`` when an outer application checks.
        max_body: Bytes of a request's body at most.
        limits: What clients may ask for.

    Raises:
        ConfigError: Neither ``token`` nor ``authenticate``, or both.
        MissingExtraError: FastAPI is not installed.
    """
    if (token is None) == (authenticate is None):
        raise ConfigError("a memory server takes token or authenticate, exactly one of them")
    try:
        from fastapi import FastAPI, Request
        from fastapi.exceptions import RequestValidationError
        from starlette.exceptions import HTTPException  # noqa: PLC0415 - routing's own errors
    except ImportError as exc:
        raise MissingExtraError("fastapi", "server", "the memory server") from exc
    service = manager if isinstance(manager, MemoryService) else MemoryService.over(manager)
    app = FastAPI(
        title="SAGE memory",
        version="1",
        summary="Collections, sessions and long-term memory",
        docs_url=None,  # the pages would load scripts from elsewhere
        redoc_url=None,
        responses={
            status: {"model": Failure} for status in (400, 401, 403, 404, 409, 413, 422, 503)
        },
    )
    check = authenticate if authenticate is not None else FixedToken(token or "").accepts
    app.add_middleware(
        Guard, authenticate=check, hosts=hosts, max_body=max_body, wrong=InvalidInputError.__name__
    )
    app.include_router(create_router(service, limits), prefix=PREFIX)

    @app.get("/healthz", response_model=Health)
    def healthz() -> Any:
        """The process runs."""
        return reply({"status": "ok"})

    @app.get("/readyz", response_model=Health)
    def readyz() -> Any:
        """The collections can be listed."""
        service.list_collections()
        return reply({"status": "ok"})

    @app.exception_handler(SageError)
    def sage_error(request: Request, error: SageError) -> Any:
        return failure(error, hide=service.data_dir)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Any:
        kind = "NotFoundError" if error.status_code == 404 else "InvalidInputError"
        body = {"error": {"type": kind, "message": str(error.detail), "data": {}}}
        return reply(body, error.status_code)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Any:
        return failure(InvalidInputError(_problems(error.errors())))

    return app


def create_router(service: MemoryService, limits: Limits | None = None) -> Any:
    """The routes below ``/v1``, for an application that brings its own checks and error pages."""
    from fastapi import APIRouter, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import StreamingResponse

    bounds = limits or Limits()
    router: Any = APIRouter()
    routes: Router = router
    add_collection_routes(router, service, bounds)
    add_row_routes(router, service, bounds)
    add_tier_routes(router, service, bounds)

    @routes.get("/collections/{name}/export")
    def export(name: str, where: str | None = None, with_vectors: bool = True) -> Any:
        """A collection, or the rows of a filter (JSON), as JSON lines."""
        collection = service.collection(name)
        options: dict[str, Any] = {}
        if collection.backend_type == "VDB":
            options = {"where": _filter(where), "with_vectors": with_vectors}
        # Written first and sent then: what is wrong is said before the answer starts.
        folder = tempfile.TemporaryDirectory(prefix="sage-memory-")
        file = Path(folder.name) / "export.jsonl"
        try:
            collection.export_jsonl(file, **options)
        except BaseException:
            folder.cleanup()
            raise
        return StreamingResponse(_sent(file, folder), media_type="application/x-ndjson")

    @routes.post("/collections/{name}/import", response_model=Count)
    async def import_(
        name: str, request: Request, on_conflict: str = "error", use_vectors: bool = True
    ) -> Any:
        """JSON lines as ``export`` writes them."""
        body = await request.body()

        def work() -> int:
            collection = service.collection(name)
            options: dict[str, Any] = {}
            if collection.backend_type == "VDB":
                options = {"on_conflict": on_conflict, "use_vectors": use_vectors}
            with tempfile.TemporaryDirectory(prefix="sage-memory-") as folder:
                file = Path(folder) / "import.jsonl"
                file.write_bytes(body)
                count: int = collection.import_jsonl(file, **options)
            return count

        return reply({"count": await run_in_threadpool(work)})

    return router


def _sent(file: Path, folder: "tempfile.TemporaryDirectory[str]") -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    finally:
        folder.cleanup()


def _filter(where: str | None) -> Any:
    if where is None:
        return None
    try:
        return orjson.loads(where)
    except orjson.JSONDecodeError as exc:
        raise InvalidInputError(f"where is not JSON: {exc}") from exc


def _problems(errors: Any) -> str:
    """What FastAPI found wrong, as one line that quotes no values."""
    said = []
    for error in errors:
        place = ".".join(str(part) for part in error["loc"] if part != "body")
        said.append(f"{place}: {error['msg']}" if place else str(error["msg"]))
    return "; ".join(said)
