"""Errors on the wire, HTTP and control socket: written here, raised again as the same class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage.common import errors
from sage.common.errors import SageError, ServiceError
from sage.common.secrets import redact

_STATUS: tuple[tuple[type[SageError], int], ...] = (
    (errors.NotFoundError, 404),
    (errors.AuthError, 401),
    (errors.ConfigError, 422),
    (errors.GraphError, 422),
    (errors.PluginError, 422),
    (errors.JobError, 409),
    (errors.ServiceError, 503),
)
_PLAIN = (str, int, float, bool, type(None))


def status_of(error: SageError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def to_wire(error: BaseException) -> dict[str, Any]:
    """``{"type", "message", "data"}``, secrets masked; the data as far as they are plain."""
    data = error.data if isinstance(error, SageError) else {}
    return {
        "type": type(error).__name__,
        "message": redact(str(error)) or type(error).__name__,
        "data": {
            key: redact(value) if isinstance(value, str) else value
            for key, value in data.items()
            if isinstance(value, _PLAIN)
        },
    }


def from_wire(sent: Any, otherwise: type[SageError] = ServiceError) -> SageError:
    """The error that was sent.

    Args:
        sent: What ``to_wire`` made.
        otherwise: Class of an error that is none of ``sage.common.errors``.
    """
    facts = sent if isinstance(sent, Mapping) else {}
    kind = getattr(errors, str(facts.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, SageError)):
        kind = otherwise
    data = facts.get("data")
    error = kind.__new__(kind)
    SageError.__init__(error, str(facts.get("message", "no reason was given")), **dict(data or {}))
    return error
