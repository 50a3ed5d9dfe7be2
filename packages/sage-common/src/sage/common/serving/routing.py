"""What the routes need of a FastAPI router, so that this package can be read without FastAPI."""

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
