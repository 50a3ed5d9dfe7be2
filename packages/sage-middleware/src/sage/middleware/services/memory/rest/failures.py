"""Errors on the wire: the server writes them, the client raises them again as the same class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.common import errors as common
from sage.common.errors import SageError, ServiceError
from sage.middleware.services.memory import errors as memory

_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (common.NotFoundError, 404),
    (memory.CollectionExistsError, 409),
    (memory.DuplicateIdError, 409),
    (memory.IndexExistsError, 409),
    (memory.IndexDetachedError, 409),
    (memory.EmbeddingMismatchError, 409),
    (memory.CollectionLockedError, 503),
    (memory.CollectionClosedError, 503),
    (memory.InvalidInputError, 422),
    (memory.FilterError, 422),
    (memory.DimensionError, 422),
    (memory.CollectionNameError, 422),
    (common.ConfigError, 422),
    (common.PluginError, 501),
    (common.ModelError, 502),
)
_PLAIN = (str, int, float, bool, type(None))


def status_of(error: SageError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def to_wire(error: SageError, hide: str = "") -> dict[str, Any]:
    """``{"error": {"type", "message", "data"}}``; ``hide`` is a path that is none of the client's.

    The data of an error are sent as far as they are JSON.
    """
    data = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in error.data.items()
        if isinstance(value, _PLAIN)
        or (isinstance(value, list | tuple) and all(isinstance(v, _PLAIN) for v in value))
    }
    message = str(error)
    if hide:
        message = message.replace(repr(hide), "the server").replace(hide, "")
        data = {k: v for k, v in data.items() if not (isinstance(v, str) and hide in v)}
    return {"error": {"type": type(error).__name__, "message": message, "data": data}}


def from_wire(status: int, body: Any) -> SageError:
    """The error of an answer; a ``ServiceError`` if the server sent none that is known here."""
    found = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(found, Mapping):
        return ServiceError(f"the memory server answered with status {status}", status=status)
    name = str(found.get("type"))
    kind = getattr(memory, name, None) or getattr(common, name, None)
    message = str(found.get("message"))
    raw = found.get("data")
    data = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in (raw.items() if isinstance(raw, Mapping) else ())
    }
    if not (isinstance(kind, type) and issubclass(kind, SageError)):
        return ServiceError(message, status=status, **data)
    error = kind.__new__(kind)
    SageError.__init__(error, message, **data)
    return error
