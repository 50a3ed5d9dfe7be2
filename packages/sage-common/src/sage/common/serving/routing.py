"""What routes need of a FastAPI router, so that they can be read without it; and their list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Router(Protocol):
    """``fastapi.APIRouter`` or ``fastapi.FastAPI``."""

    def get(self, path: str, **options: Any) -> Callable[[F], F]:
        """Register a function for GET."""

    def post(self, path: str, **options: Any) -> Callable[[F], F]:
        """Register a function for POST."""

    def put(self, path: str, **options: Any) -> Callable[[F], F]:
        """Register a function for PUT."""

    def patch(self, path: str, **options: Any) -> Callable[[F], F]:
        """Register a function for PATCH."""

    def delete(self, path: str, **options: Any) -> Callable[[F], F]:
        """Register a function for DELETE."""


def all_routes(app: Any) -> list[tuple[str, str]]:
    """Every method and path an application answers, below routers and mounts too.

    Raises:
        TypeError: There is something of an unknown kind, which may be a way in.
    """
    found: set[tuple[str, str]] = set()

    def walk(part: Any, prefix: str) -> None:
        for route in part:
            inner = getattr(route, "routes", None)
            router = getattr(route, "original_router", None) or getattr(route, "router", None)
            path = prefix + getattr(route, "path", "")
            if getattr(route, "methods", None):
                found.update((method, path) for method in route.methods)
            elif inner is not None:
                walk(inner, path)
            elif router is not None:
                context = getattr(route, "include_context", None)
                walk(router.routes, prefix + (getattr(context, "prefix", "") or ""))
            else:
                raise TypeError(f"what is {route!r}? It may be a way in")

    walk(app.routes, "")
    return sorted(found)
