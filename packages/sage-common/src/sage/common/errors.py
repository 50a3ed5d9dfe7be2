"""The error tree of SAGE, split by who must act.

``ConfigError``: the user's file. ``PluginError``: the installation. ``GraphError``: the flow.
``JobError`` and ``TaskFailedError``: the run. ``ServiceError``: a back end.

An error carries its data as keyword attributes, builds its own message from them and pickles.
"""

from __future__ import annotations

from typing import Any


class SageError(Exception):
    """Base of every error SAGE raises on purpose.

    Args:
        message: What was found, what was expected, what to try.
        data: Facts about the error, also readable as attributes.
    """

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "message"):  # not yet set: unpickling
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.data))

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[SageError], message: str, data: dict[str, Any]) -> SageError:
    error = cls.__new__(cls)
    SageError.__init__(error, message, **data)
    return error


class ConfigError(SageError):
    """A configuration file or mapping is wrong: fix the file."""


class PluginError(SageError):
    """Something installed is broken, or an extra is missing: fix the installation."""


class NotFoundError(SageError):
    """What was asked for by name or id is not there."""


class UnknownNameError(PluginError, NotFoundError):
    """No installed plugin has that name; ``name`` and ``group`` say what was looked for."""


class MissingExtraError(PluginError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: The import name that is missing.
        extra: The extra of ``isage`` that brings it.
        purpose: What needs it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install the extra isage[{extra}]: ./quickstart.sh --with {extra}",
            package=package,
            extra=extra,
            purpose=purpose,
        )


class GraphError(SageError):
    """The flow is wrong: fix the pipeline."""


class JobError(SageError):
    """A run went wrong."""


class JobFailedError(JobError):
    """A job ended in the state FAILED; the cause is chained."""


class JobCanceledError(JobError):
    """The result of a job was asked for, but the job was canceled."""


class TaskFailedError(JobFailedError):
    """An operator raised and its policy was ``fail``; names job, operator, item and cause.

    Attributes: ``job``, ``operator``, ``uid``, ``item_id``, ``item`` (shortened repr).
    """


class StepTimeoutError(JobError, TimeoutError):
    """A step did not finish within its ``timeout`` (seconds)."""


class ServiceError(SageError):
    """A back end failed or is not there."""


class ModelError(ServiceError):
    """A model server answered with an error; ``status`` is the HTTP status or ``None``."""


class AuthError(ServiceError):
    """A server refused the credentials, or none were given."""


class UnreachableError(ServiceError):
    """Nothing answered at the address of a server."""
