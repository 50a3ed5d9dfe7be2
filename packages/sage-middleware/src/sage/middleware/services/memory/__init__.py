"""Memory: collections of texts and vectors, keys and values, nodes and edges.

Read next: ``memory_manager`` (creates and opens collections), ``memory_collection`` (one
module per kind of collection), ``vdb`` (the vector collection's inside), ``storage`` (SQLite and
vector files), ``tiers`` (sessions, tasks, long-term memory), ``service`` (all of it for a job),
``rest`` (all of it over HTTP), ``cli`` (``sage memory``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.middleware.services.memory.memory_manager import MemoryManager
    from sage.middleware.services.memory.rest.client import MemoryClient
    from sage.middleware.services.memory.service import MemoryService

__all__ = ["MemoryClient", "MemoryManager", "MemoryService"]

_HOMES = {
    "MemoryClient": "rest.client",
    "MemoryManager": "memory_manager",
    "MemoryService": "service",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # NumPy and SQLite are loaded by who uses them, not by who imports a sibling.
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
