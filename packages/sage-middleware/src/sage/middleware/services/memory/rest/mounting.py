"""The memory server as a part of another one: entry point ``memory`` of ``sage.http_apps``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sage.middleware.services.memory.rest.app import create_app
from sage.middleware.services.memory.service import MemoryService


@contextlib.contextmanager
def mounted(settings: Mapping[str, Any], authenticate: Callable[[str], bool]) -> Iterator[Any]:
    """An application for as long as the block runs.

    Args:
        settings: Of the memory service, e.g. ``data_dir``.
        authenticate: Says whether a token is valid.

    Raises:
        ConfigError: A setting is wrong.
        MissingExtraError: FastAPI is not installed.
    """
    with MemoryService(settings) as service:
        yield create_app(service, authenticate=authenticate, hosts=None)
