"""Services: objects a job starts before its tasks and that steps call by name.

Any class or factory can be a service. Deriving from ``BaseService`` gives it the job's context and
lets it call other services.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sage.api.calls import CALLER, CallInfo
from sage.api.context import ServiceCaller, ServiceProxy

if TYPE_CHECKING:
    import logging


class ServiceContext:
    """What a service can reach.

    Attributes:
        name: Name the service is registered under.
        job_id, job_name: The run and its environment.
        config: The environment's configuration.
    """

    __slots__ = ("_call", "config", "job_id", "job_name", "name")

    def __init__(
        self,
        *,
        name: str,
        job_id: str,
        job_name: str,
        config: Mapping[str, Any],
        call_service: Callable[..., Any],
    ) -> None:
        self.name = name
        self.job_id = job_id
        self.job_name = job_name
        self.config = config
        self._call = call_service

    @property
    def call_service(self) -> ServiceCaller:
        """Call other services, in the same three styles as a step."""
        return ServiceCaller(self._call)

    def call(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        call_info: CallInfo | None = None,
        **kwargs: Any,
    ) -> Any:
        """As ``RuntimeContext.call``, for the step that called the service."""
        caller = CALLER.get()
        if caller is None:
            return function(*args, **kwargs)
        return caller.call(function, *args, call_info=call_info, **kwargs)

    def service(self, name: str) -> ServiceProxy:
        """A proxy whose methods call the service ``name``."""
        return self.call_service[name]

    @property
    def logger(self) -> logging.Logger:
        """Logger named after job and service."""
        import logging  # noqa: PLC0415

        return logging.getLogger(f"sage.job.{self.job_name}.{self.name}")


class BaseService:
    """A service that knows its job and can call other services.

    ``ctx`` is there already inside ``__init__``. The engine calls ``open(ctx)`` once, before the
    first task starts, and ``close()`` once, after the last task ended, also after failure or
    cancel.
    Methods are called from the threads of all steps at the same time: guard what they share.
    ``async def`` methods run on the job's event loop.
    """

    ctx: ServiceContext

    def open(self, ctx: ServiceContext) -> None:
        """Acquire resources. Services called here are started first."""

    def close(self) -> None:
        """Release resources."""

    @property
    def call_service(self) -> ServiceCaller:
        """``call_service("name", *args, method="m")`` or ``call_service["name"].m(...)``."""
        return self.ctx.call_service
