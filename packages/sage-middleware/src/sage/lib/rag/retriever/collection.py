"""A collection by name: in the job's memory service, or in a directory.

Predecessor: ``sage.middleware.services.memory``; successor: ``sage.lib.rag.retriever.backend``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sage.common.errors import ConfigError

if TYPE_CHECKING:
    from sage.api.context import RuntimeContext

SERVICE = "memory_service"


class CollectionHandle:
    """Methods of one collection by name, wherever it lives.

    Attributes:
        name: Name of the collection.
        facts: Its entry in ``list_collections``.
    """

    def __init__(
        self,
        name: str,
        facts: Mapping[str, Any],
        call: Callable[..., Any],
        reach: Callable[[], Any],
        close: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.facts = facts
        self._call = call
        self._reach = reach
        self._close = close

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method that service and collection share: ``retrieve``, ``get``, ``count``."""
        return self._call(method, *args, **options)

    def collection(self) -> Any:
        """The collection itself; through a service only where that runs in this process."""
        return self._reach()

    def close(self) -> None:
        """Close what was opened here; a service's collection stays open."""
        if self._close is not None:
            self._close()


def open_handle(ctx: RuntimeContext, name: str, data_dir: str | None) -> CollectionHandle:
    """The collection ``name``: through the job's memory service when there is one, else directly.

    Raises:
        ConfigError: It does not exist; says how to make it.
    """
    from sage.middleware.services.memory.errors import (  # noqa: PLC0415 - NumPy and SQLite
        CollectionNotFoundError,
    )
    from sage.middleware.services.memory.memory_manager import (  # noqa: PLC0415
        MemoryManager,
    )

    if ctx.has_service(SERVICE) and data_dir is None:
        service = ctx.service(SERVICE)
        known = _by_name(service.list_collections())
        if name not in known:
            raise ConfigError(_missing(name, f"the service {SERVICE!r}", sorted(known)))

        def call(method: str, *args: Any, **options: Any) -> Any:
            return getattr(service, method)(name, *args, **options)

        return CollectionHandle(name, known[name], call, lambda: service.get_collection(name))
    manager = MemoryManager(data_dir)
    known = _by_name(manager.list_collections())
    try:
        collection = manager.connect_collection(name)
    except CollectionNotFoundError as error:
        _close_manager(manager)
        place = repr(str(manager.data_dir))
        raise ConfigError(_missing(name, place, sorted(known))) from error

    def direct(method: str, *args: Any, **options: Any) -> Any:
        return getattr(collection, method)(*args, **options)

    return CollectionHandle(
        name, known.get(name, {}), direct, lambda: collection, lambda: _close_manager(manager)
    )


def _by_name(listed: Any) -> dict[str, Mapping[str, Any]]:
    return {
        entry["name"] if isinstance(entry, Mapping) else str(entry): (
            entry if isinstance(entry, Mapping) else {}
        )
        for entry in listed
    }


def _missing(name: str, place: str, known: list[str]) -> str:
    there = f"it has {', '.join(map(repr, known))}" if known else "it has none yet"
    return (
        f"there is no collection {name!r} in {place} ({there}); make it from a directory of files "
        f"with `sage app run ingest DIRECTORY --collection {name}`, or from texts with "
        f"MemoryManager(data_dir).create_collection({name!r}, embedding_model='default') and "
        "insert_many(texts, metadatas), or give documents directly with the config key documents"
    )


def _close_manager(manager: Any) -> None:
    close = getattr(manager, "close", None)
    if close is not None and not inspect.iscoroutinefunction(close):
        close()
