"""Checks of arguments that several streams take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sage.common.errors import GraphError
from sage.kernel.graph.model import DEAD_LETTER, DEFAULT_ROUTE


def check_routes(routes: Iterable[str]) -> None:
    """Refuse route names that are empty, reserved or given twice."""
    if isinstance(routes, str) or not isinstance(routes, Iterable):
        raise GraphError(f"routes must be a list of names, got {routes!r}")
    seen: set[str] = set()
    for route in routes:
        if not isinstance(route, str) or not route:
            raise GraphError(f"a route name must be a non-empty string, got {route!r}")
        if route in seen or route in (DEFAULT_ROUTE, DEAD_LETTER):
            why = "given twice" if route in seen else "reserved"
            raise GraphError(f"the route name {route!r} is {why}")
        seen.add(route)


def check_positive(step: str, name: str, value: Any, *, whole: bool = False) -> None:
    """Refuse a number that is not positive (``whole``: and not an int)."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
        what = "an int >= 1" if whole else "a number of seconds > 0"
        raise GraphError(f"{step}: {name} must be {what}, got {value!r}", step=step, option=name)
