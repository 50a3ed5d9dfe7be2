"""Shapes of requests and answers: what the OpenAPI document says and FastAPI checks.

Standard dataclasses, because FastAPI reads these and not attrs classes. Unknown fields are refused.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import attrs

from sage.kernel.jobmanager.model import (
    AttemptInfo,
    DaemonInfo,
    JobEvent,
    JobInfo,
    MetricsSample,
    ServiceInfo,
)


class _Body:
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(kw_only=True)
class ShutdownBody(_Body):
    """What becomes of the running jobs."""

    jobs: Literal["keep", "suspend", "cancel"] = "keep"


@dataclass(kw_only=True)
class CancelBody(_Body):
    """Seconds a job has before its process is killed; default: the daemon's setting."""

    timeout: float | None = None


@dataclass(kw_only=True)
class SavepointBody(_Body):
    """Name below the job's ``savepoints``; default: the time."""

    name: str | None = None


@dataclass(kw_only=True)
class RestoreBody(_Body):
    """Where to start from; default: the newest checkpoint of the job."""

    savepoint: str | None = None
    allow_dropped: bool = False


@dataclass(kw_only=True)
class ForkBody(_Body):
    """What to compute anew."""

    from_operator: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    where: str | None = None


@dataclass(kw_only=True)
class RequeueBody(_Body):
    """Which dead letters; default: all."""

    items: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class CleanupBody(_Body):
    """Which ended jobs to remove."""

    older_than: float = 0.0
    status: list[str] = field(default_factory=lambda: ["FINISHED", "FAILED", "CANCELED"])
    dry_run: bool = False


@dataclass(kw_only=True)
class ServiceBody(_Body):
    """A service; ``ttl``: seconds after which it is stale unless it registers again."""

    address: str
    kind: str = "service"
    owner: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    ttl: float | None = None


@dataclass(kw_only=True)
class Ok:
    """It was done."""

    status: str = "ok"


@dataclass(kw_only=True)
class Error:
    """Class, message and plain facts of an error."""

    type: str
    message: str
    data: dict[str, Any]


@dataclass(kw_only=True)
class Failure:
    """Body of every answer that is no success."""

    error: Error


@dataclass(kw_only=True)
class Lines:
    """Lines of a log, oldest first."""

    lines: list[str]


@dataclass(kw_only=True)
class Ids:
    """Ids of jobs."""

    ids: list[str]


@dataclass(kw_only=True)
class SavepointPlace:
    """Path of a savepoint, on the daemon's machine."""

    path: str


@dataclass(kw_only=True)
class Bundle:
    """An archive that is there."""

    digest: str
    size: int


def answer(cls: type) -> Any:
    """A dataclass like an attrs class of ``sage.kernel.jobmanager.model``."""
    return _ANSWERS[cls]


def answers(cls: type) -> Any:
    """A list of those."""
    return list[answer(cls)]  # type: ignore[misc]


def _dataclass(cls: type, known: dict[Any, Any]) -> Any:
    hints = get_type_hints(cls)
    fields = []
    for each in attrs.fields(cls):
        kind: Any = hints[each.name]
        if get_origin(kind) is tuple:
            inner: Any = get_args(kind)[0]
            kind = list[known.get(inner, inner)]  # type: ignore[misc]
        default: Any = dataclasses.MISSING if each.default is attrs.NOTHING else each.default
        if hasattr(default, "factory"):
            made = field(default_factory=default.factory)
        else:
            made = field(default=default)
        fields.append((each.name, kind, made))
    built = dataclasses.make_dataclass(cls.__name__, fields, kw_only=True)
    built.__doc__ = (cls.__doc__ or "").partition("\n")[0]
    return built


_ANSWERS: dict[Any, Any] = {}
for _each in (AttemptInfo, JobInfo, JobEvent, MetricsSample, ServiceInfo, DaemonInfo):
    _ANSWERS[_each] = _dataclass(_each, dict(_ANSWERS))
