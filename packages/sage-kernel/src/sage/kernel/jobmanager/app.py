"""``create_app``: the JobManager as an ASGI application, with the guard around everything.

Without postponed annotations: FastAPI reads those of the handlers, whose types are imported inside
functions.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from sage.common.errors import MissingExtraError, SageError
from sage.common.serving.guard import LOOPBACK_HOSTS, Guard
from sage.common.serving.routing import Router
from sage.kernel.jobmanager.bodies import Failure
from sage.kernel.jobmanager.manager import JobManager
from sage.kernel.jobmanager.routes.jobs import add_job_routes
from sage.kernel.jobmanager.routes.logs import add_log_routes
from sage.kernel.jobmanager.routes.observe import (
    add_detail_routes,
    add_event_routes,
    add_metrics_routes,
)
from sage.kernel.jobmanager.routes.replies import failure, refusal
from sage.kernel.jobmanager.routes.services import add_service_routes
from sage.kernel.jobmanager.routes.system import add_health_routes, add_system_routes

PREFIX = "/v1"

F = TypeVar("F", bound=Callable[..., Any])


def create_app(
    manager: JobManager,
    authenticate: Callable[[str], bool],
    shutdown: Callable[[str], None],
    *,
    hosts: Collection[str] = LOOPBACK_HOSTS,
    mounts: Mapping[str, Any] | None = None,
) -> Any:
    """A FastAPI application that serves a JobManager.

    Args:
        manager: What it serves; started and closed by the caller.
        authenticate: Says whether a token is valid.
        shutdown: Ends the daemon; called with what becomes of the jobs.
        hosts: Names clients may call it by.
        mounts: Applications by path, e.g. ``{"/memory": ...}``; the guard is around them too.

    Raises:
        MissingExtraError: FastAPI is not installed.
    """
    try:
        from fastapi import APIRouter, FastAPI, Request
        from fastapi.exceptions import RequestValidationError
        from starlette.exceptions import HTTPException  # noqa: PLC0415 - routing's own errors
    except ImportError as exc:
        raise MissingExtraError("fastapi", "server", "the JobManager") from exc
    app: Any = FastAPI(
        title="SAGE JobManager",
        version="1",
        summary="Managed jobs: submit, steer, observe",
        docs_url=None,  # the pages would load scripts from elsewhere
        redoc_url=None,
        responses={status: {"model": Failure} for status in (400, 401, 403, 404, 409, 413, 422)},
    )
    app.add_middleware(
        Guard, authenticate=authenticate, hosts=hosts, max_body=manager.settings.max_upload
    )
    add_health_routes(app, manager)
    router: Any = APIRouter(prefix=PREFIX)
    routes: Router = router
    add_system_routes(routes, manager, shutdown)
    add_job_routes(routes, manager)
    add_event_routes(routes, manager)
    add_metrics_routes(routes, manager)
    add_detail_routes(routes, manager)
    add_log_routes(routes, manager)
    add_service_routes(routes, manager)
    app.include_router(router)
    for path, mounted in (mounts or {}).items():
        app.mount(path, mounted)

    handles: Callable[[type[Exception]], Callable[[F], F]] = app.exception_handler

    @handles(SageError)
    def sage_error(request: Request, error: SageError) -> Any:
        return failure(error)

    @handles(HTTPException)
    def refused(request: Request, error: HTTPException) -> Any:
        kind = "NotFoundError" if error.status_code == 404 else "ConfigError"
        return refusal(kind, str(error.detail), error.status_code)

    @handles(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Any:
        return refusal("ConfigError", _problems(error.errors()), 422)

    return app


def _problems(errors: Any) -> str:
    """What FastAPI found wrong, as one line that quotes no values."""
    said = []
    for error in errors:
        place = ".".join(str(part) for part in error["loc"] if part != "body")
        said.append(f"{place}: {error['msg']}" if place else str(error["msg"]))
    return "; ".join(said)
